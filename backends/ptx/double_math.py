"""float64 functions written out, for targets without a C library: a few units in the last place.

Every function takes the emitter and scalar values of type double. Series have as many terms as the
range of their reduced argument needs for 2**-53; `fma` keeps the rounding of products.
"""

from __future__ import annotations

import math
from fractions import Fraction

from ..lanes import Lanes
from ..llvm import Emitter, Value
from .double_remainder import floor_divide, fmod, remainder

LN2_HIGH, LN2_LOW = float.fromhex("0x1.62e42fefa0000p-1"), float.fromhex("0x1.cf79abc9e3b3ap-40")
HALF_PI = tuple(  # pi / 2 in three parts
    map(float.fromhex, ("0x1.921fb54442d18p0", "0x1.1a62633145c07p-54", "-0x1.f1976b7ed8fbcp-110"))
)
FARTHEST = 2.0**48  # beyond, three parts of pi / 2 are not enough for sin and cos: they give nan
_FACTORIALS = [1.0 / math.factorial(n) for n in range(24)]


def _lanes(e: Emitter, x: Value) -> Lanes:
    return Lanes(e, x)


def _to_int(e: Emitter, x: Value) -> Value:
    return e.call("i64", "llvm.fptosi.sat.i64.f64", x)


def _power_of_two(m: Lanes, k: Value) -> Value:
    """2**k for an i64 between -1022 and 1023."""
    return m.from_bits(m.int_op("shl", m.int_op("add", k, 1023), 52))


def _scaled(m: Lanes, x: Value, k: Value) -> Value:
    """x * 2**k for any k that a result can have."""
    half = m.int_op("ashr", k, 1)
    rest = m.int_op("sub", k, half)
    return m.mul(m.mul(x, _power_of_two(m, half)), _power_of_two(m, rest))


def _reduced(m: Lanes, x: Value, extra: Value | None = None) -> tuple[Value, Value]:
    """(k as i64, r) with x + extra = k * ln 2 + r, |r| below 0.35."""
    turns = m.unary("roundeven", m.mul(x, m.c(1 / math.log(2))))
    rest = m.fma(m.neg(turns), m.c(LN2_HIGH), x)
    rest = m.fma(m.neg(turns), m.c(LN2_LOW), rest)
    return _to_int(m.e, turns), rest if extra is None else m.add(rest, extra)


def _exp(m: Lanes, x: Value, extra: Value | None = None) -> Value:
    """exp(x + extra) for a tiny extra."""
    x = m.at_least(m.at_most(x, 720.0), -760.0)
    k, r = _reduced(m, x, extra)
    return _scaled(m, m.polynomial(r, _FACTORIALS[:14]), k)


def exp(e: Emitter, x: Value) -> Value:
    """e**x."""
    return _exp(_lanes(e, x), x)


def expm1(e: Emitter, x: Value) -> Value:
    """e**x - 1, exact to the last places near 0."""
    m = _lanes(e, x)
    short = m.at_least(m.at_most(x, 700.0), -50.0)
    k, r = _reduced(m, short)
    tail = m.polynomial(r, _FACTORIALS[2:16])
    p = m.fma(m.mul(r, r), tail, r)
    scale = _power_of_two(m, k)
    near = m.fma(p, scale, m.sub(scale, m.c(1.0)))
    near = m.select(m.compare("oeq", x, 0.0), x, near)
    return m.select(m.compare("ogt", x, 700.0), _exp(m, x), near)


def _split(m: Lanes, x: Value) -> tuple[Value, Value]:
    """(k, f) for positive finite x: x = 2**k * m, f between sqrt(1/2) and sqrt(2)."""
    tiny = m.compare("olt", x, 2.0**-1022)
    x = m.select(tiny, m.mul(x, m.c(2.0**54)), x)
    bits = m.int_op("sub", m.to_bits(x), 0x3FE6A09E667F3BCD)
    k = m.int_op("ashr", bits, 52)
    f = m.from_bits(m.int_op("sub", m.to_bits(x), m.int_op("shl", k, 52)))
    down = m.e.select(tiny, m.i(54), m.i(0))
    return m.int_op("sub", k, down), f


def _log_parts(m: Lanes, x: Value) -> tuple[Value, Value]:
    """log x of a positive finite x as an unevaluated sum of two doubles."""
    k, f = _split(m, x)
    top, bottom = m.sub(f, m.c(1.0)), m.add(f, m.c(1.0))
    lost = m.sub(f, m.sub(bottom, m.c(1.0)))  # what the sum f + 1 rounded away
    s = m.div(top, bottom)
    rest = m.fma(m.neg(s), bottom, top)  # top - s * bottom, exactly
    low = m.div(m.fma(m.neg(s), lost, rest), bottom)
    square = m.mul(s, s)
    terms = [2.0 / (2 * n + 1) for n in range(1, 13)]
    series = m.mul(m.mul(s, square), m.polynomial(square, terms))
    turns = m.e.convert("sitofp", k, "double")
    high = m.fma(turns, m.c(LN2_HIGH), m.c(0.0))  # exact: LN2_HIGH ends in zeros
    double = m.mul(s, m.c(2.0))
    total = m.add(high, double)
    carried = _two_sum_error(m, high, double, total)
    tail = m.fma(turns, m.c(LN2_LOW), m.fma(low, m.c(2.0), series))
    tail = m.add(tail, carried)
    result = m.add(total, tail)
    return result, m.sub(tail, m.sub(result, total))


def _two_sum_error(m: Lanes, a: Value, b: Value, total: Value) -> Value:
    """What a + b lost when it was rounded to total (D. Knuth's two-sum)."""
    back = m.sub(total, a)
    return m.add(m.sub(a, m.sub(total, back)), m.sub(b, back))


def _log(m: Lanes, x: Value) -> Value:
    value = _log_parts(m, x)[0]
    value = m.select(m.compare("oeq", x, math.inf), math.inf, value)
    value = m.select(m.compare("oeq", x, 0.0), -math.inf, value)
    return m.select(m.compare("oge", x, 0.0), value, math.nan)


def log(e: Emitter, x: Value) -> Value:
    """The natural logarithm."""
    return _log(_lanes(e, x), x)


def log1p(e: Emitter, x: Value) -> Value:
    """log(1 + x), exact to the last places near 0."""
    m = _lanes(e, x)
    u = m.add(x, m.c(1.0))
    lost = m.div(m.sub(x, m.sub(u, m.c(1.0))), u)
    plain = _log(m, u)
    ordinary = e.binary("and", m.compare("one", u, 0.0), m.compare("olt", u, math.inf))
    value = m.select(ordinary, m.add(plain, lost), plain)
    return m.select(m.compare("oeq", x, 0.0), x, value)


def power(e: Emitter, a: Value, b: Value) -> Value:
    """a**b with C's rules for zeros, infinities and negative bases."""
    m = _lanes(e, a)
    size = m.abs(a)
    safe = m.select(m.compare("ogt", size, 0.0), size, 1.0)
    safe = m.select(m.compare("olt", safe, math.inf), safe, 1.0)
    high, low = _log_parts(m, safe)
    product = m.mul(b, high)
    error = m.fma(b, high, m.neg(product))
    extra = m.fma(b, low, error)
    usual = m.compare("olt", m.abs(product), 800.0)
    value = _exp(m, product, m.select(usual, extra, 0.0))
    grows = m.compare("ogt", b, 0.0)
    at_zero, at_infinity = m.select(grows, 0.0, math.inf), m.select(grows, math.inf, 0.0)
    value = m.select(m.compare("oeq", size, 0.0), at_zero, value)
    value = m.select(m.compare("oeq", size, math.inf), at_infinity, value)
    value = m.select(m.compare("uno", a, a), a, value)
    whole = m.compare("oeq", m.unary("trunc", b), b)
    half = m.mul(b, m.c(0.5))
    odd = e.binary("and", whole, m.compare("une", m.unary("trunc", half), half))
    sign = m.sign_bit(a)
    value = m.flip_sign(value, e.select(odd, sign, m.i(0)))
    finite = m.compare("ogt", a, -math.inf)
    below = e.binary("and", m.compare("olt", a, 0.0), finite)
    invalid = e.binary("and", below, m.compare("une", m.unary("trunc", b), b))
    value = m.select(invalid, math.nan, value)
    value = m.select(m.compare("uno", b, b), b, value)
    unit = e.binary("and", m.compare("oeq", size, 1.0), m.compare("oeq", m.abs(b), math.inf))
    one = e.binary("or", m.compare("oeq", a, 1.0), m.compare("oeq", b, 0.0))
    return m.select(e.binary("or", one, unit), 1.0, value)


# -- trigonometry --------------------------------------------------------------------------------

_SINE = [(-1) ** n / math.factorial(2 * n + 1) for n in range(1, 11)]
_COSINE = [(-1) ** n / math.factorial(2 * n) for n in range(2, 12)]


def _quarters(m: Lanes, x: Value) -> tuple[Value, Value]:
    """(k as i64, r) with x = k * pi / 2 + r; exact enough up to FARTHEST."""
    turns = m.unary("roundeven", m.mul(x, m.c(2 / math.pi)))
    rest = x
    for part in HALF_PI:
        rest = m.fma(m.neg(turns), m.c(part), rest)
    return _to_int(m.e, turns), rest


def _sine_at(m: Lanes, x: Value, shift: int) -> Value:
    """sin(x + shift * pi / 2)."""
    k, r = _quarters(m, x)
    k = m.int_op("add", k, shift)
    square = m.mul(r, r)
    sine = m.fma(m.mul(r, square), m.polynomial(square, _SINE), r)
    top = m.fma(square, m.c(-0.5), m.c(1.0))
    cosine = m.fma(m.mul(square, square), m.polynomial(square, _COSINE), top)
    odd = m.int_op("icmp ne", m.and_(k, 1), 0)
    sign = m.int_op("shl", m.and_(k, 2), 62)
    value = m.flip_sign(m.e.select(odd, cosine, sine), sign)
    return m.select(m.compare("olt", m.abs(x), FARTHEST), value, math.nan)


def sin(e: Emitter, x: Value) -> Value:
    """The sine."""
    m = _lanes(e, x)
    return m.select(m.compare("oeq", x, 0.0), x, _sine_at(m, x, 0))


def cos(e: Emitter, x: Value) -> Value:
    """The cosine."""
    return _sine_at(_lanes(e, x), x, 1)


def atan2(e: Emitter, y: Value, x: Value) -> Value:
    """The angle of the point (x, y)."""
    m = _lanes(e, y)
    above, beside = m.abs(y), m.abs(x)
    steep = m.compare("ogt", above, beside)
    small, large = m.select(steep, beside, above), m.select(steep, above, beside)
    t = m.div(small, m.select(m.compare("oeq", large, 0.0), 1.0, large))
    both = e.binary("and", m.compare("oeq", small, math.inf), m.compare("oeq", large, math.inf))
    t = m.select(both, 1.0, t)
    turn = m.compare("ogt", t, math.tan(math.pi / 8))
    u = m.select(turn, m.div(m.sub(t, m.c(1.0)), m.add(t, m.c(1.0))), t)
    square = m.mul(u, u)
    series = m.polynomial(square, [(-1) ** n / (2 * n + 1) for n in range(1, 25)])
    angle = m.fma(m.mul(u, square), series, u)
    angle = m.select(turn, m.add(angle, m.c(math.pi / 4)), angle)
    angle = m.select(steep, m.sub(m.c(HALF_PI[0]), m.sub(angle, m.c(HALF_PI[1]))), angle)
    behind = m.int_op("icmp ne", m.sign_bit(x), 0)
    turned = m.sub(m.c(math.pi), m.sub(angle, m.c(2 * HALF_PI[1])))
    angle = m.copysign(e.select(behind, turned, angle), y)
    return m.select(m.compare("uno", y, x), math.nan, angle)


# -- hyperbolic and the error function -----------------------------------------------------------


def tanh(e: Emitter, x: Value) -> Value:
    """The hyperbolic tangent."""
    m = _lanes(e, x)
    t = expm1(e, m.mul(m.at_most(m.abs(x), 22.0), m.c(2.0)))
    return m.copysign(m.div(t, m.add(t, m.c(2.0))), x)


def sigmoid(e: Emitter, x: Value) -> Value:
    """1 / (1 + exp(-x))."""
    m = _lanes(e, x)
    small = _exp(m, m.neg(m.abs(x)))
    return m.div(m.select(m.compare("olt", x, 0.0), small, 1.0), m.add(small, m.c(1.0)))


def erf(e: Emitter, x: Value) -> Value:
    """The error function: a series up to 3 (Abramowitz and Stegun 7.1.6), a continued fraction of
    its complement beyond (7.1.14)."""
    m = _lanes(e, x)
    size = m.at_most(m.abs(x), 6.0)
    square = m.mul(size, size)
    near = m.at_most(size, 3.0)
    double = m.mul(m.mul(near, near), m.c(2.0))
    with e.loop(0, 64, carry=[near, near, m.c(3.0)]) as loop:
        total, term, odd = loop.carry
        term = m.div(m.mul(term, double), odd)
        loop.next(m.add(total, term), term, m.add(odd, m.c(2.0)))
    damped = _exp(m, m.neg(square))
    series = m.mul(loop.result[0], m.mul(damped, m.c(2 / math.sqrt(math.pi))))
    far = m.at_least(size, 3.0)
    with e.loop(0, 40, carry=[far, m.c(20.0)]) as loop:
        tail, half = loop.carry
        loop.next(m.add(far, m.div(half, tail)), m.sub(half, m.c(0.5)))
    beyond = m.div(m.mul(damped, m.c(1 / math.sqrt(math.pi))), loop.result[0])
    value = m.select(m.compare("olt", size, 3.0), series, m.sub(m.c(1.0), beyond))
    value = m.copysign(value, x)
    return m.select(m.compare("oeq", x, 0.0), x, value)


DOUBLE_MATH = {
    "exp": exp,
    "expm1": expm1,
    "log": log,
    "log1p": log1p,
    "pow": power,
    "sin": sin,
    "cos": cos,
    "atan2": atan2,
    "tanh": tanh,
    "sigmoid": sigmoid,
    "erf": erf,
    "fmod": fmod,
    "remainder": remainder,
    "floor_divide": floor_divide,
}

assert Fraction(LN2_HIGH).denominator <= 1 << 41  # so that k * LN2_HIGH is exact
