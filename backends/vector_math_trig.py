"""sin, cos, tan and their inverses as LLVM text.

Angles up to 1e5 are reduced by three parts of pi/2 (Cody and Waite, 1980). A branch that is taken
only when some lane is larger multiplies by the right bits of 2/pi in integers (M. H. Payne and
R. N. Hanek, 1983), so every float has its exact quadrant. float64 shares what follows the reduction
(double_trig.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable

from . import coefficients as table
from .float_format import format_of
from .lanes import Lanes
from .llvm import Value, vector_type

ROUND = 12582912.0  # n + ROUND holds n in its low bits


def sin(m: Lanes, x: Value) -> Value:
    return sine(m, x, *_reduce(m, x))


def cos(m: Lanes, x: Value) -> Value:
    return cosine(m, *_reduce(m, x))


def tan(m: Lanes, x: Value) -> Value:
    return tangent(m, x, *_reduce(m, x))


# -- after the reduction, for both floats --------------------------------------------------------


def sine(m: Lanes, x: Value, r: Value, quadrant: Value) -> Value:
    """sin x, where |x| = r + n pi/2 and `quadrant` has the low bits of n."""
    return m.flip_sign(_wave(m, r, quadrant), m.sign_bit(x))


def cosine(m: Lanes, r: Value, quadrant: Value) -> Value:
    return _wave(m, r, m.int_op("add", quadrant, 1))


def tangent(m: Lanes, x: Value, r: Value, quadrant: Value) -> Value:
    square = m.mul(r, r)
    t = m.fma(m.mul(square, r), m.polynomial(square, format_of(m).table.TAN), r)
    odd = _odd(m, quadrant)
    value = m.div(m.select(odd, -1.0, t), m.select(odd, t, 1.0))
    return m.flip_sign(value, m.sign_bit(x))


def _odd(m: Lanes, quadrant: Value) -> Value:
    return m.int_op("icmp ne", m.and_(quadrant, 1), 0)


def _wave(m: Lanes, r: Value, quadrant: Value) -> Value:
    """sin(r + quadrant * pi/2)."""
    form, square = format_of(m), m.mul(r, r)
    sine = m.fma(m.mul(square, r), m.polynomial(square, form.table.SIN), r)
    cosine = m.fma(square, m.polynomial(square, form.table.COS), m.c(-0.5))
    cosine = m.fma(square, cosine, m.c(1.0))
    value = m.select(_odd(m, quadrant), cosine, sine)
    return m.flip_sign(value, m.int_op("shl", m.and_(quadrant, 2), form.sign - 1))


# -- reduction -----------------------------------------------------------------------------------


def _reduce(m: Lanes, x: Value) -> tuple[Value, Value]:
    """|x| = n pi/2 + r with |r| about pi/4 at most: r, and an integer with the low bits of n."""
    a = m.abs(x)
    parts, limit = (table.HALF_PI, 1e5) if m.has_fma else (table.HALF_PI_SHORT, 800.0)
    shifted = m.fma(a, m.c(2 / math.pi), m.c(ROUND))
    n = m.sub(shifted, m.c(ROUND))
    r = a
    for part in parts:
        r = m.fma(n, m.c(-part), r)
    return _or_large(m, a, m.compare("ogt", a, limit), (r, m.to_bits(shifted)))


def _or_large(m: Lanes, a: Value, large: Value, small: tuple[Value, Value]) -> tuple:
    """`small` where `large` is off; the other way is computed only if some lane needs it."""
    return where_any(m, large, small, lambda: _payne_hanek(m, a))


def where_any(m: Lanes, condition: Value, usual: tuple, rare: Callable[[], tuple]) -> tuple:
    """`rare()` in lanes where `condition` holds, `usual` in others; no lane, no computation."""
    e = m.e
    reduce = f"llvm.vector.reduce.or.v{m.lanes}i1"
    some = e.call("i1", reduce, condition) if m.lanes else condition
    before, body, done = e.block, e.name("rare"), e.name("angle")
    e.do(f"br {some}, label %{body}, label %{done}")
    e.label(body)
    picked = [e.select(condition, new, old) for new, old in zip(rare(), usual, strict=True)]
    after = e.block
    e.branch(done)
    e.label(done)
    return tuple(
        e.emit(old.type, f"phi {old.type} [ {old.ref}, %{before} ], [ {new.ref}, %{after} ]")
        for old, new in zip(usual, picked, strict=True)
    )


def _payne_hanek(m: Lanes, a: Value) -> tuple[Value, Value]:
    """The reduction of a >= 2**9 by 64 bits of a * 2/pi modulo 4; inf and nan give nan."""
    e, wide = m.e, vector_type("i64", m.lanes)
    bits = m.to_bits(a)
    # 2/pi is stored behind 32 zero bits; position 0 is the bit worth 2**31
    position = m.int_op("sub", m.int_op("lshr", bits, 23), 150 - 30)
    window = [e.convert("zext", w, "i64") for w in _window(m, position)]
    mantissa = m.int_op("or", m.and_(bits, 0x7FFFFF), 0x800000)
    mantissa = e.convert("zext", mantissa, "i64")
    high, middle, low = (e.binary("mul", mantissa, w) for w in window)
    shift = e.const(wide, 32)
    turns = e.binary("add", e.binary("shl", high, shift), middle)
    turns = e.binary("add", turns, e.binary("lshr", low, shift))  # 2 bits of quadrant, 62 below
    quadrant = e.binary("add", turns, e.const(wide, 1 << 61))
    quadrant = e.binary("lshr", quadrant, e.const(wide, 62))
    rest = e.binary("sub", turns, e.binary("shl", quadrant, e.const(wide, 62)))
    angle = e.convert("sitofp", rest, "double")
    angle = e.binary("fmul", angle, e.const(angle.type, math.pi / 2 * 2.0**-62))
    r = e.convert("fptrunc", angle, "float")
    return m.fma(a, m.c(0.0), r), e.convert("trunc", quadrant, "i32")


def _window(m: Lanes, position: Value) -> list[Value]:
    """96 bits of 2/pi from bit `position`, as three words."""
    index, shift = m.int_op("lshr", position, 5), m.and_(position, 31)
    words = table.TWO_OVER_PI_WORDS
    chosen = [m.i(words[k]) for k in range(4)]
    for start in range(1, len(words) - 3):
        here = m.int_op("icmp eq", index, start)
        chosen = [m.e.select(here, m.i(words[start + k]), chosen[k]) for k in range(4)]
    return [m.e.intrinsic("fshl", chosen[k], chosen[k + 1], shift) for k in range(3)]


# -- inverses ------------------------------------------------------------------------------------


def half_pi(m: Lanes) -> float:
    return format_of(m).table.HALF_PI[0]


def _arcsine(m: Lanes, a: Value) -> tuple[Value, Value]:
    """For 0 <= a <= 1: whether a > 1/2, and asin(sqrt((1-a)/2)) there, asin(a) elsewhere."""
    large = m.compare("ogt", a, 0.5)
    other = m.fma(a, m.c(-0.5), m.c(0.5))
    square = m.select(large, other, m.mul(a, a))
    root = m.select(large, m.unary("sqrt", other), a)
    return large, m.fma(m.mul(square, root), m.polynomial(square, format_of(m).table.ASIN), root)


def asin(m: Lanes, x: Value) -> Value:
    large, part = _arcsine(m, m.abs(x))
    value = m.select(large, m.fma(part, m.c(-2.0), m.c(half_pi(m))), part)
    return m.copysign(value, x)


def acos(m: Lanes, x: Value) -> Value:
    large, part = _arcsine(m, m.abs(x))
    double = m.add(part, part)
    negative = m.compare("olt", x, 0.0)
    ends = m.select(negative, m.sub(m.c(math.pi), double), double)
    middle = m.sub(m.c(half_pi(m)), m.copysign(part, x))
    return m.select(large, ends, middle)


def arctangent(m: Lanes, t: Value) -> Value:
    """atan(t) for |t| <= 1, in float64 <= tan(pi/8)."""
    square = m.mul(t, t)
    return m.fma(m.mul(square, t), m.polynomial(square, format_of(m).table.ATAN), t)


def atan(m: Lanes, x: Value) -> Value:
    a = m.abs(x)
    large = m.compare("ogt", a, 1.0)
    part = arctangent(m, m.div(m.select(large, -1.0, a), m.select(large, a, 1.0)))
    return m.copysign(m.add(m.select(large, half_pi(m), 0.0), part), x)


def atan2(m: Lanes, y: Value, x: Value) -> Value:
    """The angle of (x, y); C's rules for zeros and infinities."""
    ay, ax = m.abs(y), m.abs(x)
    steep = m.compare("ogt", ay, ax)
    small, large = m.select(steep, ax, ay), m.select(steep, ay, ax)
    ratio = m.div(small, m.select(m.compare("oeq", large, 0.0), 1.0, large))
    ratio = m.select(m.compare("oeq", small, math.inf), 1.0, ratio)
    part = arctangent(m, ratio)
    part = m.select(steep, m.sub(m.c(half_pi(m)), part), part)
    left = m.e.binary("icmp slt", m.to_bits(x), m.i(0))
    part = m.select(left, m.sub(m.c(math.pi), part), part)
    return m.copysign(m.select(m.e.binary("fcmp uno", x, y), math.nan, part), y)
