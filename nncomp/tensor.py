"""Tensor: an array (or, while a graph is recorded, a Node) with a place in autograd.

The numeric methods come from TensorMethods. Here is what belongs to the object itself: its type,
its gradient, its memory, and its conversions to Python and numpy. Rarely used fields are class
attributes until they are set, which keeps making a result cheap.
"""

from __future__ import annotations

import copy
import operator
import weakref
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np

from . import dispatch, inplace
from .autograd import api
from .autograd.modes import state
from .device import CPU, device, require_cpu
from .ir import ops
from .ir.types import DType, TensorType, float32, type_of_array
from .size import Size
from .tensor_methods import TensorMethods
from .trace_error import TraceError, trace_error
from .trace_layout import contiguous
from .utils.hooks import RemovableHandle

_NOT_FLOAT = "only Tensors of floating point dtype can require gradients"
_NOT_LEAF = (
    "you can only change requires_grad flags of leaf variables. If you want to use a computed "
    "variable in a subgraph that doesn't require differentiation use var_no_grad = var.detach()."
)


class Tensor(TensorMethods):
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
        """Where the tensor lives: always the CPU."""
        return CPU

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

    # -- autograd ---------------------------------------------------------------------------------

    @property
    def requires_grad(self) -> bool:
        """True if gradients are computed for it; settable on leaves."""
        return self._requires_grad or (self._base is not None and self._base._requires_grad)

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if not isinstance(value, bool):
            raise RuntimeError("requires_grad must be a bool")
        if value == self.requires_grad:
            return
        if not self.is_leaf:
            raise RuntimeError(_NOT_LEAF)
        if value and self._type.dtype.kind != "f":
            raise RuntimeError(_NOT_FLOAT)
        if state.tracer is not None:
            state.tracer.remember(self)
        self._requires_grad = value
        self._rebased = self._rebased + 1

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Set `requires_grad` and return the tensor."""
        self.requires_grad = requires_grad
        return self

    @property
    def grad_fn(self) -> Any:
        """The node of the tape that made the tensor; None for leaves."""
        if self._base is not None and self._base._rebased != self._seen:
            inplace.refresh_history(self)
        return self._grad_fn

    @property
    def is_leaf(self) -> bool:
        """True for tensors that no recorded operation made."""
        return self.grad_fn is None

    @property
    def grad(self) -> Tensor | None:
        """The accumulated gradient, after backward()."""
        return self._grad

    @grad.setter
    def grad(self, value: Tensor | None) -> None:
        if value is not None:
            if not isinstance(value, Tensor):
                raise TypeError(
                    f"assigned grad expected to be a Tensor or None but got grad of type "
                    f"{type(value).__name__}"
                )
            if value._type != self._type:
                raise RuntimeError(
                    f"assigned grad has data of a different size or dtype: expected {self._type}, "
                    f"got {value._type}"
                )
        if state.tracer is not None:
            state.tracer.remember(self)
        self._grad = value

    @grad.deleter
    def grad(self) -> None:
        self.grad = None

    @property
    def output_nr(self) -> int:
        """Which result of its grad_fn the tensor is."""
        return self._output_nr

    @property
    def _version(self) -> int:
        return self._counter[0] if self._counter is not None else 0

    @property
    def retains_grad(self) -> bool:
        """True for a non-leaf whose gradient is kept."""
        return self._retains

    def retain_grad(self) -> None:
        """Keep the gradient of a non-leaf in `.grad`."""
        if not self.requires_grad:
            raise RuntimeError("can't retain_grad on Tensor that has requires_grad=False")
        node = self.grad_fn
        if node is None or self._retains:
            return
        if node.retained is None:
            node.retained = {}
        node.retained[self._output_nr] = weakref.ref(self)
        self._retains = True

    def register_hook(self, hook: Callable) -> RemovableHandle:
        """Call `hook(grad)` when the gradient is known; what it returns replaces the gradient."""
        if not self.requires_grad:
            raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
        if state.tracer is not None:
            return state.tracer.register_hook(self, hook)
        return self._add_hook(hook)

    def _add_hook(self, hook: Callable) -> RemovableHandle:
        node = self.grad_fn
        if node is not None:
            hooks = node.hooks_of_result(self._output_nr)
        else:
            if self._backward_hooks is None:
                self._backward_hooks = OrderedDict()
            hooks = self._backward_hooks
        handle = RemovableHandle(hooks)
        hooks[handle.id] = hook
        return handle

    def register_post_accumulate_grad_hook(self, hook: Callable) -> RemovableHandle:
        """Call `hook(tensor)` after backward() added to the .grad of this leaf."""
        if not self.requires_grad:
            raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
        if not self.is_leaf:
            raise RuntimeError("post accumulate grad hooks cannot be registered on non-leaf tensors")
        if self._post_hooks is None:
            self._post_hooks = OrderedDict()
        handle = RemovableHandle(self._post_hooks)
        self._post_hooks[handle.id] = hook
        return handle

    def backward(
        self,
        gradient: Tensor | None = None,
        retain_graph: bool | None = None,
        create_graph: bool = False,
        inputs: Any = None,
    ) -> None:
        """Add the gradient of this tensor to the .grad of the leaves that it was made from."""
        api.backward(self, gradient, retain_graph, create_graph, inputs=inputs)

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
        return self.numpy_array("data_ptr()").__array_interface__["data"][0]

    # -- conversions ------------------------------------------------------------------------------

    def numpy_array(self, what: str) -> np.ndarray:
        """The elements, memory shared; TraceError, saying `what` was asked, while tracing."""
        if state.tracer is not None:
            return state.tracer.concrete(self, what)
        array = self._data
        if array.__class__ is not np.ndarray:
            raise TraceError(
                f"{what} of a tensor that belongs to a graph that was recorded earlier: it has no "
                "value. Return it from the traced function instead of storing it elsewhere."
            )
        return array

    def numpy(self, *, force: bool = False) -> np.ndarray:
        """The elements as a numpy array that shares memory; RuntimeError if a gradient is wanted."""
        array = self.numpy_array("numpy()")
        if self.requires_grad and not force:
            raise RuntimeError(
                "Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() "
                "instead."
            )
        if state.tracer is None:
            storage = dispatch.storage_of(self)
            storage.exposed = True
            storage.settle()
            array = self._data
        return array

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        array = self.numpy()
        if dtype is not None and array.dtype != np.dtype(dtype):
            return array.astype(dtype)
        return array.copy() if copy else array

    def item(self) -> bool | int | float:
        """The only element as a Python number."""
        array = self.numpy_array("item()")
        if array.size != 1:
            raise RuntimeError(
                f"a Tensor with {array.size} elements cannot be converted to Scalar"
            )
        return _python(array).item()

    def tolist(self) -> Any:
        """Nested lists of Python numbers; a number for a 0-d tensor."""
        return _python(self.numpy_array("tolist()")).tolist()

    def _scalar(self, what: str) -> bool | int | float:
        array = self.numpy_array(what)
        if array.size != 1:
            kind = "Boolean value" if what == "bool()" else f"{what[:-2]} conversion"
            if what == "bool()" and array.size == 0:
                raise RuntimeError("Boolean value of Tensor with no values is ambiguous")
            if what == "bool()":
                raise RuntimeError(f"{kind} of Tensor with more than one value is ambiguous")
            raise RuntimeError(
                f"a Tensor with {array.size} elements cannot be converted to Scalar"
            )
        return _python(array).item()

    def __bool__(self) -> bool:
        return bool(self._scalar("bool()"))

    def __int__(self) -> int:
        return int(self._scalar("int()"))

    def __float__(self) -> float:
        return float(self._scalar("float()"))

    def __complex__(self) -> complex:
        return complex(self._scalar("complex()"))

    def __index__(self) -> int:
        value = self._scalar("__index__()")
        if self._type.dtype.kind not in "iub":
            raise TypeError("only integer tensors of a single element can be converted to an index")
        return operator.index(value)

    def __format__(self, spec: str) -> str:
        if self._type.shape == () and not self.is_traced:
            return format(self.item(), spec) if spec else str(self)
        return format(str(self), spec)

    def __str__(self) -> str:
        if self.is_traced:
            self.numpy_array("formatting")
        return repr(self)

    def __repr__(self) -> str:
        if "_data" not in self.__dict__ or self.is_traced:
            return f"<traced {self._type}>"
        return super().__repr__()

    @property
    def is_traced(self) -> bool:
        """True for a tensor of a graph that is being recorded; it has no value yet."""
        return self._tracer is not None

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
        array = self.numpy_array("deepcopy()")
        made = object.__new__(type(self))
        made._data, made._type = np.array(array, order="C"), self._type
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


def _python(array: np.ndarray) -> np.ndarray:
    """The array in a dtype that numpy turns into Python numbers."""
    return array.astype(np.float32) if array.dtype.kind not in "fiub" else array


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
