"""exp, log and their relatives as straight-line LLVM text; pow, tanh and erf of float32.

No tables, no branches, no libm: polynomials of coefficients.py after argument reduction (W. J. Cody
and W. Waite, "Software Manual for the Elementary Functions", 1980). The same instructions serve a
scalar and every vector width, so all of them give the same bits. Specials follow C's math.h. What
float64 does otherwise is in double_math.py.
"""

from __future__ import annotations

import math

from . import coefficients as table
from .float_format import ROUND, ROUND_DOUBLE, ROUND_DOUBLE_BITS, format_of
from .lanes import Lanes
from .llvm import Value

# -- exponentials --------------------------------------------------------------------------------


def times_power(m: Lanes, p: Value, rounded: Value) -> Value:
    """p * 2**n, where `rounded` holds the bits of n + the format's `round`.

    The power is split in two halves, so that overflow and denormals come out of the products,
    rounded once.
    """
    mantissa = format_of(m).mantissa
    half = m.and_(m.int_op("shl", rounded, mantissa - 1), -1 << mantissa)
    rest = m.int_op("sub", m.int_op("shl", rounded, mantissa), half)
    return m.mul(m.mul(p, m.from_bits(half)), m.from_bits(rest))


def exp_reduce(m: Lanes, x: Value, low: float, high: float) -> tuple[Value, Value]:
    """x = n ln 2 + r: r and the bits of n + `round`; x is clamped to [low, high]."""
    f = format_of(m)
    x = m.at_least(m.at_most(x, high), low)
    shifted = m.fma(x, m.c(f.table.LOG2E[0]), m.c(f.round))
    n = m.sub(shifted, m.c(f.round))
    r = m.fma(n, m.c(-f.table.LN2[0]), x)
    return m.fma(n, m.c(-f.table.LN2[1]), r), m.to_bits(shifted)


def _exp_parts(m: Lanes, x: Value) -> tuple[Value, Value]:
    """exp(x) = p * 2**n: p and the bits of n + `round`."""
    f = format_of(m)
    r, rounded = exp_reduce(m, x, f.exp_low, f.exp_high)
    return m.polynomial(r, (1.0, 1.0, *f.table.EXP)), rounded


def exp(m: Lanes, x: Value) -> Value:
    return times_power(m, *_exp_parts(m, x))


def exp2(m: Lanes, x: Value) -> Value:
    f = format_of(m)
    x = m.at_least(m.at_most(x, f.exp2_high), f.exp2_low)
    shifted = m.add(x, m.c(f.round))
    r = m.sub(x, m.sub(shifted, m.c(f.round)))
    return times_power(m, m.polynomial(r, (1.0, *f.table.EXP2)), m.to_bits(shifted))


def expm1(m: Lanes, x: Value) -> Value:
    """2**n (e**r - 1) + (2**n - 1), at half size so that 2**(highest n) does not overflow early."""
    f = format_of(m)
    r, rounded = exp_reduce(m, x, f.expm1_low, f.expm1_high)
    q = m.fma(m.mul(r, r), m.polynomial(r, f.table.EXP), r)
    lower = m.i(f.bias + 1 << f.mantissa)
    half = m.from_bits(m.int_op("sub", m.int_op("shl", rounded, f.mantissa), lower))
    value = m.fma(half, q, m.sub(half, m.c(0.5)))
    return m.select(m.compare("olt", m.abs(x), f.epsilon), x, m.add(value, value))


def _half_exp(m: Lanes, a: Value) -> Value:
    """exp(a) / 2 without early overflow."""
    p, rounded = _exp_parts(m, a)
    return times_power(m, p, m.int_op("sub", rounded, 1))


def sinh(m: Lanes, x: Value) -> Value:
    a = m.abs(x)
    half = _half_exp(m, a)
    large = m.sub(half, m.div(m.c(0.25), half))
    square = m.mul(a, a)
    small = m.fma(m.mul(square, a), m.polynomial(square, format_of(m).table.SINH), a)
    return m.copysign(m.select(m.compare("olt", a, 1.0), small, large), x)


def cosh(m: Lanes, x: Value) -> Value:
    half = _half_exp(m, m.abs(x))
    return m.add(half, m.div(m.c(0.25), half))


def sigmoid(m: Lanes, x: Value) -> Value:
    """1 / (1 + e**-x), from e**-|x| so that both tails keep their relative accuracy."""
    small = exp(m, m.neg(m.abs(x)))
    top = m.select(m.compare("olt", x, 0.0), small, 1.0)
    return m.div(top, m.add(small, m.c(1.0)))


def tanh(m: Lanes, x: Value) -> Value:
    return _rational(m, x, table.TANH_LIMIT, table.TANH_P, table.TANH_Q)


def erf(m: Lanes, x: Value) -> Value:
    return _rational(m, x, table.ERF_LIMIT, table.ERF_P, table.ERF_Q)


def _rational(m: Lanes, x: Value, limit: float, top: tuple, bottom: tuple) -> Value:
    """x P(x*x) / Q(x*x), odd and never beyond 1; `limit` and more give the value at `limit`."""
    a = m.at_most(m.abs(x), limit)
    square = m.mul(a, a)
    fourth = m.mul(square, square)
    p, q = (_in_pairs(m, square, fourth, c) for c in (top, bottom))
    return m.copysign(m.at_most(m.div(m.mul(a, p), q), 1.0), x)


def _in_pairs(m: Lanes, u: Value, square: Value, coefficients: tuple) -> Value:
    """A polynomial of six terms in u, two by two (G. Estrin, 1960): fewer roundings than Horner."""
    pairs = [m.polynomial(u, coefficients[k : k + 2]) for k in (0, 2, 4)]
    return m.fma(square, m.fma(square, pairs[2], pairs[1]), pairs[0])


def erfc(m: Lanes, x: Value) -> Value:
    """e**(-x*x) P(t) / (1 + 2x) for x >= 0, 2 - that for -x; the rounding of x*x is repaired."""
    a = m.at_most(m.abs(x), 10.3)
    square = m.mul(a, a)
    error = m.product_error(a, a, square)
    p, rounded = _exp_parts(m, m.neg(square))
    p = m.fma(m.neg(error), p, p)
    t = m.div(m.sub(a, m.c(2.0)), m.add(a, m.c(2.0)))
    ratio = m.div(m.polynomial(t, table.ERFC), m.fma(a, m.c(2.0), m.c(1.0)))
    value = times_power(m, m.mul(p, ratio), rounded)
    return m.select(m.compare("olt", x, 0.0), m.sub(m.c(2.0), value), value)


# -- logarithms ----------------------------------------------------------------------------------


def _split(m: Lanes, x: Value) -> tuple[Value, Value]:
    """x = 2**k (1 + f) with 1 + f between sqrt(1/2) and sqrt(2): k as float, and f (x > 0)."""
    form = format_of(m)
    tiny = m.compare("olt", x, form.tiny)
    raised = float(form.mantissa)
    bits = m.to_bits(m.select(tiny, m.mul(x, m.c(2.0**raised)), x))
    k = exponent(m, bits)
    f = m.sub(m.from_bits(m.int_op("sub", bits, m.int_op("shl", k, form.mantissa))), m.c(1.0))
    return m.sub(as_float(m, k), m.select(tiny, raised, 0.0)), f


def exponent(m: Lanes, bits: Value) -> Value:
    """k of 2**k times a number between sqrt(1/2) and sqrt(2)."""
    form = format_of(m)
    return m.int_op("ashr", m.int_op("sub", bits, form.sqrt_half_bits), form.mantissa)


def as_float(m: Lanes, k: Value) -> Value:
    """A small integer as float; not every machine converts 64-bit integers."""
    if m.scalar == "float":
        return m.e.convert("sitofp", k, "float")
    shifted = m.from_bits(m.int_op("add", k, ROUND_DOUBLE_BITS))
    return m.sub(shifted, m.c(ROUND_DOUBLE))


def _log_tail(m: Lanes, f: Value) -> Value:
    """log(1 + f) - f; float64 by way of s = f / (2 + f), since its polynomial in f is long."""
    square = m.mul(f, f)
    if m.scalar == "float":
        return m.mul(square, m.fma(f, m.polynomial(f, table.LOG), m.c(-0.5)))
    s = m.div(f, m.add(f, m.c(2.0)))
    half, s2 = m.mul(square, m.c(0.5)), m.mul(s, s)
    return m.fma(s, m.fma(s2, m.polynomial(s2, format_of(m).table.LOG), half), m.neg(half))


def _log_ends(m: Lanes, x: Value, value: Value, zero: float) -> Value:
    """`value` with the ends put in: -inf at `zero`, nan below it, inf and nan as they are."""
    value = m.select(m.compare("olt", x, math.inf), value, x)
    value = m.select(m.compare("olt", x, zero), math.nan, value)
    return m.select(m.compare("oeq", x, zero), -math.inf, value)


def _log_join(m: Lanes, k: Value, f: Value) -> Value:
    """k ln 2 + log(1 + f)."""
    ln2 = format_of(m).table.LN2
    low = m.fma(k, m.c(ln2[1]), _log_tail(m, f))
    return m.fma(k, m.c(ln2[0]), m.add(f, low))


def log(m: Lanes, x: Value) -> Value:
    return _log_ends(m, x, _log_join(m, *_split(m, x)), 0.0)


def log2(m: Lanes, x: Value) -> Value:
    log2e = format_of(m).table.LOG2E
    k, f = _split(m, x)
    tail = m.mul(_log_tail(m, f), m.c(log2e[0]))
    low = m.fma(f, m.c(log2e[1]), tail)
    return _log_ends(m, x, m.add(m.fma(f, m.c(log2e[0]), low), k), 0.0)


def log1p(m: Lanes, x: Value) -> Value:
    """log(1 + x): the exponent is that of 1 + x, f = x 2**-k + (2**-k - 1) is nearly exact."""
    form = format_of(m)
    k = exponent(m, m.to_bits(m.add(x, m.c(1.0))))
    # four times 2**-k is a normal number even for the largest k
    scale = m.int_op("sub", m.i(form.bias + 2 << form.mantissa), m.int_op("shl", k, form.mantissa))
    scale = m.from_bits(scale)
    below = m.fma(scale, m.c(0.25), m.c(-1.0))
    f = m.fma(m.mul(x, m.c(0.25)), scale, below)
    value = _log_join(m, as_float(m, k), f)
    value = m.select(m.compare("olt", m.abs(x), form.epsilon), x, value)
    return _log_ends(m, x, value, -1.0)


# -- power ---------------------------------------------------------------------------------------


def power(m: Lanes, x: Value, y: Value) -> Value:
    """C's powf: 2**(y log2|x|) with the logarithm and the product in double."""
    size = m.abs(x)
    exponent = m.at_least(m.at_most(y, 3.4028234663852886e38), -3.4028234663852886e38)
    value = _exp2_of_double(m, _log2_in_double(m, size), exponent)
    whole = m.compare("oeq", m.unary("trunc", y), y)
    half = m.mul(y, m.c(0.5))
    odd = m.e.binary("and", whole, m.compare("une", m.unary("trunc", half), half))
    value = m.flip_sign(value, m.e.select(odd, m.sign_bit(x), m.i(0)))
    negative = m.e.binary("and", m.compare("olt", x, 0.0), m.compare("olt", size, math.inf))
    value = m.select(m.e.select(whole, m.e.const(whole.type, 0), negative), math.nan, value)
    value = m.select(m.e.binary("fcmp uno", x, y), math.nan, value)
    one = m.e.binary("or", m.compare("oeq", x, 1.0), m.compare("oeq", y, 0.0))
    return m.select(one, 1.0, value)


def _log2_in_double(m: Lanes, size: Value) -> Value:
    k, f = (m.e.convert("fpext", v, "double") for v in _split(m, size))
    d = Lanes(m.e, f, m.has_fma)
    value = d.fma(f, d.polynomial(f, table.LOG2_DOUBLE), k)
    value = d.select(m.compare("olt", size, math.inf), value, m.e.convert("fpext", size, "double"))
    return d.select(m.compare("oeq", size, 0.0), -math.inf, value)


def _exp2_of_double(m: Lanes, logarithm: Value, y: Value) -> Value:
    """2**(y * logarithm) as float."""
    d = Lanes(m.e, logarithm, m.has_fma)
    z = d.mul(logarithm, m.e.convert("fpext", y, "double"))
    z = d.at_least(d.at_most(z, 129.0), -151.0)
    n = d.sub(d.add(z, d.c(ROUND_DOUBLE)), d.c(ROUND_DOUBLE))
    r, n = (m.e.convert("fptrunc", v, "float") for v in (d.sub(z, n), n))
    p = m.polynomial(r, (1.0, *table.EXP2))
    return times_power(m, p, m.to_bits(m.add(n, m.c(ROUND))))
