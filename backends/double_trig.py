"""float64 sin, cos, tan, atan and atan2 as LLVM text.

Angles up to FARTHEST (where there is fma; else to FAR) are reduced by three parts of pi/2. A branch
that is taken only when some lane is larger calls the C library; targets that have none use the
functions of WITHOUT_LIBRARY, which give nan there.
"""

from __future__ import annotations

import math

from . import coefficients_double as table
from .float_format import ROUND_DOUBLE
from .lanes import Lanes
from .llvm import Value
from .vector_math_trig import arctangent, cosine, half_pi, sine, tangent, where_any

FARTHEST = 2.0**48
FAR = 1e6


def _reduce(m: Lanes, x: Value) -> tuple[Value, Value]:
    """|x| = n pi/2 + r: r, and an integer with the low bits of n; |x| up to FARTHEST or FAR."""
    a = m.abs(x)
    shifted = m.fma(a, m.c(2 / math.pi), m.c(ROUND_DOUBLE))
    n = m.sub(shifted, m.c(ROUND_DOUBLE))
    r = a
    for part in table.HALF_PI if m.has_fma else table.HALF_PI_SHORT:
        r = m.fma(n, m.c(-part), r)
    return r, m.to_bits(shifted)


_NEAR = {
    "sin": lambda m, x: sine(m, x, *_reduce(m, x)),
    "cos": lambda m, x: cosine(m, *_reduce(m, x)),
    "tan": lambda m, x: tangent(m, x, *_reduce(m, x)),
}


def or_library(name: str, library):
    """sin, cos or tan of any angle; `library(m, x)` calls C's function for each lane."""

    def emit(m: Lanes, x: Value) -> Value:
        usual = _NEAR[name](m, x)
        large = m.compare("ogt", m.abs(x), FARTHEST if m.has_fma else FAR)
        return where_any(m, large, (usual,), lambda: (library(m, x),))[0]

    return emit


def _or_nan(name: str):
    def emit(m: Lanes, x: Value) -> Value:
        return m.select(m.compare("olt", m.abs(x), FARTHEST), _NEAR[name](m, x), math.nan)

    return emit


WITHOUT_LIBRARY = {name: _or_nan(name) for name in _NEAR}


def atan(m: Lanes, x: Value) -> Value:
    """pi/4 or pi/2 off, by one division: |t| <= tan(pi/8) is left."""
    a = m.abs(x)
    middle = m.compare("ogt", a, math.tan(math.pi / 8))
    large = m.compare("ogt", a, math.tan(3 * math.pi / 8))
    top = m.select(large, -1.0, m.select(middle, m.sub(a, m.c(1.0)), a))
    bottom = m.select(large, a, m.select(middle, m.add(a, m.c(1.0)), 1.0))
    off = m.select(large, half_pi(m), m.select(middle, half_pi(m) / 2, 0.0))
    return m.copysign(m.add(off, arctangent(m, m.div(top, bottom))), x)


def atan2(m: Lanes, y: Value, x: Value) -> Value:
    """The angle of (x, y); C's rules for zeros and infinities."""
    above, beside = m.abs(y), m.abs(x)
    steep = m.compare("ogt", above, beside)
    small, large = m.select(steep, beside, above), m.select(steep, above, beside)
    t = m.div(small, m.select(m.compare("oeq", large, 0.0), 1.0, large))
    t = m.select(m.compare("oeq", small, math.inf), 1.0, t)
    turn = m.compare("ogt", t, math.tan(math.pi / 8))
    angle = arctangent(m, m.select(turn, m.div(m.sub(t, m.c(1.0)), m.add(t, m.c(1.0))), t))
    angle = m.select(turn, m.add(angle, m.c(math.pi / 4)), angle)
    low = m.c(table.HALF_PI[1])
    angle = m.select(steep, m.sub(m.c(half_pi(m)), m.sub(angle, low)), angle)
    turned = m.sub(m.c(math.pi), m.sub(angle, m.add(low, low)))
    left = m.int_op("icmp slt", m.to_bits(x), 0)
    angle = m.copysign(m.select(left, turned, angle), y)
    return m.select(m.e.binary("fcmp uno", x, y), math.nan, angle)
