"""Vector pieces of the attention kernel: powers of two below one, and the queries' numbers."""

from __future__ import annotations

from .. import coefficients as table
from ..lanes import Lanes
from ..llvm import Emitter, Value, vector_type
from .contract_index import Index, value

ROUND = 12582912.0 + 127.0  # leaves n plus the exponent bias in the low bits of n + ROUND
LEAST = -126.0  # below, 2**x is taken for 0: the largest share of a row is 1


def exp2_below(m: Lanes, x: Value) -> Value:
    """2**x for x <= 0; nan stays nan.

    The argument needs no clamp and the power no second half, unlike in vector_math.exp2: what is
    too small is replaced in the end.
    """
    shifted = m.add(x, m.c(ROUND))
    r = m.sub(x, m.sub(shifted, m.c(ROUND)))
    power = m.from_bits(m.int_op("shl", m.to_bits(shifted), 23))
    result = m.mul(m.polynomial(r, (1.0, *table.EXP2)), power)
    return m.select(m.compare("olt", x, LEAST), 0.0, result)


def shuffled(e: Emitter, x: Value, picks: list[int]) -> Value:
    """The lanes of `x` whose numbers are given."""
    order = ", ".join(f"i32 {p}" for p in picks)
    type = vector_type(x.scalar_type, len(picks))
    return e.emit(type, f"shufflevector {x}, {x.type} poison, <{len(picks)} x i32> <{order}>")


def ramp_from(e: Emitter, first: Index, lanes: int) -> Value:
    """<first, first + 1, ..> as i32."""
    type = vector_type("i32", lanes)
    ramp = Value("<" + ", ".join(f"i32 {i}" for i in range(lanes)) + ">", type)
    if isinstance(first, int):
        steps = ", ".join(f"i32 {first + i}" for i in range(lanes))
        return Value(f"<{steps}>", type)
    return e.binary("add", e.splat(e.convert("trunc", value(first), "i32"), lanes), ramp)
