"""Moving and casting the tensors of a module: ModuleConversion, a part of Module."""

from __future__ import annotations

import mmap
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

import nncomp

from ..tensor import Tensor

if TYPE_CHECKING:
    from .module import Module

Self = TypeVar("Self", bound="ModuleConversion")


def _shared(tensor: Tensor) -> Tensor:
    """Copy ``tensor`` to an anonymous shared mapping, which forked processes see."""
    values = tensor.detach().numpy()
    memory = mmap.mmap(-1, max(values.nbytes, 1))
    copy = np.frombuffer(memory, dtype=values.dtype, count=values.size).reshape(values.shape)
    copy[...] = values
    return nncomp.from_numpy(copy)


class _Conversion:
    """The device and dtype that the arguments of Module.to name."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.device = self.dtype = None
        self.non_blocking = bool(kwargs.pop("non_blocking", False))
        kwargs.pop("memory_format", None)  # there is one memory format
        for value in (*args, kwargs.pop("device", None), kwargs.pop("dtype", None)):
            self._take(value)
        if "tensor" in kwargs:
            self._take(kwargs.pop("tensor"))
        if kwargs:
            raise TypeError(f"to() received an invalid keyword argument: '{next(iter(kwargs))}'")
        if self.dtype is not None and not self.dtype.is_floating_point:
            raise TypeError(
                "nn.Module.to only accepts floating point or complex "
                f"dtypes, but got desired dtype={self.dtype}"
            )

    def _take(self, value: Any) -> None:
        if value is None:
            return
        if isinstance(value, bool):
            self.non_blocking = value
        elif isinstance(value, Tensor):
            self.device, self.dtype = value.device, value.dtype
        elif isinstance(value, nncomp.dtype):
            self.dtype = value
        elif isinstance(value, (str, int, nncomp.device)):
            self.device = nncomp.device(value)
        else:
            raise TypeError(
                "to() received an invalid combination of arguments: expected a device, a dtype "
                f"or a tensor, got {type(value).__name__}"
            )

    def __call__(self, tensor: Tensor) -> Tensor:
        if self.device is not None:
            tensor = tensor.to(self.device)
        if self.dtype is not None and tensor.is_floating_point():
            tensor = tensor.to(self.dtype)
        return tensor


class ModuleConversion:
    """The part of Module that converts its parameters and buffers in place."""

    def _apply(self: Self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Replace the data of each parameter, its gradient and each buffer by ``fn`` of it."""
        for child in self.children() if recurse else ():
            child._apply(fn)
        with nncomp.no_grad():
            for parameter in self._parameters.values():
                if parameter is None:
                    continue
                parameter.data = fn(parameter.data)
                if parameter.grad is not None:
                    parameter.grad = fn(parameter.grad)
            for name, buffer in self._buffers.items():
                if buffer is not None:
                    self._buffers[name] = fn(buffer)
        return self

    def apply(self: Self, fn: Callable[[Module], Any]) -> Self:
        """Call ``fn(module)`` on every module below and then on this one."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    def to(self: Self, *args: Any, **kwargs: Any) -> Self:
        """Move to a device and/or cast the floating point tensors: to(device), to(dtype),
        to(device, dtype), to(tensor)."""
        return self._apply(_Conversion(*args, **kwargs))

    def to_empty(self: Self, *, device: Any, recurse: bool = True) -> Self:
        """Move to ``device`` without copying: the new tensors have no defined values."""
        return self._apply(lambda t: nncomp.empty_like(t, device=device), recurse=recurse)

    def _cast(self: Self, dtype: Any) -> Self:
        return self._apply(lambda t: t.to(dtype) if t.is_floating_point() else t)

    def float(self: Self) -> Self:
        """Cast the floating point tensors to float32."""
        return self._cast(nncomp.float32)

    def double(self: Self) -> Self:
        """Cast the floating point tensors to float64."""
        return self._cast(nncomp.float64)

    def half(self: Self) -> Self:
        """Cast the floating point tensors to float16."""
        return self._cast(nncomp.float16)

    def bfloat16(self: Self) -> Self:
        """Cast the floating point tensors to bfloat16."""
        return self._cast(nncomp.bfloat16)

    def type(self: Self, dst_type: Any) -> Self:
        """Cast all parameters and buffers, also integer ones, to ``dst_type``."""
        return self._apply(lambda t: t.type(dst_type))

    def _move(self: Self, kind: str, index: Any) -> Self:
        device = nncomp.device(kind) if index is None else nncomp.device(kind, index)
        return self._apply(lambda t: t.to(device))

    def cpu(self: Self) -> Self:
        """Move to the CPU."""
        return self._move("cpu", None)

    def cuda(self: Self, device: Any = None) -> Self:
        """Move to a CUDA device."""
        return self._move("cuda", device)

    def xpu(self: Self, device: Any = None) -> Self:
        """Move to an XPU device."""
        return self._move("xpu", device)

    def ipu(self: Self, device: Any = None) -> Self:
        """Move to an IPU device."""
        return self._move("ipu", device)

    def mtia(self: Self, device: Any = None) -> Self:
        """Move to an MTIA device."""
        return self._move("mtia", device)

    def share_memory(self: Self) -> Self:
        """Move the tensors to memory that forked processes share."""
        return self._apply(_shared)

    def requires_grad_(self: Self, requires_grad: bool = True) -> Self:
        """Set ``requires_grad`` of all parameters."""
        for parameter in self.parameters():
            parameter.requires_grad_(requires_grad)
        return self

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients of all parameters, or fill them with zeros."""
        for parameter in self.parameters():
            if parameter.grad is None:
                continue
            if set_to_none:
                parameter.grad = None
            else:
                parameter.grad = nncomp.zeros_like(parameter.grad)

    def train(self: Self, mode: bool = True) -> Self:
        """Set training mode on this module and all below (Dropout, BatchNorm follow it)."""
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")
        self.training = mode
        for module in self.children():
            module.train(mode)
        return self

    def eval(self: Self) -> Self:
        """Set evaluation mode; the same as ``train(False)``."""
        return self.train(False)
