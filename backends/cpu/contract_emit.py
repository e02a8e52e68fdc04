"""Writing the code of a planned contraction.

Units, then tiles of columns and of rows; `contract_sums` writes what happens inside of a tile.
Finished vectors go to the caller's `finish`, which writes the epilogue and the store right there,
while they are still in registers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import groupby
from math import prod
from typing import NamedTuple

from nncomp.backends.cpu.contract import Plan, Run, live_lanes, row_offsets
from nncomp.backends.cpu.contract_index import (
    Index,
    add,
    dot,
    each,
    each_unit,
    high,
    low,
    mul,
    unravel,
    value,
)
from nncomp.backends.cpu.contract_parts import Parts
from nncomp.backends.cpu.contract_strassen import Quadrants
from nncomp.backends.cpu.contract_sums import Ask, Column, accumulate, move
from nncomp.backends.llvm import Emitter, Value
from nncomp.backends.reductions import prefix_mask

Finish = Callable[[Emitter, list[Value], list[Value], list[Value], Value, Value | None], None]
Fetch = Callable[[Emitter, list[Value], list[Value], Value], None]


class _Unit(NamedTuple):
    """What the tiles of one unit share."""

    a: Value
    b: Value
    batch: list[Value]
    finish: Finish
    fetch: Fetch | None
    quadrants: Quadrants | None
    parts: Parts | None
    down: Value | None = None  # whether row tiles go from the last to the first
    column: Index = 0  # offset in b of the column tile


def emit_contraction(
    e: Emitter, plan: Plan, a: Value, b: Value, begin: Value, end: Value, finish: Finish,
    fetch: Fetch | None = None, quadrants: Quadrants | None = None,
) -> None:  # fmt: skip
    """Write the loops over units begin..end (i64 values, 0 <= begin <= end <= plan.units); with
    begin > end over units end..begin, from the last one down, and where units are blocks of rows
    their tiles too.

    For each vector of results, `finish(e, sums, batch, m, n, mask)` is called with its sums, one of
    each part, the indices of the batch and m dims, the first column, and the mask of the columns
    that exist (None for all). A unit's result does not depend on begin and end. Tiles walk m in any
    order. Before a tile is computed, `fetch(e, batch, m, n)` may ask for what `finish` will need.
    """
    if not plan.units:
        return
    row_blocks = -(-plan.row_tiles // plan.row_block)
    column_blocks = -(-plan.column_tiles // plan.column_block)
    blocks = [row_blocks, column_blocks] if plan.rows_outer else [column_blocks, row_blocks]
    extents = [d.extent for d in plan.spec.batch]
    with each_unit(e, begin, end) as (unit, down):
        *batch, outer, inner = unravel(e, unit, [*extents, *blocks])
        row, column = (outer, inner) if plan.rows_outer else (inner, outer)
        here = _Unit(
            move(e, plan.spec.a_type, a, dot(e, batch, [d.a for d in plan.spec.batch])),
            move(e, plan.spec.b_type, b, dot(e, batch, [d.b for d in plan.spec.batch])),
            [value(i) for i in batch],
            finish,
            fetch,
            quadrants,
            Parts(e, plan) if plan.spec.parts > 1 else None,
            down if plan.shares_rows and begin.ref.startswith("%") else None,
        )
        rows = _span(e, row, plan.row_block, plan.row_tiles)
        columns = _span(e, column, plan.column_block, plan.column_tiles)
        _tiles(e, plan, here, rows, columns)


def _span(e: Emitter, block: Index, size: int, count: int) -> tuple[Index, Index]:
    """The tiles of a block: `count` in all, in as many blocks as `size` asks for, evenly."""
    blocks = -(-count // size)
    following = add(e, block, 1)
    if count % blocks == 0:
        return mul(e, block, count // blocks), mul(e, following, count // blocks)
    ends = (value(mul(e, x, count)) for x in (block, following))
    begin, end = (e.binary("udiv", x, value(blocks), "tile") for x in ends)
    return begin, end


def _tiles(e: Emitter, plan: Plan, unit: _Unit, rows, columns) -> None:
    """Columns outside, rows inside: the columns of b that a tile reads stay near."""
    runs = plan.column_runs
    for column_run in runs if unit.quadrants is None else unit.quadrants.runs(runs):

        def walk_rows(tile: Index, column_run: Run = column_run) -> None:
            column = add(e, tile, -column_run.first)
            offset = _column_offset(e, plan, column_run, column)
            b = move(e, plan.spec.b_type, unit.b, offset)
            n = add(e, mul(e, column, column_run.step), column_run.start)
            here = unit._replace(b=b, column=offset)
            first = 0
            for run in plan.row_runs:
                count = run.count * plan.lines
                each_row = _row_writer(e, plan, here, run, column_run, first, n)
                _clipped(e, rows, first, count, each_row, "row", unit.down)
                first += count

        _clipped(e, columns, column_run.first, column_run.count, walk_rows, "column")


def _clipped(
    e: Emitter, span, first: int, count: int, body, hint: str, down: Value | None = None
) -> None:
    """Loop over the part of `span` that lies in first .. first + count - 1, backwards if `down`."""
    begin, end = span
    begin = high(e, begin, first) if first else begin
    each(e, begin, low(e, end, first + count), body, hint, down if count > 1 else None)


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
        a = move(e, plan.spec.a_type, unit.a, corner)

        def places() -> Iterator[tuple[list[Value], Value, Column]]:
            for at in rows:
                m = _m_indices(e, plan, [*outer, add(e, start, at[0]), *at[1:]])
                for column in vectors:
                    yield m, value(add(e, n, column.at)), column

        def multiply(a: Value, b: Value, *ahead: Value, ask: Ask | None = None) -> list[Value]:
            return accumulate(e, plan, (a, b, *ahead), list(rows.values()), vectors, ask)

        if unit.quadrants is not None:
            rest = multiply, places, unit.finish, unit.fetch
            unit.quadrants.write(columns, tile, corner, unit.column, unit.batch, *rest)
            return
        inside = [run.live, *(d.extent for d in dims[plan.cut + 1 :])]
        tile_at = _Tile(plan, outer, start, n, inside, len(vectors))
        ask = partial(_ask, e, unit, tile_at) if unit.fetch else None
        if unit.parts is not None:
            unit.parts.multiply(a, unit.b, multiply, ask)
            _finish_parts(e, unit, tile_at, vectors)
            return
        sums = multiply(a, unit.b, ask=ask)
        for m, where, column in places():
            unit.finish(e, [sums.pop(0)], unit.batch, m, where, column.mask)

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
    assert unit.fetch is not None
    count = prod(tile.inside) * tile.vectors
    share = -(-count // turns)
    for k in range(share):
        place = low(e, add(e, mul(e, turn, share), k), count - 1)
        *row, vector = unravel(e, place, [*tile.inside, tile.vectors])
        n = add(e, tile.column, mul(e, vector, tile.plan.lanes))
        unit.fetch(e, unit.batch, _row_of(e, tile, row), value(n))


def _finish_parts(e: Emitter, unit: _Unit, tile: _Tile, vectors: list[Column]) -> None:
    """The epilogue of a tile whose sums lie in memory: a loop over rows and over equal vectors."""
    assert unit.parts is not None
    width = len(vectors)
    with e.loop(0, prod(tile.inside), hint="row") as rows:
        m = _row_of(e, tile, unravel(e, rows.index, tile.inside))
        first = mul(e, rows.index, width)
        for (lanes, _), equal in groupby(enumerate(vectors), lambda x: _form(x[1])):
            numbers = [number for number, _ in equal]
            with e.loop(numbers[0], numbers[-1] + 1, hint="vector") as loop:
                sums = unit.parts.sums(add(e, first, loop.index), lanes)
                n = add(e, tile.column, mul(e, loop.index, tile.plan.lanes))
                unit.finish(e, sums, unit.batch, m, value(n), vectors[numbers[0]].mask)


def _form(column: Column) -> tuple[int, str]:
    """Lanes and mask of a vector."""
    return column.lanes, column.mask.ref if column.mask is not None else ""


def _row_of(e: Emitter, tile: _Tile, inside: list[Index]) -> list[Value]:
    """The indices of the dims of m of a row of a tile."""
    first, *rest = inside
    return _m_indices(e, tile.plan, [*tile.outer, add(e, tile.start, first), *rest])


def _vectors(plan: Plan, run: Run) -> list[Column]:
    """The vectors that cover the live columns of a tile."""
    panel, lanes = plan.spec.panel, plan.lanes
    vectors = []
    for at in range(0, run.live, lanes):
        offset = at // panel * plan.spec.panel_stride + at % panel if panel else at
        live = min(lanes, run.live - at)
        width = live_lanes(live, lanes)
        mask = None if live == width else prefix_mask(live, width)
        vectors.append(Column(at, offset, width, mask))
    return vectors


def _m_indices(e: Emitter, plan: Plan, merged: list[Index]) -> list[Value]:
    """Indices of the dims of m as they were before merging."""
    indices: list[Index] = [0] * len(plan.spec.m)
    for index, (_, members) in zip(merged, plan.m, strict=True):
        extents = [plan.spec.m[i].extent for i in members]
        for i, digit in zip(members, unravel(e, index, extents), strict=True):
            indices[i] = digit
    return [value(i) for i in indices]
