"""The sums of one tile: its loops over k.

The accumulators are the carried values of the loops; rows lie at constant offsets from one pointer
into a, columns at constant offsets from one pointer into b, so a turn of the inner loop is loads,
multiply-adds and two pointer steps. On the way, what comes next is prefetched.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import NamedTuple

from nncomp.backends.cpu.contract import PAIR, SIZES, Dim, Plan
from nncomp.backends.cpu.contract_index import Index
from nncomp.backends.cpu.contract_strassen import ahead_step, fetch_next
from nncomp.backends.llvm import Emitter, Value, vector_type

Ask = Callable[[Index, int], None]  # prefetch share i of n of what the epilogue will need
Places = tuple[Value, ...]  # addresses in a and b, and perhaps of what is to be fetched ahead

LINE, PAGE = 64, 4096  # bytes
PIECE, MOST_LINES = 512, 64  # bytes of a row in one piece, lines of all rows, to fetch ahead
AHEAD = 32  # terms that the columns of a transposed left operand are fetched ahead
SHARES = 8  # pieces of a sum's walk between which a tile's prefetches are spread


class Column(NamedTuple):
    """One vector of columns of a tile: its place in the tile, its offset in b, lanes and mask."""

    at: int
    offset: int
    lanes: int
    mask: Value | None


def accumulate(
    e: Emitter, plan: Plan, at: Places, rows: list[int], columns: list[Column], ask: Ask | None
) -> list[Value]:
    """The sums over k of a tile, row by row, from the addresses `at` of a and b on.

    A third address is where b continues after this tile: it is fetched on the way. `ask(turn,
    turns)` prefetches a share of what the epilogue will need.
    """
    sums = [e.const(vector_type(plan.scalar, column.lanes), 0) for column in columns] * len(rows)
    shares = max(1, SHARES // plan.spec.parts)
    turns = _turns(plan.k[0].extent, shares) if plan.k and plan.spec.depth else 1
    if ask is not None and turns == 1:
        ask(0, 1)
    if not plan.spec.depth:
        return sums
    if ask is None or turns == 1:
        return _nest(e, plan.k, plan, at, sums, rows, columns)[len(at) :]
    first, *others = plan.k
    with e.loop(0, turns, carry=[*at, *sums], hint="part") as loop:
        ask(loop.index, turns)
        here, inside = tuple(loop.carry[: len(at)]), loop.carry[len(at) :]
        dims = (first._replace(extent=first.extent // turns), *others)
        loop.next(*_nest(e, dims, plan, here, inside, rows, columns))
    return loop.result[len(at) :]


def _turns(extent: int, shares: int) -> int:
    """About so many shares of equal length that a loop is cut in; 1 where it cannot be."""
    likely = (*range(shares, 2 * shares), *range(shares - 1, 1, -1))
    return next((n for n in likely if extent % n == 0), 1)


def _nest(e: Emitter, dims: Sequence[Dim], plan: Plan, at: Places, sums, rows, columns):
    """The k loops over `dims`: the addresses behind them, and the sums."""
    if not dims:
        if at[2:]:
            fetch_next(e, plan, at[2], columns[-1].at)
        _fetch_column_ahead(e, plan, at[0], rows)
        return [*at, *_step(e, plan, at[0], at[1], sums, rows, columns)]
    dim, *others = dims
    steps = dim.a, dim.b, prod(d.extent for d in others) * ahead_step(plan)
    with e.loop(0, dim.extent, carry=[*at, *sums], hint="k") as loop:
        here, inside = tuple(loop.carry[: len(at)]), loop.carry[len(at) :]
        _fetch_next_block(e, plan, dim, others, here[0], rows)
        inside = _nest(e, others, plan, here, inside, rows, columns)[len(at) :]
        types = plan.spec.a_type, plan.spec.b_type, "i8"
        moved = [e.gep(*x) for x in zip(types, here, steps, strict=False)]
        loop.next(*moved, *inside)
    return loop.result


def _fetch_next_block(e: Emitter, plan: Plan, dim: Dim, others: Sequence[Dim], a: Value, rows):
    """Prefetch what the next turn of a sum's loop reads of a, where the rows of a are cut in short
    pieces that lie far apart: hardware does not guess that."""
    size = SIZES[plan.spec.a_type]
    if len(others) != 1 or others[0].a != 1 or dim.a * size < PAGE:
        return
    piece = others[0].extent * size
    if piece > PIECE:
        return
    parts = (*range(0, piece, LINE), piece - 1)
    lines = {(row * size + at) // LINE for row in rows for at in parts}
    for line in sorted(lines) if len(lines) <= MOST_LINES else ():
        place = e.gep(plan.spec.a_type, a, dim.a + line * LINE // size)
        e.call_void("llvm.prefetch.p0", place, *(Value(str(k), "i32") for k in (0, 3, 1)))


def _fetch_column_ahead(e: Emitter, plan: Plan, a: Value, rows: list[int]) -> None:
    """Prefetch what a later term reads of a, where the rows of a tile lie side by side and each
    term is another line, as in panels of a transposed operand: hardware is late for half lines."""
    if not plan.k:
        return
    size, last = SIZES[plan.spec.a_type], plan.k[-1]
    apart = abs(last.a) * size
    lines = {row * size // LINE for row in rows}
    few = last.extent < AHEAD or plan.spec.depth < 8 * AHEAD
    if not LINE <= apart < PAGE or len(lines) != 1 or few:
        return
    through = len(plan.k) == 1 or last.a * last.extent == plan.k[-2].a
    step = AHEAD * last.a if through else plan.k[-2].a
    hints = (Value(str(k), "i32") for k in (0, 3, 1))  # for reading, keep near, data
    e.call_void("llvm.prefetch.p0", e.gep(plan.spec.a_type, a, step), *hints)


def move(e: Emitter, element: str, pointer: Value, offset: Index) -> Value:
    """The address so many elements further on."""
    return pointer if offset == 0 else e.gep(element, pointer, offset)


def _step(e: Emitter, plan: Plan, a: Value, b: Value, sums, rows, columns) -> list[Value]:
    """One k: the vectors of b, then for each row one broadcast of a and its multiply-adds."""
    spec = plan.spec
    right = [_load_vector(e, plan, b, column) for column in columns]
    result = []
    for i, offset in enumerate(rows):
        left = e.load(spec.a_type, move(e, spec.a_type, a, offset), SIZES[spec.a_type], "a")
        left = _extend(e, left, plan.scalar) if spec.a_type != PAIR else left
        spread = {n: e.splat(left, n) for n in dict.fromkeys(x.lanes for x in right)}
        for j, vector in enumerate(right):
            total = sums[i * len(columns) + j]
            if spec.a_type == PAIR:
                result.append(_add_pairs(e, total, spread[vector.lanes], vector))
            else:
                result.append(e.intrinsic("fmuladd", spread[vector.lanes], vector, total))
    return result


def _add_pairs(e: Emitter, total: Value, a: Value, b: Value) -> Value:
    """total + the two products of bfloat16 in each lane of a and b."""
    pairs = vector_type("bfloat", 2 * total.lanes)
    halves = [e.emit(pairs, f"bitcast {x} to {pairs}", "pair") for x in (a, b)]
    name = f"llvm.x86.avx512bf16.dpbf16ps.{32 * total.lanes}"
    return e.call(total.type, name, total, *halves)


def _load_vector(e: Emitter, plan: Plan, b: Value, column: Column) -> Value:
    """A vector of b; masked only where b is not padded to whole vectors."""
    spec, align = plan.spec, SIZES[plan.spec.b_type]
    type = vector_type(spec.b_type, column.lanes)
    address = move(e, spec.b_type, b, column.offset)
    if column.mask is None or spec.panel:
        loaded = e.load(type, address, align, "b")
    else:
        loaded = e.masked_load(type, address, column.mask, align, e.const(type, 0))
    return _extend(e, loaded, plan.scalar) if spec.b_type != PAIR else loaded


def _extend(e: Emitter, x: Value, scalar: str) -> Value:
    return x if x.scalar_type == scalar else e.convert("fpext", x, scalar)
