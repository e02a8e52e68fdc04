"""Functions of numbers that numpy computes: they need values, so that a trace refuses them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..autograd.function import Function
from ..ir import types as dt
from .base import no_out
from .masks import _tensor
from .promotion import broadcast, cast, float_operands
from .special import lgamma
from .unary import exp, log


def eager_array(x: Any, name: str) -> np.ndarray:
    """The values of `x`; TraceError, in a sentence, while they are not known."""
    if x.is_traced:
        from ..trace_error import trace_error

        raise trace_error(
            f"{name} is computed by numpy and has no static formula, so that it cannot be recorded "
            "in a graph; call it outside of the compiled function"
        )
    return x.numpy_array(name)


def _of_integers(name: str, function: Callable, input: Any, other: Any) -> Any:
    a, b = broadcast(input, other)
    if a.dtype.kind not in "iu":
        raise NotImplementedError(f'"{name}" not implemented for {a.dtype.name}; expected integers')
    return _tensor(function(eager_array(a, name), eager_array(b, name)).astype(a.dtype.numpy))


def gcd(input: Any, other: Any, *, out: Any = None) -> Any:
    """Greatest common divisor of integers, which is never negative."""
    no_out("gcd", out)
    return _of_integers("gcd", np.gcd, input, other)


def lcm(input: Any, other: Any, *, out: Any = None) -> Any:
    """Least common multiple of integers, which is never negative."""
    no_out("lcm", out)
    return _of_integers("lcm", np.lcm, input, other)


def nextafter(input: Any, other: Any, *, out: Any = None) -> Any:
    """The next float after `input` in the direction of `other`; no gradient."""
    no_out("nextafter", out)
    a, b = broadcast(input, other)
    if a.dtype.kind != "f":
        raise NotImplementedError(f'"nextafter" not implemented for {a.dtype.name}')
    values = [eager_array(x, "nextafter") for x in (a, b)]
    return _tensor(np.asarray(np.nextafter(*values)))


class frexp_result(NamedTuple):
    """Mantissa in [0.5, 1) and exponent (int32)."""

    mantissa: Any
    exponent: Any


def frexp(input: Any, *, out: Any = None) -> frexp_result:
    """mantissa and exponent with input = mantissa * 2^exponent."""
    no_out("frexp", out)
    if input.dtype.kind != "f":
        raise RuntimeError("torch.frexp() only supports floating-point dtypes")
    values = eager_array(input, "frexp").astype(np.float64)
    exponent = _tensor(np.frexp(values)[1].astype(np.int32))
    # Scaling by two powers keeps the factor finite; both products are exact.
    half = cast(exponent, dt.float64) // 2
    rest = cast(exponent, dt.float64) - half
    return frexp_result(cast(cast(input, dt.float64) * 2.0**-half * 2.0**-rest, input.dtype),
                        exponent)  # fmt: skip


# -- incomplete gamma functions --------------------------------------------------------------------

_STEPS, _SMALL = 500, 1e-300


def _series(a: np.ndarray, x: np.ndarray) -> np.ndarray:
    """gamma(a, x) / (x^a exp(-x)) for x < a + 1 (Abramowitz and Stegun 6.5.29)."""
    term = total = 1.0 / a
    for k in range(1, _STEPS):
        term = term * x / (a + k)
        total = total + term
        if np.all(np.abs(term) <= 1e-17 * np.abs(total)):
            break
    return total


def _fraction(a: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The upper function over x^a exp(-x), by Lentz' method for the continued fraction 6.5.31."""
    b = x + 1.0 - a
    c = np.full_like(x, 1.0 / _SMALL)
    d = 1.0 / b
    h = d
    for k in range(1, _STEPS):
        number = -k * (k - a)
        b = b + 2.0
        d = 1.0 / _away_from_zero(number * d + b)
        c = _away_from_zero(b + number / c)
        h = h * (d * c)
        if np.all(np.abs(d * c - 1.0) <= 1e-16):
            break
    return h


def _away_from_zero(x: np.ndarray) -> np.ndarray:
    return np.where(np.abs(x) < _SMALL, _SMALL, x)


def _lower(a: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The regularized lower incomplete gamma function."""
    with np.errstate(all="ignore"):
        plain = (a > 0) & (x > 0) & np.isfinite(a) & np.isfinite(x)
        safe_a, safe_x = np.where(plain, a, 1.0), np.where(plain, x, 1.0)
        left = safe_x < safe_a + 1
        log_gamma = np.vectorize(math.lgamma, otypes=[float])(safe_a)
        scale = np.exp(safe_a * np.log(safe_x) - safe_x - log_gamma)
        low = scale * _series(safe_a, np.where(left, safe_x, 0.5))
        high = 1.0 - scale * _fraction(safe_a, np.where(left, safe_a + 2, safe_x))
        value = np.where(left, low, high)
        edge = np.where((a < 0) | (x < 0) | np.isnan(a) | np.isnan(x), np.nan,
                        np.where(x == 0, np.where(a == 0, np.nan, 0.0),
                                 np.where(np.isinf(a), np.where(np.isinf(x), np.nan, 0.0),
                                          1.0)))  # fmt: skip
        return np.where(plain, value, edge)


class _Incomplete(Function):
    """igamma with its derivative for x; there is none for a, as in torch."""

    @staticmethod
    def forward(ctx: Any, a: Any, x: Any) -> Any:
        ctx.save_for_backward(a, x)
        values = [eager_array(v, "igamma").astype(np.float64) for v in (a, x)]
        return _tensor(np.asarray(_lower(*values)).astype(a.dtype.numpy))

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        a, x = ctx.saved_tensors
        if ctx.needs_input_grad[0]:
            raise NotImplementedError(
                "the derivative for 'igamma: input' is not implemented; detach() the first argument"
            )
        return None, grad * exp((a - 1) * log(x) - x - lgamma(a))


def igamma(input: Any, other: Any, *, out: Any = None) -> Any:
    """Regularized lower incomplete gamma function of a = `input` and x = `other`."""
    no_out("igamma", out)
    return _Incomplete.apply(*float_operands(input, other))


def igammac(input: Any, other: Any, *, out: Any = None) -> Any:
    """Regularized upper incomplete gamma function: 1 - igamma."""
    no_out("igammac", out)
    return 1 - igamma(input, other)
