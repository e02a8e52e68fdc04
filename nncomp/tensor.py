"""Tensor: an array (or, while a graph is recorded, a Node) with a place in autograd.

The numeric methods come from TensorMethods. Here is what belongs to the object itself: its type,
its gradient, its memory, and its conversions to Python and numpy. Rarely used fields are class
attributes until they are set, which keeps making a result cheap.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from . import dispatch, inplace
from .autograd.modes import state
from .device import CPU, device, require_cpu
from .ir import ops
from .ir.types import DType, TensorType, float32, type_of_array
from .size import Size
from .tensor_gradients import GradientMethods
from .tensor_methods import TensorMethods
from .tensor_values import ValueMethods
from .trace_error import TraceError, trace_error
from .trace_layout import contiguous


class Tensor(GradientMethods, ValueMethods, TensorMethods):
    """A multi-dimensional array of one dtype, as torch.Tensor.

    Made by `nncomp.tensor`, `nncomp.zeros` and the other functions of the package.
    """

    _requires_grad = False
    _grad_fn: Any = None
    _output_nr = 0
    _grad: Any = None
    _base: Any = None  # the tensor this one is a differentiable view of
    _seen = 0  # the base's `_rebased` when this view's history was made
    _rebased = 0  # how often in-place writes replaced the history
    _steps = 0  # how many of the last movement ops lead from `_base` to this view
    _storage: Any = None  # made when memory is first shared
    _chain: tuple = ()  # movement ops from the whole memory to this tensor
    _counter: Any = None  # [version], shared with views
    _borrowed: Any = None
    _accumulator: Any = None
    _backward_hooks: Any = None
    _post_hooks: Any = None
    _tracer: Any = None
    _at = 0  # traced: how often the storage had been written when `_data` was current
    _retains = False
    _made = False  # a constant of a function, which may be used on every device
    _released: Any = None  # where the values are while `_data` is given up: see released.py

    apply_op = staticmethod(dispatch.apply)

    def __new__(cls, *args: Any, **kwargs: Any) -> Tensor:
        """torch.Tensor(sizes...) is uninitialized, torch.Tensor(sequence) float32 data."""
        made = _legacy(*args, **kwargs)
        return made if cls is Tensor else cls._make_subclass(cls, made, False)

    @staticmethod
    def _wrap(data: Any, requires_grad: bool = False) -> Tensor:
        """A leaf on a numpy array, whose memory it takes over, or on a Node of the active trace."""
        if isinstance(data, np.ndarray) or np.isscalar(data):
            if type(data) is not np.ndarray:
                data = np.asarray(data).view(np.ndarray)
            made = dispatch.wrap(data, type_of_array(data))
            made._storage = storage = dispatch.Storage()
            storage.exposed = True  # the caller may still hold the array
        else:
            made = state.tracer.wrap(data)
        if requires_grad:
            made.requires_grad = True
        return made

    @staticmethod
    def _make_subclass(cls: type, data: Tensor, requires_grad: bool = False) -> Any:
        """An instance of a subclass on the memory of `data`, as a leaf."""
        made = object.__new__(cls)
        made.__dict__.update(inplace.alias(data).__dict__)
        if requires_grad:
            made.requires_grad = True
        return made

    def __getattr__(self, name: str) -> Any:
        if name == "_data":
            if self._released is not None:
                self._data = self._released.restore()
                return self._data
            raise TraceError(self.__dict__.get("_why", "the tensor has no value"))
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    # -- type -------------------------------------------------------------------------------------

    @property
    def type_(self) -> TensorType:
        """Shape and dtype, as the graph language writes them."""
        return self._type

    @property
    def shape(self) -> Size:
        """The extent of each dimension."""
        return Size(self._type.shape)

    @property
    def dtype(self) -> DType:
        """The element type."""
        return self._type.dtype

    @property
    def device(self) -> device:
        """Where the tensor lives."""
        if self._tracer is not None:
            return self._tracer.place
        return getattr(self.__dict__.get("_data"), "cuda_device", CPU)

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self._type.shape)

    def dim(self) -> int:
        """Number of dimensions."""
        return len(self._type.shape)

    def numel(self) -> int:
        """Number of elements."""
        return self._type.size

    def element_size(self) -> int:
        """Bytes per element."""
        return self._type.dtype.itemsize

    @property
    def itemsize(self) -> int:
        """Bytes per element."""
        return self._type.dtype.itemsize

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return self._type.nbytes

    def __len__(self) -> int:
        if not self._type.shape:
            raise TypeError("len() of a 0-d tensor")
        return self._type.shape[0]

    def __iter__(self) -> Any:
        if not self._type.shape:
            raise TypeError("iteration over a 0-d tensor")
        return iter(self.unbind(0))

    def __hash__(self) -> int:
        return id(self)

    # -- memory -----------------------------------------------------------------------------------

    def detach(self) -> Tensor:
        """The same memory without history."""
        return inplace.alias(self)

    def detach_(self) -> Tensor:
        """Cut the tensor off from its history."""
        if self._base is not None:
            raise RuntimeError(
                "Can't detach views in-place. Use detach() instead. If you are using "
                "DistributedDataParallel (DDP) for training, set gradient_as_bucket_view=False"
            )
        if state.tracer is not None:
            state.tracer.detach_(self)
        self._grad_fn, self._output_nr, self._requires_grad = None, 0, False
        self._rebased = self._rebased + 1
        return self

    @property
    def data(self) -> Tensor:
        """The same memory without history and without the check for in-place writes."""
        return inplace.alias(self, share_version=False)

    @data.setter
    def data(self, value: Tensor) -> None:
        if not isinstance(value, Tensor):
            raise TypeError(f"cannot assign a {type(value).__name__} to .data, expected a Tensor")
        if state.tracer is not None:
            raise trace_error(
                "assigning .data cannot be recorded in a graph; write the values with "
                ".data.copy_(...), or assign outside of the traced function"
            )
        if value._type.dtype.kind != "f" and self.requires_grad:
            raise RuntimeError(f"data set to a tensor that requires gradients must be floating "
                               f"point, got {value._type}")
        source = inplace.alias(value)
        for name in ("_data", "_type", "_storage", "_chain"):
            setattr(self, name, getattr(source, name))

    def is_contiguous(self, memory_format: Any = None) -> bool:
        """True if the elements lie in row-major order without gaps."""
        return self.stride() == contiguous(self._type.shape) or (
            not self.is_traced and bool(self._data.flags.c_contiguous)
        )

    def stride(self, dim: int | None = None) -> Any:
        """Elements to skip per dimension, or in one of them."""
        if self._tracer is not None:
            steps = self._tracer.strides(self)
        else:
            steps = tuple(s // self._type.dtype.itemsize for s in self._data.strides)
        return steps if dim is None else steps[dim]

    def data_ptr(self) -> int:
        """Address of the first element."""
        array = self.numpy_array("data_ptr()")
        dispatch.storage_of(self).pinned = True
        return array.__array_interface__["data"][0]

    # -- copies -----------------------------------------------------------------------------------

    def __deepcopy__(self, memo: dict) -> Tensor:
        if id(self) in memo:
            return memo[id(self)]
        if not self.is_leaf:
            raise RuntimeError(
                "Only Tensors created explicitly by the user (graph leaves) support the deepcopy "
                "protocol at the moment. If you were attempting to deepcopy a module, this may be "
                "because of a torch.nn.utils.weight_norm usage."
            )
        array = self._data if self.is_cuda else self.numpy_array("deepcopy()")
        made = object.__new__(type(self))
        made._data, made._type = dispatch.copy_of(array), self._type
        made._requires_grad = self._requires_grad
        memo[id(self)] = made
        if self._grad is not None:
            made._grad = copy.deepcopy(self._grad, memo)
        for name, value in self._user_attributes().items():
            setattr(made, name, copy.deepcopy(value, memo))
        return made

    def _user_attributes(self) -> dict:
        return {k: v for k, v in self.__dict__.items() if k not in _FIELDS}

    def __reduce_ex__(self, protocol: Any) -> tuple:
        array = np.array(self.numpy_array("pickling"), order="C")
        return _rebuild, (type(self), array, self._requires_grad, self._user_attributes())


_FIELDS = frozenset((*(k for k in Tensor.__dict__ if k.startswith("_")), "_data", "_type", "_why"))


def _rebuild(cls: type, array: np.ndarray, requires_grad: bool, attributes: dict) -> Tensor:
    """A tensor from a pickle."""
    made = object.__new__(cls)
    made._data, made._type = array, type_of_array(array)
    made._requires_grad = requires_grad
    made.__dict__.update(attributes)
    return made


def _legacy(*args: Any, device: Any = None) -> Tensor:
    """torch.Tensor(2, 3) (uninitialized), torch.Tensor([1, 2]) or torch.Tensor(tensor)."""
    require_cpu(device)
    if len(args) == 1 and isinstance(args[0], Tensor):
        return args[0].detach()
    if len(args) == 1 and not isinstance(args[0], (int, Size)):
        return Tensor._wrap(np.array(args[0], np.float32))
    sizes = args[0] if len(args) == 1 and isinstance(args[0], Size) else args
    if not all(isinstance(n, int) for n in sizes):
        raise TypeError(f"Tensor() expects sizes or one sequence, got {args}")
    attrs = dict(value=0.0, shape=tuple(sizes or (0,)), dtype=float32)
    return dispatch.apply(ops.full, (), attrs)


dispatch.bind(Tensor)

__all__ = ["Tensor"]
