"""float64 functions that are not float32's with other coefficients: pow, tanh, erf and erfc.

Straight-line text without branches, tables and libm, as in vector_math.py, a few units in the last
place; `fma` or T. J. Dekker's products keep the rounding of products.
"""

from __future__ import annotations

import math
from fractions import Fraction

from . import coefficients_double as table
from .lanes import Lanes
from .llvm import Value
from .vector_math import as_float, exp_reduce, expm1, exponent, times_power

# -- hyperbolic and error functions --------------------------------------------------------------


def tanh(m: Lanes, x: Value) -> Value:
    """-t / (t + 2) with t = e**(-2|x|) - 1."""
    t = expm1(m, m.mul(m.at_most(m.abs(x), 22.0), m.c(-2.0)))
    return m.copysign(m.div(t, m.add(t, m.c(2.0))), x)


def _erf_near(m: Lanes, x: Value) -> Value:
    """erf x for |x| <= 1."""
    return m.fma(x, m.polynomial(m.mul(x, x), table.ERF), x)


def _erfc_far(m: Lanes, x: Value) -> Value:
    """erfc |x| for |x| >= 1/2: e**(-x*x) P(t) / (1 + 2|x|); the rounding of x*x is repaired."""
    a = m.at_most(m.abs(x), table.ERFC_TO)
    square = m.mul(a, a)
    error = m.product_error(a, a, square)
    r, rounded = exp_reduce(m, m.neg(square), -746.0, 0.0)
    p = m.polynomial(m.sub(r, error), (1.0, 1.0, *table.EXP))
    middle = m.c(table.ERFC_MIDDLE)
    t = m.div(m.sub(a, middle), m.add(a, middle))
    ratio = m.div(m.polynomial(t, table.ERFC), m.fma(a, m.c(2.0), m.c(1.0)))
    return times_power(m, m.mul(p, ratio), rounded)


def erf(m: Lanes, x: Value) -> Value:
    near = m.compare("olt", m.abs(x), 1.0)
    far = m.copysign(m.sub(m.c(1.0), _erfc_far(m, x)), x)
    return m.select(near, _erf_near(m, x), far)


def erfc(m: Lanes, x: Value) -> Value:
    far = _erfc_far(m, x)
    far = m.select(m.compare("olt", x, 0.0), m.sub(m.c(2.0), far), far)
    near = m.compare("olt", m.abs(x), 0.5)
    return m.select(near, m.sub(m.c(1.0), _erf_near(m, x)), far)


# -- power ---------------------------------------------------------------------------------------


def power(m: Lanes, x: Value, y: Value) -> Value:
    """C's pow: e**(y log|x|), logarithm and product as unevaluated sums of two doubles."""
    size = m.abs(x)
    high, low = _log_parts(m, m.select(m.compare("olt", size, math.inf), size, 1.0))
    clamped = m.at_least(m.at_most(y, 2.0**80), -(2.0**80))
    product = m.mul(clamped, high)
    extra = m.fma(clamped, low, m.product_error(clamped, high, product))
    r, rounded = exp_reduce(m, product, -746.0, 711.0)
    usual = m.compare("olt", m.abs(product), 760.0)
    r = m.add(r, m.select(usual, extra, 0.0))
    value = times_power(m, m.polynomial(r, (1.0, 1.0, *table.EXP)), rounded)
    return _power_ends(m, x, y, _at_ends(m, size, y, value))


def _log_parts(m: Lanes, x: Value) -> tuple[Value, Value]:
    """log x of a finite x > 0 as a sum of two doubles: by s = (f - 1) / (f + 1), x = 2**k f."""
    tiny = m.compare("olt", x, 2.0**-1022)
    bits = m.to_bits(m.select(tiny, m.mul(x, m.c(2.0**54)), x))
    k = exponent(m, bits)
    f = m.from_bits(m.int_op("sub", bits, m.int_op("shl", k, 52)))
    turns = m.sub(as_float(m, k), m.select(tiny, 54.0, 0.0))
    top, bottom = m.sub(f, m.c(1.0)), m.add(f, m.c(1.0))
    lost = m.sub(f, m.sub(bottom, m.c(1.0)))  # what the sum f + 1 rounded away
    s = m.div(top, bottom)
    back = m.mul(s, bottom)
    rest = m.sub(m.sub(top, back), m.product_error(s, bottom, back))
    s_low = m.div(m.sub(rest, m.mul(s, lost)), bottom)
    return _log_sum(m, turns, s, s_low)


_THIRD = (2 / 3, float(Fraction(2, 3) - Fraction(2 / 3)))
_FURTHER = [2 / (2 * n + 1) for n in range(2, 13)]


def _log_sum(m: Lanes, turns: Value, s: Value, s_low: Value) -> tuple[Value, Value]:
    """turns ln 2 + 2 artanh(s + s_low): 2 s + 2/3 s**3 + ..., the first terms as pairs."""
    square = m.mul(s, s)
    cube = m.mul(s, square)
    cube_low = m.fma(s, m.product_error(s, s, square), m.product_error(s, square, cube))
    third = m.mul(cube, m.c(_THIRD[0]))
    lost = m.product_error(cube, m.c(_THIRD[0]), third)
    lost = m.fma(cube, m.c(_THIRD[1]), m.fma(cube_low, m.c(_THIRD[0]), lost))
    tail = m.fma(m.mul(cube, square), m.polynomial(square, _FURTHER), lost)
    s_low = m.fma(s_low, square, s_low)
    tail = m.fma(turns, m.c(table.LN2[1]), m.fma(s_low, m.c(2.0), tail))
    whole = m.mul(turns, m.c(table.LN2[0]))  # exact: LN2[0] ends in zeros
    double = m.add(s, s)
    both = m.add(whole, double)
    total = m.add(both, third)
    tail = m.add(tail, _sum_error(m, both, third, total))
    tail = m.add(tail, _sum_error(m, whole, double, both))
    result = m.add(total, tail)
    return result, m.sub(tail, m.sub(result, total))


def _sum_error(m: Lanes, a: Value, b: Value, total: Value) -> Value:
    """What a + b lost when it was rounded to total (D. Knuth's two-sum)."""
    back = m.sub(total, a)
    return m.add(m.sub(a, m.sub(total, back)), m.sub(b, back))


def _at_ends(m: Lanes, size: Value, y: Value, value: Value) -> Value:
    """`value` with 0**y and inf**y put in."""
    grows = m.compare("ogt", y, 0.0)
    value = m.select(m.compare("oeq", size, 0.0), m.select(grows, 0.0, math.inf), value)
    return m.select(m.compare("oeq", size, math.inf), m.select(grows, math.inf, 0.0), value)


def _power_ends(m: Lanes, x: Value, y: Value, value: Value) -> Value:
    """`value` = |x|**y with the sign of x, and C's rules for nan, 1**y, x**0, (-1)**inf."""
    whole = m.compare("oeq", m.unary("trunc", y), y)
    half = m.mul(y, m.c(0.5))
    odd = m.e.binary("and", whole, m.compare("une", m.unary("trunc", half), half))
    value = m.flip_sign(value, m.e.select(odd, m.sign_bit(x), m.i(0)))
    below = m.e.binary("and", m.compare("olt", x, 0.0), m.compare("ogt", x, -math.inf))
    value = m.select(m.e.select(whole, m.e.const(whole.type, 0), below), math.nan, value)
    value = m.select(m.e.binary("fcmp uno", x, y), math.nan, value)
    unit = m.compare("oeq", m.abs(x), 1.0)
    unit = m.e.binary("and", unit, m.compare("oeq", m.abs(y), math.inf))
    one = m.e.binary("or", m.compare("oeq", x, 1.0), m.compare("oeq", y, 0.0))
    return m.select(m.e.binary("or", one, unit), 1.0, value)
