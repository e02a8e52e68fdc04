"""Writing the code of a planned contraction.

The accumulators of a tile are the carried values of the k loops; rows lie at constant offsets from
one pointer into a, columns at constant offsets from one pointer into b, so a turn of the inner loop
is loads, multiply-adds and two pointer steps. Finished vectors go to the caller's `finish`, which
writes the epilogue and the store right there, while they are still in registers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from math import prod
from typing import NamedTuple

from nncomp.backends.cpu.contract import PAIR, SIZES, Dim, Plan, Run, live_lanes, row_offsets
from nncomp.backends.cpu.contract_index import Index, add, dot, each, high, low, mul, unravel, value
from nncomp.backends.llvm import Emitter, Value, vector_type

Finish = Callable[[Emitter, Value, list[Value], list[Value], Value, Value | None], None]
Fetch = Callable[[Emitter, list[Value], list[Value], Value], None]

LINE, PAGE = 64, 4096  # bytes
PIECE, MOST_LINES = 512, 64  # bytes of a row in one piece, lines of all rows, to fetch ahead
SHARES = 8  # parts of a sum's walk between which a tile's prefetches are spread


class _Column(NamedTuple):
    """One vector of columns of a tile: its place in the tile, its offset in b, lanes and mask."""

    at: int
    offset: int
    lanes: int
    mask: Value | None


class _Unit(NamedTuple):
    """What the tiles of one unit share."""

    a: Value
    b: Value
    batch: list[Value]
    finish: Finish
    fetch: Fetch | None


def emit_contraction(
    e: Emitter, plan: Plan, a: Value, b: Value, begin: Value, end: Value, finish: Finish,
    fetch: Fetch | None = None,
) -> None:  # fmt: skip
    """Write the loops over units begin..end (i64 values, 0 <= begin <= end <= plan.units); with
    begin > end over units end..begin, from the last one down.

    For each vector of results, `finish(e, acc, batch, m, n, mask)` is called with the accumulators,
    the indices of the batch and m dims, the first column, and the mask of the columns that exist
    (None for all). A unit's result does not depend on begin and end. Tiles walk m in any order.
    Before a tile is computed, `fetch(e, batch, m, n)` may ask for what `finish` will need.
    """
    if not plan.units:
        return
    row_blocks = -(-plan.row_tiles // plan.row_block)
    column_blocks = -(-plan.column_tiles // plan.column_block)
    blocks = [row_blocks, column_blocks] if plan.rows_outer else [column_blocks, row_blocks]
    extents = [d.extent for d in plan.spec.batch]
    with _units(e, begin, end) as unit:
        *batch, outer, inner = unravel(e, unit, [*extents, *blocks])
        row, column = (outer, inner) if plan.rows_outer else (inner, outer)
        here = _Unit(
            _move(e, plan.spec.a_type, a, dot(e, batch, [d.a for d in plan.spec.batch])),
            _move(e, plan.spec.b_type, b, dot(e, batch, [d.b for d in plan.spec.batch])),
            [value(i) for i in batch],
            finish,
            fetch,
        )
        rows = _span(e, row, plan.row_block, plan.row_tiles)
        columns = _span(e, column, plan.column_block, plan.column_tiles)
        _tiles(e, plan, here, rows, columns)


@contextmanager
def _units(e: Emitter, begin: Value, end: Value) -> Iterator[Value]:
    """The loop over units, upwards or downwards."""
    down = e.binary("icmp sgt", begin, end, "down")
    one, minus = value(1), value(-1)
    first = e.select(down, e.binary("add", begin, minus), begin, "first")
    step = e.select(down, minus, one, "step")
    count = e.binary("mul", e.binary("sub", end, begin), step, "count")
    with e.loop(0, count, hint="unit") as loop:
        yield e.binary("add", first, e.binary("mul", loop.index, step), "unit")


def _span(e: Emitter, block: Index, size: int, count: int) -> tuple[Index, Index]:
    """The tiles of a block."""
    begin = mul(e, block, size)
    end = add(e, begin, size)
    return begin, low(e, end, count) if count % size else end


def _tiles(e: Emitter, plan: Plan, unit: _Unit, rows, columns) -> None:
    """Columns outside, rows inside: the columns of b that a tile reads stay near."""
    for column_run in plan.column_runs:

        def walk_rows(tile: Index, column_run: Run = column_run) -> None:
            column = add(e, tile, -column_run.first)
            b = _move(e, plan.spec.b_type, unit.b, _column_offset(e, plan, column_run, column))
            n = add(e, mul(e, column, column_run.step), column_run.start)
            first = 0
            for run in plan.row_runs:
                count = run.count * plan.lines
                each_row = _row_writer(e, plan, unit._replace(b=b), run, column_run, first, n)
                _clipped(e, rows, first, count, each_row, "row")
                first += count

        _clipped(e, columns, column_run.first, column_run.count, walk_rows, "column")


def _clipped(e: Emitter, span, first: int, count: int, body, hint: str) -> None:
    """Loop over the part of `span` that lies in first .. first + count - 1."""
    begin, end = span
    each(e, high(e, begin, first) if first else begin, low(e, end, first + count), body, hint)


def _column_offset(e: Emitter, plan: Plan, run: Run, column: Index) -> Index:
    """Offset in b of a column tile."""
    panel, stride = plan.spec.panel, plan.spec.panel_stride
    scale = stride if panel else 1
    width = panel or 1
    return add(e, mul(e, column, run.step // width * scale), run.start // width * scale)


def _row_writer(e: Emitter, plan: Plan, unit: _Unit, run: Run, columns: Run, first: int, n: Index):
    """The body of the loop over the row tiles of one run."""
    dims = [d.dim for d in plan.m]
    outer_extents = [d.extent for d in dims[: plan.cut]]
    rows = row_offsets(plan.m, plan.cut, run.live)
    vectors = _vectors(plan, columns)

    def write(tile: Index) -> None:
        *outer, place = unravel(e, add(e, tile, -first), [*outer_extents, run.count])
        start = add(e, mul(e, place, run.step), run.start)
        corner = dot(e, [*outer, start], [d.a for d in dims[: plan.cut + 1]])
        a = _move(e, plan.spec.a_type, unit.a, corner)

        def places() -> Iterator[tuple[list[Value], Value, _Column]]:
            for at in rows:
                m = _m_indices(e, plan, [*outer, add(e, start, at[0]), *at[1:]])
                for column in vectors:
                    yield m, value(add(e, n, column.at)), column

        ask = None
        if unit.fetch:
            inside = [run.live, *(d.extent for d in dims[plan.cut + 1 :])]
            tile_at = _Tile(plan, outer, start, n, inside, len(vectors))
            ask = partial(_ask, e, unit, tile_at)
        sums = _accumulate(e, plan, a, unit.b, list(rows.values()), vectors, ask)
        for m, where, column in places():
            unit.finish(e, sums.pop(0), unit.batch, m, where, column.mask)

    return write


class _Tile(NamedTuple):
    """Where the results of a tile lie: indices of the dims before the cut one, the first index of
    that one, the first column; and extents: of the dims from the cut one on, and vectors a row."""

    plan: Plan
    outer: list[Index]
    start: Index
    column: Index
    inside: list[int]
    vectors: int


def _ask(e: Emitter, unit: _Unit, tile: _Tile, turn: Index, turns: int) -> None:
    """Prefetch one of `turns` shares of what the epilogue of a tile will need."""
    count = prod(tile.inside) * tile.vectors
    share = -(-count // turns)
    for k in range(share):
        place = low(e, add(e, mul(e, turn, share), k), count - 1)
        first, *rest, vector = unravel(e, place, [*tile.inside, tile.vectors])
        m = _m_indices(e, tile.plan, [*tile.outer, add(e, tile.start, first), *rest])
        n = add(e, tile.column, mul(e, vector, tile.plan.lanes))
        unit.fetch(e, unit.batch, m, value(n))


def _vectors(plan: Plan, run: Run) -> list[_Column]:
    """The vectors that cover the live columns of a tile."""
    panel, lanes = plan.spec.panel, plan.lanes
    vectors = []
    for at in range(0, run.live, lanes):
        offset = at // panel * plan.spec.panel_stride + at % panel if panel else at
        live = min(lanes, run.live - at)
        width = live_lanes(live, lanes)
        vectors.append(_Column(at, offset, width, None if live == width else _mask(live, width)))
    return vectors


def _mask(live: int, lanes: int) -> Value:
    """A constant mask, first `live` lanes on (a variable one is slow where masks are emulated)."""
    bits = ", ".join(f"i1 {'true' if i < live else 'false'}" for i in range(lanes))
    return Value(f"<{bits}>", vector_type("i1", lanes))


def _m_indices(e: Emitter, plan: Plan, merged: list[Index]) -> list[Value]:
    """Indices of the dims of m as they were before merging."""
    indices: list[Index] = [0] * len(plan.spec.m)
    for index, (_, members) in zip(merged, plan.m, strict=True):
        extents = [plan.spec.m[i].extent for i in members]
        for i, digit in zip(members, unravel(e, index, extents), strict=True):
            indices[i] = digit
    return [value(i) for i in indices]


def _move(e: Emitter, element: str, pointer: Value, offset: Index) -> Value:
    return pointer if offset == 0 else e.gep(element, pointer, offset)


# -- the inner loops -------------------------------------------------------------------------


def _accumulate(
    e: Emitter, plan: Plan, a: Value, b: Value, rows: list[int], columns: list[_Column], ask=None
) -> list[Value]:
    """The sums over k of a tile, row by row; `ask(turn, turns)` prefetches a share of what the
    epilogue will need."""
    sums = [e.const(vector_type(plan.scalar, column.lanes), 0) for column in columns] * len(rows)
    turns = _turns(plan.k[0].extent) if plan.k and plan.spec.depth else 1
    if ask is None or turns == 1:
        if ask is not None:
            ask(0, 1)
        return _nest(e, plan.k, plan, a, b, sums, rows, columns)[2:] if plan.spec.depth else sums
    first, *others = plan.k
    with e.loop(0, turns, carry=[a, b, *sums], hint="part") as loop:
        ask(loop.index, turns)
        a, b, *sums = loop.carry
        dims = (first._replace(extent=first.extent // turns), *others)
        loop.next(*_nest(e, dims, plan, a, b, sums, rows, columns))
    return loop.result[2:]


def _turns(extent: int) -> int:
    """Shares of about equal length that a loop is cut in; 1 where it cannot be."""
    likely = (*range(SHARES, 2 * SHARES), *range(SHARES - 1, 1, -1))
    return next((n for n in likely if extent % n == 0), 1)


def _nest(e: Emitter, dims: Sequence[Dim], plan: Plan, a: Value, b: Value, sums, rows, columns):
    """The k loops over `dims`: where a and b are behind them, and the sums."""
    if not dims:
        return [a, b, *_step(e, plan, a, b, sums, rows, columns)]
    dim, *others = dims
    with e.loop(0, dim.extent, carry=[a, b, *sums], hint="k") as loop:
        a, b, *inside = loop.carry
        _fetch_next_block(e, plan, dim, others, a, rows)
        _, _, *inside = _nest(e, others, plan, a, b, inside, rows, columns)
        a = e.gep(plan.spec.a_type, a, dim.a)
        b = e.gep(plan.spec.b_type, b, dim.b)
        loop.next(a, b, *inside)
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


def _step(e: Emitter, plan: Plan, a: Value, b: Value, sums, rows, columns) -> list[Value]:
    """One k: the vectors of b, then for each row one broadcast of a and its multiply-adds."""
    spec = plan.spec
    right = [_load_vector(e, plan, b, column) for column in columns]
    result = []
    for i, offset in enumerate(rows):
        left = e.load(spec.a_type, _move(e, spec.a_type, a, offset), SIZES[spec.a_type], "a")
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


def _load_vector(e: Emitter, plan: Plan, b: Value, column: _Column) -> Value:
    """A vector of b; masked only where b is not padded to whole vectors."""
    spec, align = plan.spec, SIZES[plan.spec.b_type]
    type = vector_type(spec.b_type, column.lanes)
    address = _move(e, spec.b_type, b, column.offset)
    if column.mask is None or spec.panel:
        loaded = e.load(type, address, align, "b")
    else:
        loaded = e.masked_load(type, address, column.mask, align, e.const(type, 0))
    return _extend(e, loaded, plan.scalar) if spec.b_type != PAIR else loaded


def _extend(e: Emitter, x: Value, scalar: str) -> Value:
    return x if x.scalar_type == scalar else e.convert("fpext", x, scalar)
