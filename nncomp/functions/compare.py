"""Comparison, logical and bitwise functions."""

from __future__ import annotations

import builtins
from typing import Any

from ..ir import ops
from ..ir import types as dt
from .base import constant, is_tensor, like
from .promotion import broadcast, cast, result_type


def _comparable(input: Any, other: Any) -> tuple:
    """Operands of one type; a Python integer that the dtype cannot hold is compared as int64."""
    dtype = result_type(input, other)
    if dtype.kind in "iu" and isinstance(other, int):
        bits = 8 * dtype.itemsize - (dtype.kind == "i")
        low = -(1 << bits) if dtype.kind == "i" else 0
        if not low <= other < 1 << bits:
            dtype = dt.int64
    return broadcast(input, other, dtype=dtype)


def _not(x: Any) -> Any:
    return ops.bitwise_xor(x, constant(True, x.shape, dt.bool_))


def eq(input: Any, other: Any) -> Any:
    """input == other, element by element."""
    return ops.eq(*_comparable(input, other))


def ne(input: Any, other: Any) -> Any:
    """input != other; true for nan."""
    return _not(ops.eq(*_comparable(input, other)))


def lt(input: Any, other: Any) -> Any:
    """input < other."""
    return ops.lt(*_comparable(input, other))


def le(input: Any, other: Any) -> Any:
    """input <= other."""
    return ops.le(*_comparable(input, other))


def gt(input: Any, other: Any) -> Any:
    """input > other."""
    a, b = _comparable(input, other)
    return ops.lt(b, a)


def ge(input: Any, other: Any) -> Any:
    """input >= other."""
    a, b = _comparable(input, other)
    return ops.le(b, a)


def isclose(
    input: Any, other: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> Any:
    """|input - other| <= atol + rtol * |other|, or both equal (both nan if `equal_nan`)."""
    if input.dtype is not other.dtype:
        raise RuntimeError(f"{input.dtype} did not match {other.dtype}")
    a, b = broadcast(input, other)
    close = ops.eq(a, b)
    if equal_nan:
        close = ops.bitwise_or(close, _not(ops.bitwise_or(ops.eq(a, a), ops.eq(b, b))))
    if a.dtype.kind != "f":
        if rtol == 0 and atol == 0 or a.dtype.kind == "b":
            return close
        a, b = cast(a, dt.float64), cast(b, dt.float64)
    limit = ops.add(like(b, atol), ops.mul(like(b, rtol), ops.abs(b)))
    gap = ops.abs(ops.sub(a, b))
    finite = ops.lt(gap, like(gap, builtins.float("inf")))
    return ops.bitwise_or(close, ops.bitwise_and(finite, ops.le(gap, limit)))


def allclose(
    input: Any, other: Any, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False
) -> bool:
    """True if all elements are close (see isclose)."""
    return bool(isclose(input, other, rtol, atol, equal_nan).all())


def equal(input: Any, other: Any) -> bool:
    """True if both tensors have the same shape and elements."""
    if input.shape != other.shape:
        return False
    return bool(eq(input, other).all()) if input.numel() else True


def _as_bool(x: Any) -> Any:
    return cast(x, dt.bool_) if is_tensor(x) else bool(x)


def logical_and(input: Any, other: Any) -> Any:
    """Both are nonzero."""
    return ops.bitwise_and(*broadcast(_as_bool(input), _as_bool(other), dtype=dt.bool_))


def logical_or(input: Any, other: Any) -> Any:
    """At least one is nonzero."""
    return ops.bitwise_or(*broadcast(_as_bool(input), _as_bool(other), dtype=dt.bool_))


def logical_xor(input: Any, other: Any) -> Any:
    """Exactly one is nonzero."""
    return ops.bitwise_xor(*broadcast(_as_bool(input), _as_bool(other), dtype=dt.bool_))


def logical_not(input: Any) -> Any:
    """True where x is zero."""
    return _not(_as_bool(input))


def _integers(name: str, *operands: Any) -> tuple:
    xs = broadcast(*operands)
    if xs[0].dtype.kind == "f":
        raise NotImplementedError(f'"{name}" not implemented for {xs[0].dtype}')
    return xs


def bitwise_and(input: Any, other: Any) -> Any:
    """input & other of integers or bools."""
    return ops.bitwise_and(*_integers("bitwise_and", input, other))


def bitwise_or(input: Any, other: Any) -> Any:
    """input | other of integers or bools."""
    return ops.bitwise_or(*_integers("bitwise_or", input, other))


def bitwise_xor(input: Any, other: Any) -> Any:
    """input ^ other of integers or bools."""
    return ops.bitwise_xor(*_integers("bitwise_xor", input, other))


def bitwise_not(input: Any) -> Any:
    """~input of integers or bools."""
    (x,) = _integers("bitwise_not", input)
    return ops.bitwise_xor(x, like(x, True if x.dtype is dt.bool_ else -1))


def bitwise_left_shift(input: Any, other: Any) -> Any:
    """input << other; 0 once the shift reaches the number of bits."""
    return _shift("bitwise_left_shift", ops.shift_left, input, other, lambda x: like(x, 0))


def bitwise_right_shift(input: Any, other: Any) -> Any:
    """input >> other, arithmetic for signed types."""

    def far(x: Any) -> Any:
        if x.dtype.kind == "u":
            return like(x, 0)
        return ops.where(ops.lt(x, like(x, 0)), like(x, -1), like(x, 0))

    return _shift("bitwise_right_shift", ops.shift_right, input, other, far)


def _shift(name: str, op: Any, input: Any, other: Any, far: Any) -> Any:
    """A shift that is defined for every count: outside [0, bits) the result is `far`."""
    a, b = _integers(name, input, other)
    bits = 8 * a.dtype.itemsize
    if not is_tensor(other) and 0 <= other < bits:
        return op(a, b)
    valid = ops.bitwise_and(ops.le(like(b, 0), b), ops.lt(b, like(b, bits)))
    return ops.where(valid, op(a, ops.where(valid, b, like(b, 0))), far(a))
