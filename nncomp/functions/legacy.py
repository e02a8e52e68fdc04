"""The old tensor types: FloatTensor(2, 3), LongTensor([1, 2]), isinstance(x, ByteTensor)."""

from __future__ import annotations

import operator
from typing import Any

from ..ir import DType
from ..ir import types as dt
from .base import constant, is_tensor


class _TypeOfTensors(type):
    """Calling such a class makes a Tensor, and a Tensor of its dtype is an instance of it."""

    dtype: DType

    def __call__(cls, *args: Any, device: Any = None) -> Any:
        from ..device import require_cpu
        from .creation import tensor

        require_cpu(device)
        if len(args) == 1 and not isinstance(args[0], int):
            return tensor(args[0], dtype=cls.dtype)
        return constant(0, tuple(operator.index(n) for n in args) or (0,), cls.dtype)

    def __instancecheck__(cls, obj: Any) -> bool:
        return is_tensor(obj) and obj.dtype is cls.dtype


class FloatTensor(metaclass=_TypeOfTensors):
    """float32 tensors."""

    dtype = dt.float32


class DoubleTensor(metaclass=_TypeOfTensors):
    """float64 tensors."""

    dtype = dt.float64


class HalfTensor(metaclass=_TypeOfTensors):
    """float16 tensors."""

    dtype = dt.float16


class BFloat16Tensor(metaclass=_TypeOfTensors):
    """bfloat16 tensors."""

    dtype = dt.bfloat16


class LongTensor(metaclass=_TypeOfTensors):
    """int64 tensors."""

    dtype = dt.int64


class IntTensor(metaclass=_TypeOfTensors):
    """int32 tensors."""

    dtype = dt.int32


class ShortTensor(metaclass=_TypeOfTensors):
    """int16 tensors."""

    dtype = dt.int16


class CharTensor(metaclass=_TypeOfTensors):
    """int8 tensors."""

    dtype = dt.int8


class ByteTensor(metaclass=_TypeOfTensors):
    """uint8 tensors."""

    dtype = dt.uint8


class BoolTensor(metaclass=_TypeOfTensors):
    """bool tensors."""

    dtype = dt.bool_
