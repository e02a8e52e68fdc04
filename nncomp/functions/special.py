"""Special functions as composites of primitive ops: gamma, Bessel and error function families.

All are computed in float64 and rounded to the dtype of the operand, so that simple series do: they
are found in Abramowitz and Stegun, "Handbook of Mathematical Functions". Gradients follow from the
composition. Operands of branches that are not taken are replaced, so that no nan reaches them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from ..ir import types as dt
from .base import no_out
from .promotion import as_float, cast
from .selection import where
from .unary import abs, cos, erf, exp, floor, log, log1p, round, sigmoid, sin, sqrt

# Lanczos' coefficients for g = 7 (Godfrey, 2001): 15 digits of the gamma function.
_LANCZOS = (
    0.99999999999980993, 676.5203681218851, -1259.1392167224028, 771.32342877765313,
    -176.61502916214059, 12.507343278686905, -0.13857109526572012, 9.9843695780195716e-6,
    1.5056327351493116e-7,
)  # fmt: skip
# Bernoulli numbers B2, B4, ... of the asymptotic series.
_BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6, -3617 / 510)
_SHIFT = 10  # the series are used from here on


def _wide(function: Callable) -> Callable:
    """Compute in float64: `function` gets and gives float64 tensors."""

    def wrapped(input: Any, *args: Any, out: Any = None) -> Any:
        no_out(function.__name__, out)
        x = as_float(input)
        return cast(function(cast(x, dt.float64), *args), x.dtype)

    wrapped.__name__ = wrapped.__qualname__ = function.__name__
    wrapped.__doc__ = function.__doc__
    return wrapped


def _polynomial(x: Any, coefficients: Sequence[float]) -> Any:
    """Horner's rule; the constant comes first."""
    y = x * 0 + coefficients[-1]
    for c in reversed(coefficients[:-1]):
        y = y * x + c
    return y


def _sin_pi(x: Any) -> Any:
    """|sin(pi x)|, accurate near integers."""
    return sin(abs(x - round(x)) * math.pi)


@_wide
def lgamma(x: Any) -> Any:
    """log |gamma(x)|; inf at 0, -1, -2, ... and at both infinities."""
    pole = (x <= 0) & (x == floor(x))
    endless = abs(x) == math.inf
    safe = where(pole | endless, 0.75, x)
    below = safe < 0.5
    z = where(below, 1 - safe, safe) - 1
    series = z * 0 + _LANCZOS[0]
    for number, c in enumerate(_LANCZOS[1:], 1):
        series = series + c / (z + number)
    t = z + 7.5
    value = (z + 0.5) * log(t) - t + log(series) + 0.5 * math.log(2 * math.pi)
    mirrored = math.log(math.pi) - log(where(below, _sin_pi(safe), 1.0)) - value
    return where(pole | endless, math.inf, where(below, mirrored, value))


@_wide
def digamma(x: Any) -> Any:
    """The derivative of lgamma; -inf at 0 (inf at -0.0), nan at -1, -2, ... ."""
    pole = (x <= 0) & (x == floor(x))
    safe = where(pole, 1.0, x)
    below = safe < 0
    z = where(below, 1 - safe, safe)
    shifted = z + _SHIFT
    value = log(shifted) - 0.5 / shifted
    square = 1 / (shifted * shifted)
    terms = [b / (2 * k) for k, b in enumerate(_BERNOULLI, 1)]
    value = value - square * _polynomial(square, terms)
    for k in range(_SHIFT):
        value = value - 1 / (z + k)
    near = where(below, safe - round(safe), 0.25)
    mirrored = value - math.pi * cos(near * math.pi) / sin(near * math.pi)
    at_pole = where(x == 0, -1 / x, math.nan)
    return where(pole, at_pole, where(below, mirrored, value))


def polygamma(n: Any, input: Any, *, out: Any = None) -> Any:
    """The n-th derivative of digamma, for n >= 0; from n = 2 on it is nan below 0."""
    no_out("polygamma", out)
    if hasattr(n, "type_"):  # the method's form: x.polygamma(n)
        n, input = input, n
    if n < 0:
        raise RuntimeError(f"polygamma(n, x) does not support negative n, got n={n}")
    if n == 0:
        return digamma(input)
    return _trigamma(input) if n == 1 else _polygamma(input, n)


@_wide
def _polygamma(x: Any, n: int) -> Any:
    factor = math.factorial(n) * (-1.0) ** (n + 1)
    return factor * _zeta(float(n + 1), x)


@_wide
def _trigamma(x: Any) -> Any:
    pole = (x <= 0) & (x == floor(x))
    safe = where(pole, 1.0, x)
    below = safe < 0
    value = _zeta(2.0, where(below, 1 - safe, safe))
    sine = where(below, _sin_pi(safe), 1.0)
    return where(pole, math.inf, where(below, (math.pi / sine) ** 2 - value, value))


def _zeta(s: Any, q: Any) -> Any:
    """sum over k >= 0 of (q + k)^-s for s > 1 and q > 0, by Euler and Maclaurin's formula."""
    positive = q > 0
    q = where(positive, q, 1.0)
    total = q**-s
    for k in range(1, _SHIFT):
        total = total + (q + k) ** -s
    a = q + _SHIFT
    power = a**-s
    total = total + power * a / (s - 1) + power * 0.5
    factor, square = s * power / a, 1 / (a * a)
    for k, b in enumerate(_BERNOULLI, 1):
        total = total + factor * (b / math.factorial(2 * k))
        factor = factor * ((s + (2 * k - 1)) * (s + 2 * k)) * square
    return where(positive, total, math.nan)


def zeta(input: Any, other: Any, *, out: Any = None) -> Any:
    """Hurwitz' zeta function of `input` and `other`, which must be positive (else nan).

    inf where `input` is 1, nan where it is below 1.
    """
    from .promotion import float_operands

    no_out("zeta", out)
    s, q = float_operands(input, other)
    wide = cast(s, dt.float64)
    valid = wide > 1
    value = _zeta(where(valid, wide, 2.0), cast(q, dt.float64))
    edge = where(wide == 1, math.inf, math.nan)
    return cast(where(valid, value, edge), s.dtype)


def mvlgamma(input: Any, p: int, *, out: Any = None) -> Any:
    """log of the multivariate gamma function of dimension `p`."""
    no_out("mvlgamma", out)
    if p < 1:
        raise RuntimeError("p has to be greater than or equal to 1")
    x = as_float(input)
    total = p * (p - 1) / 4 * math.log(math.pi)
    for j in range(p):
        total = lgamma(x - j / 2) + total
    return total


@_wide
def erfinv(x: Any) -> Any:
    """The inverse of erf; infinite at -1 and 1, nan outside.

    Winitzki's approximation (2008), then two steps of Halley's method.
    """
    inside = abs(x) < 1
    safe = where(inside, x, 0.5)
    zero = safe == 0
    size = where(zero, 0.5, abs(safe))
    w = log1p(-size * size)
    t = 2 / (math.pi * 0.147) + w * 0.5
    y = sqrt(sqrt(t * t - w / 0.147) - t)
    for _ in range(2):
        away = (erf(y) - size) * (math.sqrt(math.pi) / 2) * exp(y * y)
        y = y - away / (1 + y * away)
    y = where(safe < 0, -y, y)
    y = where(zero, safe * (math.sqrt(math.pi) / 2), y)
    edge = where(x == 1, math.inf, where(x == -1, -math.inf, math.nan))
    return where(inside, y, edge)


@_wide
def sinc(x: Any) -> Any:
    """sin(pi x) / (pi x), 1 at 0."""
    zero = x == 0
    scaled = where(zero, 1.0, x * math.pi)
    return where(zero, 1.0 - x * x * (math.pi**2 / 6), sin(scaled) / scaled)


# -- modified Bessel functions of the first kind ---------------------------------------------------

_FAR = 18.0  # from here on the asymptotic series is used


def _bessel(x: Any, order: int) -> Any:
    """exp(-x) I_order(x) for x >= 0 and order 0 or 1 (9.6.10 and 9.7.1)."""
    far = x > _FAR
    near = where(far, 0.0, x)
    terms = [1 / (math.factorial(k) * math.factorial(k + order)) for k in range(48)]
    quarter = near * near * 0.25
    small = exp(-near) * _polynomial(quarter, terms)
    if order:
        small = small * near * 0.5
    away = where(far, x, _FAR + 1)
    terms = [1.0]
    for k in range(1, 25):
        terms.append(-terms[-1] * (4 * order**2 - (2 * k - 1) ** 2) / (8 * k))
    large = _polynomial(1 / away, terms) / sqrt(away * (2 * math.pi))
    return where(far, large, small)


@_wide
def i0(x: Any) -> Any:
    """Modified Bessel function of the first kind of order 0."""
    return _bessel(abs(x), 0) * exp(abs(x))


@_wide
def i0e(x: Any) -> Any:
    """exp(-|x|) i0(x)."""
    return _bessel(abs(x), 0)


@_wide
def i1(x: Any) -> Any:
    """Modified Bessel function of the first kind of order 1."""
    return where(x < 0, -1.0, 1.0) * _bessel(abs(x), 1) * exp(abs(x))


@_wide
def i1e(x: Any) -> Any:
    """exp(-|x|) i1(x)."""
    return where(x < 0, -1.0, 1.0) * _bessel(abs(x), 1)


# -- the error function ----------------------------------------------------------------------------


def _scaled_tail(x: Any) -> Any:
    """exp(x^2) erfc(x) for x >= 2, by a continued fraction (7.1.14)."""
    y = x
    for k in range(60, 0, -1):
        y = x + (k / 2) / y
    return 1 / (y * math.sqrt(math.pi))


@_wide
def erfcx(x: Any) -> Any:
    """exp(x^2) erfc(x)."""
    far = x > 2
    near = where(far, 0.0, x)
    return where(far, _scaled_tail(where(far, x, 3.0)), exp(near * near) * (1 - erf(near)))


@_wide
def ndtr(x: Any) -> Any:
    """The distribution function of the normal distribution."""
    low = x < -2
    safe = where(low, 0.0, x)
    z = where(low, -x, 3.0) * math.sqrt(0.5)
    tail = 0.5 * exp(-z * z) * erfcx(z)
    return where(low, tail, 0.5 * (1 + erf(safe * math.sqrt(0.5))))


@_wide
def log_ndtr(x: Any) -> Any:
    """log(ndtr(x)), accurate for large negative x."""
    low = x < -1
    z = where(low, -x, 1.0) * math.sqrt(0.5)
    tail = log(erfcx(z) * 0.5) - z * z
    safe = where(low, 0.0, x)
    return where(low, tail, log1p(-0.5 * (1 - erf(safe * math.sqrt(0.5)))))


@_wide
def ndtri(x: Any) -> Any:
    """The inverse of ndtr."""
    return math.sqrt(2) * erfinv(2 * x - 1)


def entr(input: Any, *, out: Any = None) -> Any:
    """-x log(x); 0 at 0, -inf below."""
    no_out("entr", out)
    x = as_float(input)
    positive = x > 0
    value = -x * log(where(positive, x, 1.0))
    return where(positive, value, where(x == 0, 0.0, where(x < 0, -math.inf, x)))


def xlog1py(input: Any, other: Any, *, out: Any = None) -> Any:
    """input * log1p(other), 0 where input is 0 (unless other is nan)."""
    from .promotion import float_operands

    no_out("xlog1py", out)
    a, b = float_operands(input, other)
    flat = (a == 0) & (b == b)
    return where(flat, 0.0, a * log1p(where(flat, 1.0, b)))


def expit(input: Any, *, out: Any = None) -> Any:
    """sigmoid(x)."""
    return sigmoid(input, out=out)
