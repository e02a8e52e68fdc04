"""Torch's type promotion and broadcasting, down to the strict operands that ops take.

A result has the highest category (bool < integer < float) among its operands. Within it, tensors
with dimensions decide before 0-d tensors, and those before Python numbers: `int8 + 1` stays int8
and `int8 + 1.5` takes the default dtype.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..hyper_number import HyperNumber
from ..ir import DType, ops
from ..ir import types as dt
from ..ir.types import promote
from .base import OPERAND_NUMBERS, constant, default_float, tensor_class

_CATEGORY = {"b": 0, "u": 1, "i": 1, "f": 2}


def promote_types(type1: DType, type2: DType) -> DType:
    """The smallest dtype that holds values of both dtypes."""
    return promote(type1, type2)


def can_cast(from_: DType, to: DType) -> bool:
    """Whether a result of dtype `from_` may be stored in place as dtype `to`."""
    return _CATEGORY[from_.kind] <= _CATEGORY[to.kind]


def number_dtype(value: Any) -> DType:
    """The dtype that a Python number has in promotion."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool):
        return dt.bool_
    if isinstance(value, int):
        return dt.int64
    if isinstance(value, (float, HyperNumber)):
        return default_float()
    raise TypeError(f"expected a Tensor or a number, got {type(value).__name__}")


def _join(higher: DType | None, lower: DType | None) -> DType | None:
    """The dtype of operands of two priorities: `lower` counts only if its category is higher."""
    if higher is None or lower is None:
        return higher or lower
    if _CATEGORY[lower.kind] > _CATEGORY[higher.kind]:
        return promote(higher, lower)
    return higher


def result_type(*operands: Any) -> DType:
    """The dtype of arithmetic on tensors and Python numbers."""
    Tensor = tensor_class()
    found: list[DType | None] = [None, None, None]
    for x in operands:
        if isinstance(x, Tensor):
            level, dtype = (0 if x.type_.shape else 1), x.type_.dtype
        else:
            level, dtype = 2, number_dtype(x)
        found[level] = dtype if found[level] is None else promote(found[level], dtype)
    result = _join(found[0], _join(found[1], found[2]))
    if result is None:
        raise TypeError("result_type() needs at least one operand")
    return result


def cast(x: Any, dtype: DType) -> Any:
    """`x` as `dtype`; `x` itself if it has it."""
    return x if x.type_.dtype is dtype else ops.cast(x, dtype=dtype)


def reshaped(x: Any, shape: tuple[int, ...]) -> Any:
    """`x` in another shape; `x` itself if it has it."""
    return x if x.type_.shape == shape else ops.reshape(x, shape=shape)


def expand_to(x: Any, shape: tuple[int, ...]) -> Any:
    """`x` broadcast to `shape`, which it must fit."""
    own = first = x.type_.shape
    if own == shape:
        return x
    if len(own) < len(shape):
        own = (1,) * (len(shape) - len(own)) + own
        x = ops.reshape(x, shape=own)
    if own == shape:
        return x
    x = ops.expand(x, shape=shape)
    if not first:
        x._made = True  # a 0-d tensor of the CPU goes with tensors of every device
    return x


def broadcast_shapes(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape to which all shapes broadcast; RuntimeError if there is none."""
    try:
        return dt.broadcast_shapes(*shapes)
    except ValueError as error:
        raise RuntimeError(str(error)) from None


def broadcast(*operands: Any, dtype: DType | None = None) -> tuple:
    """Tensors of one shape and one dtype (by promotion unless given) from tensors and numbers."""
    Tensor = tensor_class()
    types = [x.type_ for x in operands if isinstance(x, Tensor)]
    if not types:
        raise TypeError(f"expected at least one Tensor, got {[type(x).__name__ for x in operands]}")
    first = types[0]
    if all(t == first for t in types):
        shape = first.shape
        if dtype is None and len(types) == len(operands):
            return operands
    else:
        shape = broadcast_shapes(*(t.shape for t in types))
    if dtype is None:
        dtype = result_type(*operands)
    return tuple(
        expand_to(cast(x, dtype), shape) if isinstance(x, Tensor) else _number(x, shape, dtype)
        for x in operands
    )


def _number(value: Any, shape: tuple[int, ...], dtype: DType) -> Any:
    if not isinstance(value, OPERAND_NUMBERS):
        raise TypeError(f"expected a Tensor or a number, got {type(value).__name__}")
    if isinstance(value, HyperNumber):  # a number that is an input of the graph being recorded
        return expand_to(cast(value.tensor, dtype), shape)
    return constant(value, shape, dtype)


def float_operands(*operands: Any) -> tuple:
    """Like `broadcast`, with integers and bools turned into the default dtype."""
    dtype = result_type(*operands)
    return broadcast(*operands, dtype=dtype if dtype.kind == "f" else default_float())


def as_float(x: Any) -> Any:
    """`x`, or `x` in the default dtype if it is an integer or bool tensor."""
    return x if x.type_.dtype.kind == "f" else cast(x, default_float())


TYPE_NAMES = {
    dt.bool_: "Bool",
    dt.uint8: "Byte",
    dt.int8: "Char",
    dt.int16: "Short",
    dt.int32: "Int",
    dt.int64: "Long",
    dt.float16: "Half",
    dt.bfloat16: "BFloat16",
    dt.float32: "Float",
    dt.float64: "Double",
}


def stored_as(result: Any, dtype: DType) -> Any:
    """A result cast to the dtype of the tensor it overwrites; RuntimeError if torch forbids it."""
    own = result.type_.dtype
    if not can_cast(own, dtype):
        raise RuntimeError(
            f"result type {TYPE_NAMES[own]} can't be cast to the desired output type "
            f"{TYPE_NAMES[dtype]}"
        )
    return cast(result, dtype)
