"""Arithmetic of two or three operands, with broadcasting and type promotion."""

from __future__ import annotations

from typing import Any

from ..ir import ops
from ..ir import types as dt
from .base import constant, is_tensor, like, no_out
from .promotion import broadcast, cast, float_operands, result_type
from .unary import trunc


def _scaled(other: Any, alpha: float) -> Any:
    if alpha == 1:
        return other
    return mul(other, alpha) if is_tensor(other) else other * alpha


def add(input: Any, other: Any, *, alpha: float = 1, out: Any = None) -> Any:
    """input + alpha * other; for bools the logical or."""
    no_out("add", out)
    a, b = broadcast(input, _scaled(other, alpha))
    return ops.bitwise_or(a, b) if a.dtype is dt.bool_ else ops.add(a, b)


def sub(input: Any, other: Any, *, alpha: float = 1, out: Any = None) -> Any:
    """input - alpha * other; bool tensors are refused."""
    no_out("sub", out)
    _refuse_bool_sub(input, other)
    return ops.sub(*broadcast(input, _scaled(other, alpha)))


def _refuse_bool_sub(a: Any, b: Any) -> None:
    bools = [x.dtype is dt.bool_ if is_tensor(x) else isinstance(x, bool) for x in (a, b)]
    if bools == [True, True]:
        raise RuntimeError(
            "Subtraction, the `-` operator, with two bool tensors is not supported. Use the `^` or "
            "`logical_xor()` operator instead."
        )
    if True in bools:
        raise RuntimeError(
            "Subtraction, the `-` operator, with a bool tensor is not supported. If you are trying "
            "to invert a mask, use the `~` or `logical_not()` operator instead."
        )


def rsub(input: Any, other: Any, *, alpha: float = 1) -> Any:
    """other - alpha * input."""
    _refuse_bool_sub(input, other)
    a, b = broadcast(_scaled(input, alpha), other)
    return ops.sub(b, a)


def mul(input: Any, other: Any, *, out: Any = None) -> Any:
    """input * other; for bools the logical and."""
    no_out("mul", out)
    a, b = broadcast(input, other)
    return ops.bitwise_and(a, b) if a.dtype is dt.bool_ else ops.mul(a, b)


def div(input: Any, other: Any, *, rounding_mode: str | None = None, out: Any = None) -> Any:
    """input / other as floats; `rounding_mode` "trunc" or "floor" rounds and keeps integers."""
    no_out("div", out)
    if rounding_mode is None:
        return ops.div(*float_operands(input, other))
    if rounding_mode == "floor":
        return floor_divide(input, other)
    if rounding_mode != "trunc":
        raise RuntimeError(
            "div expected rounding_mode to be one of None, 'trunc', or 'floor' but found "
            f"'{rounding_mode}'"
        )
    a, b = _no_bool("div", input, other)
    if a.dtype.kind == "f":
        return trunc(ops.div(a, b))
    quotient = ops.floor_divide(a, b)
    if a.dtype.kind == "u":
        return quotient
    return ops.add(quotient, cast(_rounded_down_below_zero(a, b), a.dtype))


def _rounded_down_below_zero(a: Any, b: Any) -> Any:
    """Where floor and truncation of integer a / b differ: a rest, and operands of unlike sign."""
    zero = like(a, 0)
    rest = ops.remainder(a, b)
    inexact = ops.bitwise_xor(ops.eq(rest, zero), constant(True, a.shape, dt.bool_))
    return ops.bitwise_and(inexact, ops.bitwise_xor(ops.lt(a, zero), ops.lt(b, zero)))


def _no_bool(name: str, input: Any, other: Any) -> tuple:
    """Operands of integer division and remainder, which two bools do not have."""
    a, b = broadcast(input, other)
    if a.dtype is dt.bool_:
        raise NotImplementedError(f'"{name}" not implemented for bool; convert with .int() first')
    return a, b


def floor_divide(input: Any, other: Any, *, out: Any = None) -> Any:
    """floor(input / other); integers stay integers and x // 0 is 0 for them."""
    no_out("floor_divide", out)
    return ops.floor_divide(*_no_bool("floor_divide", input, other))


def remainder(input: Any, other: Any, *, out: Any = None) -> Any:
    """input - other * floor(input / other): the result has the sign of `other`, as Python's %."""
    no_out("remainder", out)
    return ops.remainder(*_no_bool("remainder", input, other))


def fmod(input: Any, other: Any, *, out: Any = None) -> Any:
    """input - other * trunc(input / other): the result has the sign of `input`, as C's fmod."""
    no_out("fmod", out)
    a, b = _no_bool("fmod", input, other)
    if a.dtype.kind == "u":
        return ops.remainder(a, b)
    if a.dtype.kind == "i":
        surplus = ops.where(_rounded_down_below_zero(a, b), b, like(a, 0))
        return ops.sub(ops.remainder(a, b), surplus)
    rest = ops.remainder(ops.abs(a), ops.abs(b))
    return ops.where(ops.lt(a, like(a, 0.0)), ops.neg(rest), rest)


def pow(input: Any, exponent: Any, *, out: Any = None) -> Any:
    """input ** exponent; one of the two may be a number. Small constant powers become products."""
    no_out("pow", out)
    dtype = result_type(input, exponent)
    if dtype is dt.bool_:
        a, b = broadcast(input, exponent)
        return ops.bitwise_or(a, ops.bitwise_xor(b, like(b, True)))
    if is_tensor(exponent):
        return ops.pow(*broadcast(input, exponent))
    if dtype.kind != "f" and exponent < 0:
        raise RuntimeError("Integers to negative integer powers are not allowed.")
    return _constant_power(cast(input, dtype), exponent)


def _constant_power(x: Any, exponent: float) -> Any:
    if exponent == 2:
        return ops.mul(x, x)
    if exponent == 3:
        return ops.mul(ops.mul(x, x), x)
    if exponent == 1:
        return x.clone()
    if x.dtype.kind == "f":
        if exponent == 0.5:
            return ops.sqrt(x)
        if exponent == -1:
            return ops.div(like(x, 1.0), x)
        if exponent == -0.5:
            return ops.div(like(x, 1.0), ops.sqrt(x))
    return ops.pow(x, like(x, exponent))


def float_power(input: Any, exponent: Any) -> Any:
    """input ** exponent in float64."""
    return ops.pow(*broadcast(input, exponent, dtype=dt.float64))


def atan2(input: Any, other: Any, *, out: Any = None) -> Any:
    """Angle of the point (x=other, y=input), in [-pi, pi]."""
    no_out("atan2", out)
    return ops.atan2(*float_operands(input, other))


def hypot(input: Any, other: Any, *, out: Any = None) -> Any:
    """sqrt(input^2 + other^2)."""
    no_out("hypot", out)
    a, b = float_operands(input, other)
    return ops.sqrt(ops.add(ops.mul(a, a), ops.mul(b, b)))


def copysign(input: Any, other: Any) -> Any:
    """The size of `input` with the sign of `other` (of -0.0 too)."""
    a, b = float_operands(input, other)
    sign_of = ops.where(ops.eq(b, like(b, 0.0)), ops.div(like(b, 1.0), b), b)
    negative, below = ops.lt(sign_of, like(b, 0.0)), ops.lt(a, like(a, 0.0))
    return ops.where(ops.bitwise_xor(negative, below), ops.neg(a), a)


def lerp(input: Any, end: Any, weight: Any, *, out: Any = None) -> Any:
    """input + weight * (end - input)."""
    no_out("lerp", out)
    a, b, w = broadcast(input, end, weight)
    return ops.add(a, ops.mul(w, ops.sub(b, a)))


def addcmul(input: Any, tensor1: Any, tensor2: Any, *, value: float = 1, out: Any = None) -> Any:
    """input + value * tensor1 * tensor2."""
    no_out("addcmul", out)
    return add(input, _scaled(mul(tensor1, tensor2), value))


def addcdiv(input: Any, tensor1: Any, tensor2: Any, *, value: float = 1, out: Any = None) -> Any:
    """input + value * tensor1 / tensor2."""
    no_out("addcdiv", out)
    a, b = broadcast(tensor1, tensor2)
    if a.dtype.kind != "f":
        raise RuntimeError("Integer division with addcdiv is not supported; cast to a float dtype")
    return add(input, _scaled(ops.div(a, b), value))


def logaddexp(input: Any, other: Any, *, out: Any = None) -> Any:
    """log(exp(input) + exp(other)) without overflow."""
    no_out("logaddexp", out)
    a, b = broadcast(input, other)
    gap = ops.where(ops.eq(a, b), like(a, 0.0), ops.sub(a, b))  # inf - inf is nan
    return ops.add(ops.maximum(a, b), ops.log1p(ops.exp(ops.neg(ops.abs(gap)))))


def logaddexp2(input: Any, other: Any) -> Any:
    """log2(2^input + 2^other) without overflow."""
    a, b = broadcast(input, other)
    scale = like(a, 0.6931471805599453)
    return ops.div(logaddexp(ops.mul(a, scale), ops.mul(b, scale)), scale)


def xlogy(input: Any, other: Any, *, out: Any = None) -> Any:
    """input * log(other), 0 where input is 0 (unless other is nan)."""
    no_out("xlogy", out)
    a, b = float_operands(input, other)
    zero = like(a, 0.0)
    flat = ops.bitwise_and(ops.eq(a, zero), ops.eq(b, b))
    safe = ops.where(flat, like(b, 1.0), b)
    return ops.where(flat, zero, ops.mul(a, ops.log(safe)))


def true_divide(input: Any, other: Any) -> Any:
    """input / other as floats."""
    return div(input, other)

