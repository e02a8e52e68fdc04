"""Functions of one tensor, element by element; integers become floats where torch does so."""

from __future__ import annotations

import builtins
import math
from typing import Any

from ..ir import ops
from ..ir import types as dt
from .base import like, no_out
from .promotion import as_float, cast

_INV_LN2 = 1.0 / math.log(2.0)
_INV_LN10 = 1.0 / math.log(10.0)


def exp(input: Any, *, out: Any = None) -> Any:
    """e to the power of each element."""
    no_out("exp", out)
    return ops.exp(as_float(input))


def exp2(input: Any, *, out: Any = None) -> Any:
    """2 to the power of each element."""
    no_out("exp2", out)
    x = as_float(input)
    return ops.pow(like(x, 2.0), x)


def expm1(input: Any, *, out: Any = None) -> Any:
    """exp(x) - 1, accurate near 0."""
    no_out("expm1", out)
    return ops.expm1(as_float(input))


def log(input: Any, *, out: Any = None) -> Any:
    """Natural logarithm."""
    no_out("log", out)
    return ops.log(as_float(input))


def log2(input: Any, *, out: Any = None) -> Any:
    """Logarithm to base 2."""
    no_out("log2", out)
    x = ops.log(as_float(input))
    return ops.mul(x, like(x, _INV_LN2))


def log10(input: Any, *, out: Any = None) -> Any:
    """Logarithm to base 10."""
    no_out("log10", out)
    x = ops.log(as_float(input))
    return ops.mul(x, like(x, _INV_LN10))


def log1p(input: Any, *, out: Any = None) -> Any:
    """log(1 + x), accurate near 0."""
    no_out("log1p", out)
    return ops.log1p(as_float(input))


def sqrt(input: Any, *, out: Any = None) -> Any:
    """Square root."""
    no_out("sqrt", out)
    return ops.sqrt(as_float(input))


def rsqrt(input: Any, *, out: Any = None) -> Any:
    """1 / sqrt(x)."""
    no_out("rsqrt", out)
    x = ops.sqrt(as_float(input))
    return ops.div(like(x, 1.0), x)


def square(input: Any, *, out: Any = None) -> Any:
    """x * x."""
    no_out("square", out)
    return ops.mul(input, input)


def reciprocal(input: Any, *, out: Any = None) -> Any:
    """1 / x."""
    no_out("reciprocal", out)
    x = as_float(input)
    return ops.div(like(x, 1.0), x)


def abs(input: Any, *, out: Any = None) -> Any:
    """Absolute value; its gradient at 0 is 0."""
    no_out("abs", out)
    return ops.abs(input) if input.dtype.kind in "fi" else input.clone()


def neg(input: Any, *, out: Any = None) -> Any:
    """-x; bool tensors are refused."""
    no_out("neg", out)
    if input.dtype is dt.bool_:
        raise RuntimeError(
            "Negation, the `-` operator, on a bool tensor is not supported. If you are trying to "
            "invert a mask, use the `~` or `logical_not()` operator instead."
        )
    return ops.neg(input)


def positive(input: Any) -> Any:
    """x itself."""
    if input.dtype is dt.bool_:
        raise RuntimeError("The `+` operator, on a bool tensor is not supported.")
    return input


def sign(input: Any, *, out: Any = None) -> Any:
    """-1, 0 or 1; nan gives 0. The gradient is zero."""
    no_out("sign", out)
    if input.dtype is dt.bool_:
        return input.clone()
    zero, one = like(input, 0), like(input, 1)
    positive_part = ops.where(ops.lt(zero, input), one, zero)
    if input.dtype.kind == "u":
        return positive_part
    return ops.where(ops.lt(input, zero), ops.neg(one), positive_part)


def floor(input: Any, *, out: Any = None) -> Any:
    """Largest integer not above x; integers stay."""
    no_out("floor", out)
    return ops.floor(input) if input.dtype.kind == "f" else input.clone()


def ceil(input: Any, *, out: Any = None) -> Any:
    """Smallest integer not below x; integers stay."""
    no_out("ceil", out)
    return ops.neg(ops.floor(ops.neg(input))) if input.dtype.kind == "f" else input.clone()


def round(input: Any, *, decimals: int = 0, out: Any = None) -> Any:
    """Nearest integer (or multiple of 10**-decimals), ties to even; integers stay."""
    no_out("round", out)
    if input.dtype.kind != "f":
        return input.clone()
    if decimals == 0:
        return ops.round(input)
    scale = like(input, 10.0 ** builtins.abs(decimals))
    if decimals > 0:
        return ops.div(ops.round(ops.mul(input, scale)), scale)
    return ops.mul(ops.round(ops.div(input, scale)), scale)


def trunc(input: Any, *, out: Any = None) -> Any:
    """The integer part, rounding toward 0; integers stay."""
    no_out("trunc", out)
    if input.dtype.kind != "f":
        return input.clone()
    upward = ops.neg(ops.floor(ops.neg(input)))
    return ops.where(ops.lt(input, like(input, 0.0)), upward, ops.floor(input))


def frac(input: Any, *, out: Any = None) -> Any:
    """x - trunc(x)."""
    no_out("frac", out)
    return ops.sub(input, trunc(input))


def sin(input: Any, *, out: Any = None) -> Any:
    """Sine, radians."""
    no_out("sin", out)
    return ops.sin(as_float(input))


def cos(input: Any, *, out: Any = None) -> Any:
    """Cosine, radians."""
    no_out("cos", out)
    return ops.cos(as_float(input))


def tan(input: Any, *, out: Any = None) -> Any:
    """Tangent, radians."""
    no_out("tan", out)
    x = as_float(input)
    return ops.div(ops.sin(x), ops.cos(x))


def _leg(x: Any) -> Any:
    """sqrt(1 - x^2), factored so that it is accurate near -1 and 1."""
    one = like(x, 1.0)
    return ops.sqrt(ops.mul(ops.sub(one, x), ops.add(one, x)))


def asin(input: Any, *, out: Any = None) -> Any:
    """Arcsine in [-pi/2, pi/2]."""
    no_out("asin", out)
    x = as_float(input)
    return ops.atan2(x, _leg(x))


def acos(input: Any, *, out: Any = None) -> Any:
    """Arccosine in [0, pi]."""
    no_out("acos", out)
    x = as_float(input)
    return ops.atan2(_leg(x), x)


def atan(input: Any, *, out: Any = None) -> Any:
    """Arctangent in [-pi/2, pi/2]."""
    no_out("atan", out)
    x = as_float(input)
    return ops.atan2(x, like(x, 1.0))


def sinh(input: Any, *, out: Any = None) -> Any:
    """Hyperbolic sine, accurate near 0."""
    no_out("sinh", out)
    x = as_float(input)
    return ops.mul(ops.sub(ops.expm1(x), ops.expm1(ops.neg(x))), like(x, 0.5))


def cosh(input: Any, *, out: Any = None) -> Any:
    """Hyperbolic cosine."""
    no_out("cosh", out)
    x = as_float(input)
    return ops.mul(ops.add(ops.exp(x), ops.exp(ops.neg(x))), like(x, 0.5))


def tanh(input: Any, *, out: Any = None) -> Any:
    """Hyperbolic tangent."""
    no_out("tanh", out)
    return ops.tanh(as_float(input))


def asinh(input: Any, *, out: Any = None) -> Any:
    """Inverse hyperbolic sine: sign(x) log1p(|x| + x^2 / (1 + sqrt(1 + x^2)))."""
    no_out("asinh", out)
    x = as_float(input)
    one, square_x = like(x, 1.0), ops.mul(x, x)
    rest = ops.div(square_x, ops.add(one, ops.sqrt(ops.add(one, square_x))))
    negative = ops.lt(x, like(x, 0.0))
    size = ops.where(negative, ops.neg(x), x)
    value = ops.log1p(ops.add(size, rest))
    return ops.where(negative, ops.neg(value), value)


def acosh(input: Any, *, out: Any = None) -> Any:
    """Inverse hyperbolic cosine: log(x + sqrt((x - 1)(x + 1)))."""
    no_out("acosh", out)
    x = as_float(input)
    one = like(x, 1.0)
    return ops.log(ops.add(x, ops.sqrt(ops.mul(ops.sub(x, one), ops.add(x, one)))))


def atanh(input: Any, *, out: Any = None) -> Any:
    """Inverse hyperbolic tangent: (log1p(x) - log1p(-x)) / 2."""
    no_out("atanh", out)
    x = as_float(input)
    return ops.mul(ops.sub(ops.log1p(x), ops.log1p(ops.neg(x))), like(x, 0.5))


def erf(input: Any, *, out: Any = None) -> Any:
    """Error function."""
    no_out("erf", out)
    return ops.erf(as_float(input))


def erfc(input: Any, *, out: Any = None) -> Any:
    """1 - erf(x); its absolute (not relative) error is small for large x."""
    no_out("erfc", out)
    x = as_float(input)
    return ops.sub(like(x, 1.0), ops.erf(x))


def sigmoid(input: Any, *, out: Any = None) -> Any:
    """1 / (1 + exp(-x))."""
    no_out("sigmoid", out)
    return ops.sigmoid(as_float(input))


def logit(input: Any, eps: float | None = None, *, out: Any = None) -> Any:
    """log(x / (1 - x)), with x clamped to [eps, 1 - eps] if `eps` is given."""
    from .selection import clamp

    no_out("logit", out)
    x = as_float(input)
    if eps is not None:
        x = clamp(x, eps, 1.0 - eps)
    return ops.log(ops.div(x, ops.sub(like(x, 1.0), x)))


def relu(input: Any) -> Any:
    """max(x, 0); its gradient at 0 is 0 and nan stays nan."""
    zero = like(input, 0)
    return ops.where(ops.le(input, zero), zero, input)


def deg2rad(input: Any) -> Any:
    """Degrees to radians."""
    x = as_float(input)
    return ops.mul(x, like(x, math.pi / 180.0))


def rad2deg(input: Any) -> Any:
    """Radians to degrees."""
    x = as_float(input)
    return ops.mul(x, like(x, 180.0 / math.pi))


def isnan(input: Any) -> Any:
    """True where x is nan."""
    return ops.bitwise_xor(ops.eq(input, input), _true(input))


def isinf(input: Any) -> Any:
    """True where x is inf or -inf."""
    if input.dtype.kind != "f":
        return cast(like(input, 0), dt.bool_)
    return ops.eq(ops.abs(input), like(input, math.inf))


def isposinf(input: Any) -> Any:
    """True where x is inf."""
    return ops.eq(input, like(input, math.inf)) if input.dtype.kind == "f" else isinf(input)


def isneginf(input: Any) -> Any:
    """True where x is -inf."""
    return ops.eq(input, like(input, -math.inf)) if input.dtype.kind == "f" else isinf(input)


def isfinite(input: Any) -> Any:
    """True where x is neither infinite nor nan."""
    if input.dtype.kind != "f":
        return _true(input)
    return ops.lt(ops.abs(input), like(input, math.inf))


def _true(x: Any) -> Any:
    from .base import constant

    return constant(True, x.shape, dt.bool_)


def nan_to_num(
    input: Any,
    nan: float | None = None,
    posinf: float | None = None,
    neginf: float | None = None,
    *,
    out: Any = None,
) -> Any:
    """nan replaced by `nan` (0), the infinities by `posinf` and `neginf` (the extreme values)."""
    from .limits import finfo

    no_out("nan_to_num", out)
    if input.dtype.kind != "f":
        return input.clone()
    limits = finfo(input.dtype)
    high = like(input, limits.max if posinf is None else posinf)
    low = like(input, limits.min if neginf is None else neginf)
    x = ops.where(ops.eq(input, input), input, like(input, nan or 0.0))
    x = ops.where(ops.eq(input, like(input, math.inf)), high, x)
    return ops.where(ops.eq(input, like(input, -math.inf)), low, x)
