"""Conversion to other dtypes and devices, copies, and numbers from tensors."""

from __future__ import annotations

import builtins
from typing import Any

from ..device import device as device_class
from ..ir import DType, ops
from ..ir import types as dt
from .base import is_tensor
from .placing import placed
from .promotion import cast


def to(self: Any, *args: Any, **kwargs: Any) -> Any:
    """This tensor with another dtype and device: to(dtype), to(device[, dtype]) or to(other).

    The tensor itself if nothing changes, unless `copy`.
    """
    dtype, copy = kwargs.pop("dtype", None), kwargs.pop("copy", False)
    where = kwargs.pop("device", None)
    for name in ("non_blocking", "memory_format"):
        kwargs.pop(name, None)
    other = kwargs.pop("other", None)
    if kwargs:
        raise TypeError(f"to() received an invalid keyword argument: '{next(iter(kwargs))}'")
    for value in (*args, other):
        if isinstance(value, DType):
            dtype = value
        elif _is_device(value):
            where = value
        elif is_tensor(value):
            dtype, where = value.dtype, value.device
        elif value is not None and not isinstance(value, builtins.bool):
            raise TypeError(
                f"to() expects a dtype, device or Tensor, got {type(value).__name__}"
            )
    result = self if where is None else placed(self, where)
    result = result if dtype is None else cast(result, dtype)
    return result.clone() if copy and result is self else result


def _is_device(value: Any) -> Any:
    if isinstance(value, builtins.bool):
        return False
    return isinstance(value, (str, builtins.int, device_class))


def float(self: Any) -> Any:
    """As float32."""
    return cast(self, dt.float32)


def double(self: Any) -> Any:
    """As float64."""
    return cast(self, dt.float64)


def half(self: Any) -> Any:
    """As float16."""
    return cast(self, dt.float16)


def bfloat16(self: Any) -> Any:
    """As bfloat16."""
    return cast(self, dt.bfloat16)


def long(self: Any) -> Any:
    """As int64."""
    return cast(self, dt.int64)


def int(self: Any) -> Any:
    """As int32."""
    return cast(self, dt.int32)


def short(self: Any) -> Any:
    """As int16."""
    return cast(self, dt.int16)


def char(self: Any) -> Any:
    """As int8."""
    return cast(self, dt.int8)


def byte(self: Any) -> Any:
    """As uint8."""
    return cast(self, dt.uint8)


def bool(self: Any) -> Any:
    """As bool: True where not zero."""
    return cast(self, dt.bool_)


LEGACY_TYPES = {
    "FloatTensor": dt.float32,
    "DoubleTensor": dt.float64,
    "HalfTensor": dt.float16,
    "BFloat16Tensor": dt.bfloat16,
    "LongTensor": dt.int64,
    "IntTensor": dt.int32,
    "ShortTensor": dt.int16,
    "CharTensor": dt.int8,
    "ByteTensor": dt.uint8,
    "BoolTensor": dt.bool_,
}
_LEGACY_NAMES = {dtype: name for name, dtype in LEGACY_TYPES.items()}


def type(self: Any, dtype: Any = None, non_blocking: Any = False) -> Any:
    """The name of this tensor's type, or the tensor as another one (a DType or a name)."""
    if dtype is None:
        return f"torch.{_LEGACY_NAMES[self.dtype]}"
    if isinstance(dtype, DType):
        return cast(self, dtype)
    name = dtype if isinstance(dtype, str) else getattr(dtype, "__name__", repr(dtype))
    found = LEGACY_TYPES.get(name.removeprefix("torch."))
    if found is None:
        raise ValueError(f"invalid type: '{name}'")
    return cast(self, found)


def type_as(self: Any, other: Any) -> Any:
    """This tensor with the dtype of `other`."""
    return cast(self, other.dtype)


def cpu(self: Any, memory_format: Any = None) -> Any:
    """The tensor in host memory: itself if it is there already."""
    return placed(self, "cpu")


def cuda(self: Any, device: Any = None, non_blocking: Any = False, **options: Any) -> Any:
    """The tensor in GPU memory; DeviceError (a RuntimeError) says what is missing for that."""
    return placed(self, "cuda" if device is None else device)


def pin_memory(self: Any, device: Any = None) -> Any:
    """This tensor; page-locked memory only matters for other devices."""
    return self


def is_floating_point(input: Any) -> Any:
    """True for a float dtype."""
    return input.dtype.kind == "f"


def is_complex(input: Any) -> Any:
    """False: there are no complex dtypes."""
    return False


def is_signed(input: Any) -> Any:
    """True for a dtype with negative values."""
    return input.dtype.kind in "fi"


def is_nonzero(input: Any) -> Any:
    """The truth of a tensor with one element."""
    return input.__bool__()


def numel(input: Any) -> Any:
    """Number of elements."""
    return input.numel()


def clone(input: Any, *, memory_format: Any = None) -> Any:
    """A copy, through which gradients flow: results of ops never share memory."""
    return ops.reshape(input, shape=tuple(input.shape))


def detach(input: Any) -> Any:
    """The tensor, cut off from differentiation, sharing memory."""
    return input.detach()
