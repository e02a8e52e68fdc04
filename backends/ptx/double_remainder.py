"""fmod and its relatives for float64, exact: quotients are taken off 51 bits at a time."""

from __future__ import annotations

import math

from ..lanes import Lanes
from ..llvm import Emitter, Value
from ..scalar_float import floored_quotient, floored_rest

STEP = 51  # bits of a quotient that are taken off at once, exactly


def _exponent(m: Lanes, x: Value) -> Value:
    """The binary exponent of a positive x, as i64."""
    tiny = m.compare("olt", x, 2.0**-1000)
    bits = m.to_bits(m.select(tiny, m.mul(x, m.c(2.0**54)), x))
    return m.int_op("sub", m.int_op("lshr", bits, 52), m.e.select(tiny, m.i(54), m.i(0)))


def _shifted(m: Lanes, x: Value, k: Value) -> Value:
    """x * 2**k for k >= 0, which does not overflow: in three steps."""
    for _ in range(3):
        part = m.e.intrinsic("smin", k, m.i(900))
        k = m.int_op("sub", k, part)
        x = m.mul(x, m.from_bits(m.int_op("shl", m.int_op("add", part, 1023), 52)))
    return x


def fmod(e: Emitter, a: Value, b: Value) -> Value:
    """C's fmod: a minus a whole multiple of b, with the sign of a."""
    m = Lanes(e, a)
    size, step = m.abs(a), m.abs(b)
    ok = e.binary("and", m.compare("olt", size, math.inf), m.compare("ogt", step, 0.0))
    rest, by = m.select(ok, size, 0.0), m.select(ok, step, 1.0)
    by = m.select(m.compare("olt", by, math.inf), by, 1.0)
    gap = m.int_op("sub", _exponent(m, m.at_least(rest, 5e-324)), _exponent(m, by))
    gap = e.intrinsic("smax", gap, m.i(0))
    turns = m.int_op("add", m.int_op("udiv", gap, STEP), 2)
    with e.loop(Value("0", "i64"), turns, carry=[rest]) as loop:
        rest = loop.carry[0]
        gap = m.int_op("sub", _exponent(m, m.at_least(rest, 5e-324)), _exponent(m, by))
        gap = m.int_op("sub", gap, STEP)
        large = _shifted(m, by, e.intrinsic("smax", gap, m.i(0)))
        quotient = m.unary("trunc", m.div(rest, large))
        rest = m.fma(m.neg(quotient), large, rest)  # exact; below 0 if the quotient was rounded up
        loop.next(m.select(m.compare("olt", rest, 0.0), m.add(rest, large), rest))
    value = m.copysign(loop.result[0], a)
    value = m.select(ok, value, math.nan)
    unbounded = m.compare("oeq", step, math.inf)
    finite = m.compare("olt", size, math.inf)
    return m.select(e.binary("and", unbounded, finite), a, value)


def remainder(e: Emitter, a: Value, b: Value) -> Value:
    """a modulo b with the sign of b."""
    return floored_rest(Lanes(e, a), fmod(e, a, b), b)


def floor_divide(e: Emitter, a: Value, b: Value) -> Value:
    """Python's `//`: consistent with the remainder, a / b where b is 0."""
    return floored_quotient(Lanes(e, a), a, b, fmod(e, a, b))
