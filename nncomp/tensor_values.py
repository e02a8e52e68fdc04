"""ValueMethods: from a Tensor to Python numbers, lists, text and numpy arrays.

All of them read elements, so a tensor of a graph that is being recorded refuses them.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from . import dispatch
from .autograd.modes import state
from .trace_error import TraceError


class ValueMethods:
    """Conversions of a Tensor."""

    def numpy_array(self, what: str) -> np.ndarray:
        """The elements, memory shared; TraceError, saying `what` was asked, while tracing."""
        if state.tracer is not None:
            return state.tracer.concrete(self, what)
        array = self._data
        if array.__class__ is not np.ndarray:
            if hasattr(array, "cuda_device"):
                return _host(array, what)
            raise TraceError(
                f"{what} of a tensor that belongs to a graph that was recorded earlier: it has no "
                "value. Return it from the traced function instead of storing it elsewhere."
            )
        return array

    def numpy(self, *, force: bool = False) -> np.ndarray:
        """A numpy array on the same memory; RuntimeError if the tensor requires grad."""
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

    def __dlpack__(self, **options: Any) -> Any:
        """A DLPack capsule on this memory (torch.from_dlpack, np.from_dlpack but for bfloat16)."""
        if self.device.type == "cuda":
            from .cuda.capsules import capsule_on

            if self.requires_grad:
                raise RuntimeError(
                    "Can't export tensors that require gradient, use tensor.detach()"
                )
            return capsule_on(self._data, options)
        from .dlpack import capsule_of

        return capsule_of(self.numpy(), options)

    def __dlpack_device__(self) -> tuple[int, int]:
        """(kDLCPU, 0), or (kDLCUDA, 0) in GPU memory."""
        return (2 if self.device.type == "cuda" else 1), 0

    @property
    def __cuda_array_interface__(self) -> dict:
        """Where a tensor on cuda lies, for other libraries; AttributeError on the CPU."""
        if self.device.type != "cuda" or self.is_traced:
            raise AttributeError("only tensors on cuda have __cuda_array_interface__; use .cuda()")
        if self.requires_grad:
            raise RuntimeError(
                "Can't get __cuda_array_interface__ on Variable that requires grad. Use "
                "tensor.detach() first."
            )
        return self._data.__cuda_array_interface__

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
        if array.size == 1:
            return _python(array).item()
        if what != "bool()":
            raise RuntimeError("only one element tensors can be converted to Python scalars")
        which = "with no values" if array.size == 0 else "with more than one value"
        raise RuntimeError(f"Boolean value of Tensor {which} is ambiguous")

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
        if ("_data" not in self.__dict__ and self._released is None) or self.is_traced:
            return f"<traced {self._type}>"
        return super().__repr__()

    @property
    def is_traced(self) -> bool:
        """True for a tensor of a graph that is being recorded; it has no value yet."""
        return self._tracer is not None


_COPIES = {"the ignored targets"} | set(
    "item() tolist() printing formatting bool() int() float() complex() __index__() pickling "
    "saving save() exporting".split()
)


def _host(array: Any, what: str) -> np.ndarray:
    """A host copy of elements in GPU memory; TypeError where torch wants .cpu() first."""
    if what in _COPIES or what.startswith("the check of"):
        return array.host()
    raise TypeError(
        f"{what}: can't convert {array.cuda_device} device type tensor to numpy. Use Tensor.cpu() "
        "to copy the tensor to host memory first."
    )


def _python(array: np.ndarray) -> np.ndarray:
    """The array in a dtype that numpy turns into Python numbers."""
    return array.astype(np.float32) if array.dtype.kind not in "fiub" else array
