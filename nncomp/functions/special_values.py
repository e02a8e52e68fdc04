"""Common divisors, mantissas and exponents; and what only numpy computes, so that a trace refuses.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from ..autograd.function import Function
from ..autograd.modes import state
from ..ir import Graph, TensorType, input_node, ops
from ..ir import types as dt
from ..ir.ops.creation import full_like, zeros_like
from .base import like, no_out
from .masks import _tensor
from .promotion import broadcast, cast, float_operands
from .selection import where
from .special import lgamma
from .unary import exp, floor, log, log2


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
    if state.tracer is None:
        return _tensor(function(eager_array(a, name), eager_array(b, name)).astype(a.dtype.numpy))
    divisor = _euclid(a, b)
    if name == "gcd":
        return divisor
    whole = ops.floor_divide(a, where(divisor == 0, like(divisor, 1), divisor))
    return ops.abs(ops.mul(whole, b))


@functools.lru_cache(maxsize=64)
def _step(type_: TensorType) -> Graph:
    """(a, b) -> (b, a mod b) while b is not 0."""
    a, b = input_node("a", type_), input_node("b", type_)
    zero = zeros_like(b)
    done = ops.eq(b, zero)
    rest = ops.remainder(a, ops.where(done, full_like(b, 1), b))
    return Graph("euclid", (a, b), (ops.where(done, a, b), ops.where(done, zero, rest)))


def _euclid(a: Any, b: Any) -> Any:
    """Euclid's algorithm, in as many steps as the worst numbers of the dtype take (Lame)."""
    steps = math.ceil(8 * a.dtype.itemsize * math.log(2) / math.log((1 + math.sqrt(5)) / 2)) + 1
    body = _step(a._type)
    return ops.scan(
        ops.abs(a), ops.abs(b), body=body, carries=2, consts=0, length=steps, reverse=False
    )[0]


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
    x = cast(input, dt.float64)
    exponent = _exponent(input) if state.tracer is not None else _tensor(
        np.frexp(eager_array(x, "frexp"))[1].astype(np.int64)
    )
    return frexp_result(cast(_scaled(x, -exponent), input.dtype), cast(exponent, dt.int32))


_POWERS = 540  # the halves of all exponents of float64, subnormal numbers included


def _power(exponent: Any) -> Any:
    """2 to whole numbers of at most 540, exactly."""
    table = _tensor(np.ldexp(1.0, np.arange(-_POWERS, _POWERS + 1)))
    return ops.take(table, exponent + _POWERS, axis=0)


def _scaled(x: Any, exponent: Any) -> Any:
    """x * 2^exponent; by two powers, so that the factor is finite and both products exact."""
    half = exponent // 2
    return x * _power(half) * _power(exponent - half)


def _exponent(input: Any) -> Any:
    """The exponent that frexp gives; 0 for 0, infinities and nan."""
    x = ops.abs(cast(input.detach(), dt.float64))
    usual = ops.bitwise_and(x > 0, x < math.inf)
    x = where(usual, x, like(x, 1.0))
    found = cast(floor(log2(x)), dt.int64) + 1
    mantissa = _scaled(x, -found)  # the logarithm may be off by one at a power of two
    found = where(mantissa >= 1.0, found + 1, where(mantissa < 0.5, found - 1, found))
    return where(usual, found, like(found, 0))


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
