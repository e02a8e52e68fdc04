"""Scalar operations on floats as LLVM text: arithmetic, rounding, comparison, remainders.

Transcendental functions are those of vector_math.py and vector_math_trig.py for float32 (and the
narrower floats, which compute in it), double_math.py and double_trig.py for float64. Of the C
library float64 calls fmod, and sin, cos and tan of very large angles, once per lane.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable

from . import double_math, double_trig, vector_math, vector_math_trig
from .lanes import Lanes
from .llvm import Value

# -- basics --------------------------------------------------------------------------------------


def _sign(m: Lanes, x: Value) -> Value:
    """1, -1 or 0; nan gives 0, as torch."""
    below = m.select(m.compare("olt", x, 0.0), -1.0, 0.0)
    return m.select(m.compare("ogt", x, 0.0), 1.0, below)


def _is_number(value: Value) -> bool:
    """True for a constant (a splat, for a vector) other than nan."""
    found = re.fullmatch(r"(?:splat \(\w+ )?0x([0-9A-F]{16})\)?", value.ref)
    return found is not None and int(found[1], 16) & (1 << 63) - 1 <= 0x7FF << 52


def _extreme(m: Lanes, wins: str, a: Value, b: Value) -> Value:
    """b where `b wins a`, else a; nan if either is. Two steps shorter if one is a constant."""
    if _is_number(a) and not _is_number(b):
        a, b = b, a
    value = m.select(m.compare(wins, b, a), b, a)
    return value if _is_number(b) else m.select(m.compare("uno", b, b), b, value)


def _rsqrt(m: Lanes, x: Value) -> Value:
    return m.div(m.c(1.0), m.unary("sqrt", x))


# -- remainders ----------------------------------------------------------------------------------


def _fmod(m: Lanes, a: Value, b: Value) -> Value:
    """C's fmod, exact. float32 subtracts multiples of b that are exact in double.

    A quotient below 2**29 is done in one step; the loop (about ten steps of 28 bits bring any
    quotient down) runs only when some lane has a larger one.
    """
    if m.scalar == "double":
        return _library("fmod")(m, a, b)
    e = m.e
    rest, step = (e.convert("fpext", m.abs(v), "double") for v in (a, b))
    d = Lanes(e, rest, m.has_fma)
    quotient = d.unary("trunc", d.div(rest, step))
    large = d.compare("oge", quotient, 2.0**29)
    if m.lanes:
        large = e.call("i1", f"llvm.vector.reduce.or.v{m.lanes}i1", large)
    turns = e.select(large, Value("10", "i64"), Value("0", "i64"))
    with e.loop(0, turns, carry=[_take(d, rest, quotient, step)]) as loop:
        quotient = d.unary("trunc", d.div(loop.carry[0], step))
        loop.next(_take(d, loop.carry[0], quotient, step))
    rest = loop.result[0]  # below 0 where a quotient was rounded up
    rest = d.select(d.compare("olt", rest, 0.0), d.add(rest, step), rest)
    value = m.copysign(e.convert("fptrunc", rest, "float"), a)
    unbounded = m.compare("oeq", m.abs(b), math.inf)
    finite = m.compare("olt", m.abs(a), math.inf)
    return m.select(e.binary("and", unbounded, finite), a, value)


def _take(d: Lanes, rest: Value, quotient: Value, step: Value) -> Value:
    """rest - quotient * step with the first 29 bits of the quotient: both operations are exact."""
    short = d.from_bits(d.and_(d.to_bits(quotient), -(1 << 24)))
    return d.sub(rest, d.mul(short, step))


def _floors(m: Lanes, rest: Value, b: Value) -> Value:
    """Where the floored quotient is one below the truncated one."""
    signs = m.int_op("xor", m.to_bits(rest), m.to_bits(b))
    return m.e.binary("and", m.int_op("icmp slt", signs, 0), m.compare("one", rest, 0.0))


def floored_rest(m: Lanes, rest: Value, b: Value) -> Value:
    """The remainder with the sign of b, from that of the truncated quotient."""
    return m.select(_floors(m, rest, b), m.add(rest, b), rest)


def _remainder(m: Lanes, a: Value, b: Value) -> Value:
    return floored_rest(m, _fmod(m, a, b), b)


def _floor_divide(m: Lanes, a: Value, b: Value) -> Value:
    return floored_quotient(m, a, b, _fmod(m, a, b))


def floored_quotient(m: Lanes, a: Value, b: Value, rest: Value) -> Value:
    """Python's `//`: consistent with the remainder, a / b where b is 0; `rest` is fmod(a, b)."""
    ratio = m.div(a, b)
    value = m.div(m.sub(a, rest), b)
    value = m.select(_floors(m, rest, b), m.sub(value, m.c(1.0)), value)
    value = m.unary("roundeven", value)
    value = m.select(m.compare("oeq", value, 0.0), m.copysign(m.c(0.0), ratio), value)
    return m.select(m.compare("oeq", b, 0.0), ratio, value)


# -- double --------------------------------------------------------------------------------------


def _library(symbol: str):
    """The C function of that name, called lane by lane."""

    def emit(m: Lanes, *args: Value) -> Value:
        e = m.e
        if not m.lanes:
            return e.call(m.scalar, symbol, *args)
        result = Value("poison", m.type)
        for lane in range(m.lanes):
            at = Value(str(lane), "i64")
            picked = [e.emit(m.scalar, f"extractelement {a}, {at}") for a in args]
            one = e.call(m.scalar, symbol, *picked)
            result = e.emit(m.type, f"insertelement {result}, {one}, {at}")
        return result

    return emit


# -- tables --------------------------------------------------------------------------------------

_COMPARISONS = {"eq": "oeq", "ne": "une", "lt": "olt", "le": "ole", "gt": "ogt", "ge": "oge"}
_ROUNDINGS = {"floor": "floor", "ceil": "ceil", "round": "roundeven", "trunc": "trunc"}


def _compare(how: str):
    return lambda m, a, b: m.compare(how, a, b)


def _rounding(intrinsic: str):
    return lambda m, x: m.unary(intrinsic, x)


_BASICS: dict[str, Callable[..., Value]] = {
    "neg": Lanes.neg,
    "abs": Lanes.abs,
    "sign": _sign,
    "sqrt": lambda m, x: m.unary("sqrt", x),
    "rsqrt": _rsqrt,
    "reciprocal": lambda m, x: m.div(m.c(1.0), x),
    "isnan": lambda m, x: m.compare("uno", x, x),
    "isinf": lambda m, x: m.compare("oeq", m.abs(x), math.inf),
    "isfinite": lambda m, x: m.compare("olt", m.abs(x), math.inf),
    "add": Lanes.add,
    "sub": Lanes.sub,
    "mul": Lanes.mul,
    "div": Lanes.div,
    "fma": Lanes.fma,
    "maximum": lambda m, a, b: _extreme(m, "ogt", a, b),
    "minimum": lambda m, a, b: _extreme(m, "olt", a, b),
    "remainder": _remainder,
    "fmod": _fmod,
    "floor_divide": _floor_divide,
    "logical_not": lambda m, x: m.compare("oeq", x, 0.0),
    "select": lambda m, condition, a, b: m.e.select(condition, a, b),
    **{name: _compare(how) for name, how in _COMPARISONS.items()},
    **{name: _rounding(intrinsic) for name, intrinsic in _ROUNDINGS.items()},
}

_SHARED: dict[str, Callable[..., Value]] = _BASICS | {
    "exp": vector_math.exp,
    "exp2": vector_math.exp2,
    "expm1": vector_math.expm1,
    "sinh": vector_math.sinh,
    "cosh": vector_math.cosh,
    "sigmoid": vector_math.sigmoid,
    "log": vector_math.log,
    "log2": vector_math.log2,
    "log1p": vector_math.log1p,
    "asin": vector_math_trig.asin,
    "acos": vector_math_trig.acos,
}

FLOAT_OPS = _SHARED | {
    "tanh": vector_math.tanh,
    "erf": vector_math.erf,
    "erfc": vector_math.erfc,
    "pow": vector_math.power,
    "sin": vector_math_trig.sin,
    "cos": vector_math_trig.cos,
    "tan": vector_math_trig.tan,
    "atan": vector_math_trig.atan,
    "atan2": vector_math_trig.atan2,
}

DOUBLE_OPS = _SHARED | {
    "tanh": double_math.tanh,
    "erf": double_math.erf,
    "erfc": double_math.erfc,
    "pow": double_math.power,
    "atan": double_trig.atan,
    "atan2": double_trig.atan2,
    **{name: double_trig.or_library(name, _library(name)) for name in ("sin", "cos", "tan")},
}
