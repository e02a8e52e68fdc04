"""Signs, parts and parities of real numbers, and the names of complex arithmetic on them."""

from __future__ import annotations

import math
from typing import Any

from ..ir import ops
from ..ir import types as dt
from .arithmetic import mul
from .base import constant, like, no_out
from .promotion import as_float, cast
from .selection import where
from .unary import sign


def signbit(input: Any, *, out: Any = None) -> Any:
    """True for negative numbers and -0.0."""
    no_out("signbit", out)
    if input.dtype.kind != "f":
        return cast(ops.lt(input, like(input, 0)), dt.bool_)
    zero = ops.eq(input, like(input, 0.0))
    inverse = ops.div(like(input, 1.0), input)  # -inf for -0.0
    return ops.lt(ops.where(zero, inverse, input), like(input, 0.0))


def sgn(input: Any, *, out: Any = None) -> Any:
    """sign(x)."""
    return sign(input, out=out)


def isreal(input: Any) -> Any:
    """True everywhere: there are no complex tensors."""
    return constant(True, input.shape, dt.bool_)


def real(input: Any) -> Any:
    """The tensor itself."""
    return input


def conj(input: Any) -> Any:
    """The tensor itself: its elements are real."""
    return input


def conj_physical(input: Any) -> Any:
    """A copy: the elements are real."""
    return input.clone()


def resolve_conj(input: Any) -> Any:
    """The tensor itself."""
    return input


def resolve_neg(input: Any) -> Any:
    """The tensor itself."""
    return input


def is_conj(input: Any) -> bool:
    """False: there are no lazily conjugated tensors."""
    return False


def is_neg(input: Any) -> bool:
    """False: there are no lazily negated tensors."""
    return False


def imag(input: Any) -> Any:
    """RuntimeError: the elements are real."""
    raise RuntimeError("imag is not implemented for tensors with non-complex dtypes.")


def angle(input: Any, *, out: Any = None) -> Any:
    """pi for negative numbers, 0 for others, nan for nan; no gradient."""
    no_out("angle", out)
    x = ops.detach(as_float(input))
    return where(x < 0, math.pi, where(x == x, 0.0, x))


def ldexp(input: Any, other: Any, *, out: Any = None) -> Any:
    """input * 2^other."""
    from .arithmetic import pow

    no_out("ldexp", out)
    power = pow(2.0, other) if other.dtype.kind == "f" else pow(2.0, as_float(other))
    return mul(input, power)
