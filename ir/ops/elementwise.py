"""Elementwise primitives: one element in, one element out.

`vjp(g, y, *xs)` gives the gradients of the operands; an entry may be a function of no arguments,
which is called only if that gradient is wanted. Other functions (relu, gelu, ceil, ne, ...) are
composites of these.
"""

from __future__ import annotations

import math

import numpy as np

from ..op import Elementwise, op
from .creation import zeros_like
from .logic import bitwise_and, eq, le, lt, where

# ruff: noqa: A001, A002  (ops carry torch's names)


# -- one operand ----------------------------------------------------------------------------------


@op
class neg(Elementwise):
    """-x."""

    dtypes = "fiu"
    eval = np.negative

    def vjp(g, y, x):
        return (-g,)

    def scalar(k, x):
        return k.neg(x)


@op
class abs(Elementwise):
    """|x|; the gradient at 0 is 0."""

    dtypes = "fiu"
    eval = np.abs

    def vjp(g, y, x):
        zero = zeros_like(x)
        return (where(lt(zero, x), g, where(lt(x, zero), -g, zero)),)

    def scalar(k, x):
        return k.abs(x)


@op
class exp(Elementwise):
    """e to the x."""

    dtypes = "f"
    eval = np.exp

    def vjp(g, y, x):
        return (g * y,)

    def scalar(k, x):
        return k.exp(x)


@op
class log(Elementwise):
    """Natural logarithm; -inf at 0, nan below."""

    dtypes = "f"
    eval = np.log

    def vjp(g, y, x):
        return (g / x,)

    def scalar(k, x):
        return k.log(x)


@op
class log1p(Elementwise):
    """log(1 + x), accurate near 0."""

    dtypes = "f"
    eval = np.log1p

    def vjp(g, y, x):
        return (g / (x + 1.0),)

    def scalar(k, x):
        return k.log1p(x)


@op
class expm1(Elementwise):
    """exp(x) - 1, accurate near 0."""

    dtypes = "f"
    eval = np.expm1

    def vjp(g, y, x):
        return (g * (y + 1.0),)

    def scalar(k, x):
        return k.expm1(x)


@op
class sin(Elementwise):
    """Sine of x, radians."""

    dtypes = "f"
    eval = np.sin

    def vjp(g, y, x):
        return (g * cos(x),)

    def scalar(k, x):
        return k.sin(x)


@op
class cos(Elementwise):
    """Cosine of x, radians."""

    dtypes = "f"
    eval = np.cos

    def vjp(g, y, x):
        return (-(g * sin(x)),)

    def scalar(k, x):
        return k.cos(x)


@op
class tanh(Elementwise):
    """Hyperbolic tangent."""

    dtypes = "f"
    eval = np.tanh

    def vjp(g, y, x):
        return (g * (1.0 - y * y),)

    def scalar(k, x):
        return k.tanh(x)


@op
class erf(Elementwise):
    """Error function, 2/sqrt(pi) times the integral of exp(-t^2) from 0 to x."""

    dtypes = "f"

    def eval(x):
        flat = np.fromiter(map(math.erf, x.ravel().astype(np.float64).tolist()), np.float64, x.size)
        return flat.reshape(x.shape).astype(x.dtype)

    def vjp(g, y, x):
        return (g * (exp(-(x * x)) * (2.0 / math.sqrt(math.pi))),)

    def scalar(k, x):
        return k.erf(x)


@op
class sqrt(Elementwise):
    """Square root, correctly rounded."""

    dtypes = "f"
    eval = np.sqrt

    def vjp(g, y, x):
        return (g / (y * 2.0),)

    def scalar(k, x):
        return k.sqrt(x)


@op
class sigmoid(Elementwise):
    """1 / (1 + exp(-x)), relatively accurate on both tails."""

    dtypes = "f"

    def eval(x):
        small = np.exp(-np.abs(x))
        one = x.dtype.type(1)
        return np.where(x >= 0, one, small) / (one + small)

    def vjp(g, y, x):
        return (g * (y * (1.0 - y)),)

    def scalar(k, x):
        return k.sigmoid(x)


@op
class floor(Elementwise):
    """Largest integer not above x, as a float; its gradient is zero."""

    dtypes = "f"
    eval = np.floor

    def vjp(g, y, x):
        return (zeros_like(x),)

    def scalar(k, x):
        return k.floor(x)


@op
class round(Elementwise):
    """Nearest integer, ties to even, as a float; its gradient is zero."""

    dtypes = "f"
    eval = np.rint

    def vjp(g, y, x):
        return (zeros_like(x),)

    def scalar(k, x):
        return k.round(x)


# -- two operands ---------------------------------------------------------------------------------


@op
class add(Elementwise):
    """a + b; integers wrap."""

    dtypes = "fiu"
    eval = np.add

    def vjp(g, y, a, b):
        return g, g

    def scalar(k, a, b):
        return k.add(a, b)


@op
class sub(Elementwise):
    """a - b; integers wrap."""

    dtypes = "fiu"
    eval = np.subtract

    def vjp(g, y, a, b):
        return g, lambda: -g

    def scalar(k, a, b):
        return k.sub(a, b)


@op
class mul(Elementwise):
    """a * b; integers wrap."""

    dtypes = "fiu"
    eval = np.multiply

    def vjp(g, y, a, b):
        return lambda: g * b, lambda: g * a

    def scalar(k, a, b):
        return k.mul(a, b)


@op
class div(Elementwise):
    """a / b of floats."""

    dtypes = "f"
    eval = np.divide

    def vjp(g, y, a, b):
        return lambda: g / b, lambda: -(g * (y / b))

    def scalar(k, a, b):
        return k.div(a, b)


@op
class pow(Elementwise):
    """a to the b, C's pow; integers by repeated multiplication."""

    dtypes = "fiu"

    def eval(a, b):
        if a.dtype.kind == "i" and (b < 0).any():  # numpy refuses what C truncates to 0, 1 or -1
            unit = np.where(a == 1, 1, np.where(a == -1, np.where(b % 2 == 0, 1, -1), 0))
            return np.where(b < 0, unit, np.power(a, np.maximum(b, 0))).astype(a.dtype)
        return np.power(a, b)

    def vjp(g, y, a, b):
        zero = zeros_like(a)

        def base():
            slope = g * (b * pow(a, b - 1.0))
            return where(eq(b, zero), zero, slope)

        def exponent():
            flat = bitwise_and(eq(a, zero), le(zero, b))  # 0**b is constant 0 (or 1) in b
            return where(flat, zero, g * (y * log(a)))

        return base, exponent

    def scalar(k, a, b):
        return k.pow(a, b)


@op
class maximum(Elementwise):
    """The larger of a and b, nan if either is; ties share the gradient equally."""

    eval = np.maximum

    def vjp(g, y, a, b):
        return lambda: _select_gradient(g, a, b, lt(b, a)), lambda: _select_gradient(
            g, a, b, lt(a, b)
        )

    def scalar(k, a, b):
        return k.maximum(a, b)


@op
class minimum(Elementwise):
    """The smaller of a and b, nan if either is; ties share the gradient equally."""

    eval = np.minimum

    def vjp(g, y, a, b):
        return lambda: _select_gradient(g, a, b, lt(a, b)), lambda: _select_gradient(
            g, a, b, lt(b, a)
        )

    def scalar(k, a, b):
        return k.minimum(a, b)


def _select_gradient(g, a, b, wins):
    """g where this operand won, half of it on a tie."""
    return where(eq(a, b), g * 0.5, where(wins, g, zeros_like(g)))


@op
class remainder(Elementwise):
    """a - b * floor(a / b): the sign of the result is that of b. Integer division by 0 gives 0."""

    dtypes = "fiu"

    def eval(a, b):
        if a.dtype.kind == "f":
            return np.remainder(a, b)
        return np.where(b == 0, 0, np.remainder(a, np.where(b == 0, 1, b))).astype(a.dtype)

    def vjp(g, y, a, b):
        return g, lambda: -(g * floor(a / b))

    def scalar(k, a, b):
        return k.remainder(a, b)


@op
class floor_divide(Elementwise):
    """floor(a / b). Integer division by 0 gives 0."""

    dtypes = "fiu"

    def eval(a, b):
        if a.dtype.kind == "f":
            return np.floor_divide(a, b)
        return np.where(b == 0, 0, np.floor_divide(a, np.where(b == 0, 1, b))).astype(a.dtype)

    def vjp(g, y, a, b):
        return zeros_like(a), zeros_like(b)

    def scalar(k, a, b):
        return k.floor_divide(a, b)


@op
class atan2(Elementwise):
    """Angle of the point (x=b, y=a), radians in [-pi, pi]."""

    dtypes = "f"
    eval = np.arctan2

    def vjp(g, y, a, b):
        square = a * a + b * b
        return lambda: g * (b / square), lambda: -(g * (a / square))

    def scalar(k, a, b):
        return k.atan2(a, b)
