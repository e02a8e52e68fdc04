"""The one-dimensional transforms of Winograd convolution as vector code.

Points come in pairs +-p, so the even and the odd powers of a pair are computed once and then added
and subtracted: 12 multiply-adds for the 6 points of a data tile instead of 26.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from nncomp.ir.ops.winograd import PAIRS, matrices

from ..llvm import Emitter, Value

Row = Sequence[Fraction]


def transform_data(e: Emitter, tile: int, values: list[Value]) -> list[Value]:
    """Data at the points: `matrices(tile).data` times the vectors `values`."""
    rows = matrices(tile).data
    out = [combine(e, rows[0], values)]
    for k, p in enumerate(PAIRS[tile]):
        row = rows[1 + 2 * k]
        even = combine(e, [c if i % 2 == 0 else 0 for i, c in enumerate(row)], values)
        odd = combine(e, [c / p if i % 2 else 0 for i, c in enumerate(row)], values)
        out += [_scaled_sum(e, p, odd, even), _scaled_sum(e, -p, odd, even)]
    return [*out, combine(e, rows[-1], values)]


def transform_result(e: Emitter, tile: int, values: list[Value]) -> list[Value]:
    """Results from the products at the points: `matrices(tile).result` times the vectors."""
    pairs = PAIRS[tile]
    sums = [e.binary("fadd", values[1 + 2 * k], values[2 + 2 * k]) for k in range(len(pairs))]
    gaps = [e.binary("fsub", values[1 + 2 * k], values[2 + 2 * k]) for k in range(len(pairs))]
    out = []
    for i in range(tile):
        row = [p**i for p in pairs]
        terms = list(gaps if i % 2 else sums)
        if i in (0, tile - 1):
            terms.append(values[0] if i == 0 else values[-1])
            row.append(Fraction(1))
        out.append(combine(e, row, terms))
    return out


def transform_kernel(e: Emitter, tile: int, values: list[Value]) -> list[Value]:
    """Kernels at the points: `matrices(tile).kernel` times the vectors `values`."""
    return [combine(e, row, values) for row in matrices(tile).kernel]


def combine(e: Emitter, row: Row, values: list[Value]) -> Value:
    """The sum of the vectors, each times its number of `row`; one of them not zero."""
    terms = [(c, v) for c, v in zip(row, values, strict=True) if c]
    terms.sort(key=lambda term: term[0] != 1)
    (first, total), *rest = terms
    if first != 1:
        total = e.binary("fmul", total, e.const(total.type, float(first)))
    for c, v in rest:
        total = _scaled_sum(e, c, v, total)
    return total


def _scaled_sum(e: Emitter, c: Fraction, x: Value, y: Value) -> Value:
    """c * x + y"""
    if c in (1, -1):
        return e.binary("fadd" if c == 1 else "fsub", y, x)
    return e.intrinsic("fmuladd", x, e.const(x.type, float(c)), y)
