"""Grouping the tiles of a contraction into units of work for threads.

A unit is a block of row tiles times a block of column tiles. Units are numbered so that a block of
the larger operand stays in the second-level cache while the other operand streams by; block sizes
near the ones that this asks for are tried, and those win that give threads equal shares (thread t
of n takes units t*units/n to (t+1)*units/n). Kernels around this one share rows, so where columns
are numbered outside, threads read and write what lies in each other's caches: that counts too.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .contract import Plan, Run

CACHE = 384 * 1024  # bytes of one operand to keep in the second-level cache
UNIT_NS, SMALL_UNIT_NS, MANY = 25_000, 4_000, 16  # wished time of a unit, its floor; unit count
UNIT_COST = 100.0  # nanoseconds of a unit besides its tiles
FETCH_NS = 0.01  # of a byte from behind the second-level cache, mostly hidden by the work
LOOPED_NS = 0.0005  # the same in a loop, where the third-level cache has it from the turn before
CROSS_NS = 0.22  # of a byte that another thread wrote: 0.02 in a shared cache, 0.3 from a far one
SECOND_CACHE = 1 << 20  # bytes that the second-level cache of a core holds, or less
AGAIN_NS = 0.02  # of a byte that comes again and again, from a block larger than that
NOTABLE = 0.04  # share of the time from which on that decides
MANY_UNITS = 8192  # of that many, one more or less makes no difference
THREADS = (2, 3, 4, 8)  # teams to be fair to, the first one above all
WEIGHTS = (1.0, 0.3, 0.3, 0.3)
# Where the shares of each team end, 0 to n of n, all teams in one array; where each team begins.
_TURN = np.concatenate([np.arange(n + 1) for n in THREADS])
_OF = np.repeat(THREADS, [n + 1 for n in THREADS])
_TEAM = np.cumsum([0, *(n + 1 for n in THREADS[:-1])])
SAME = 1e-9  # a difference between losses that may be rounding


@dataclass(frozen=True)
class _Side:
    """The tiles along rows or along columns: how much work each is, and its bytes."""

    work: np.ndarray
    bytes: int

    @property
    def count(self) -> int:
        return len(self.work)

    def blocks(self, size: int) -> np.ndarray:
        """The work of each block of at most `size` tiles."""
        return np.add.reduceat(self.work, starts(self.count, size))


def starts(count: int, size: int) -> np.ndarray:
    """Where the blocks of `count` tiles begin: as few as there can be of at most `size`, evenly."""
    blocks = -(-count // size)
    return np.arange(blocks) * count // blocks


def cut_units(plan: Plan) -> Plan:
    """The plan with its units and its time; everything else is decided."""
    rows = _Side(_work(plan.row_runs, plan.lines), plan.row_bytes)
    columns = _Side(_work(plan.column_runs, 1), plan.column_bytes)
    batches = math.prod(d.extent for d in plan.spec.batch)
    total_ns = plan.tile_nanoseconds * rows.count * columns.count * batches
    rows_are_larger = rows.bytes * rows.count >= columns.bytes * columns.count
    crossing = _crossing_ns(plan) / total_ns
    fetch = LOOPED_NS if plan.spec.looped else FETCH_NS
    best: tuple[float, int, int, bool] | None = None
    orders = (False, True) if crossing > NOTABLE else (False,)
    for rows_outer in (True,) if rows_are_larger else orders:
        outer, inner = (rows, columns) if rows_outer else (columns, rows)
        choices = list(_choices(outer, inner, plan.tile_nanoseconds, total_ns))
        if rows_outer and crossing > NOTABLE:  # few blocks of rows, lest columns come often
            choices += _few_blocks(rows.count, columns.count)
        for kept, streamed in choices:
            loss = _overhead(outer, inner, kept, streamed, batches, total_ns, fetch)
            row_blocks = -(-rows.count // kept) if rows_outer else 1
            if rows_outer and not plan.spec.looped:
                loss += AGAIN_NS * _read_again(plan, rows, kept, columns) / total_ns
            shared = 0.0
            if batches == 1 and row_blocks % 2:  # two threads share the middle block's columns
                shared = crossing / row_blocks
            if best is not None and loss + shared > best[0] + SAME:
                continue
            loss = _unequal(outer, inner, kept, streamed, batches, loss) + shared
            if best is None or loss < best[0]:
                best = loss, kept, streamed, rows_outer
    assert best is not None
    loss, kept, streamed, rows_outer = best
    row_block, column_block = (kept, streamed) if rows_outer else (streamed, kept)
    blocks = -(-rows.count // row_block) * -(-columns.count // column_block)
    return replace(
        plan,
        row_block=row_block,
        column_block=column_block,
        rows_outer=rows_outer,
        units=batches * blocks,
        nanoseconds=total_ns,
        loss=loss,
    )


def _read_again(plan: Plan, rows: _Side, kept: int, columns: _Side) -> float:
    """Bytes of a that come from far for every column tile but the first one, where a block of
    `kept` row tiles does not stay in the second-level cache.
    """
    all_rows = min(rows.bytes * rows.count, 4 * _span(plan))
    block = all_rows * kept / rows.count
    return all_rows * (columns.count - 1) if block + columns.bytes > SECOND_CACHE else 0.0


def _span(plan: Plan) -> int:
    """Elements of a from the first one that is read to the last one."""
    spec = plan.spec
    return 1 + sum((d.extent - 1) * abs(d.a) for d in (*spec.m, *spec.k))


def _crossing_ns(plan: Plan) -> float:
    """Time for what crosses from thread to thread where two of them share the columns of one
    product and the kernels around it share rows: half of all that is read and written.
    """
    spec = plan.spec
    return CROSS_NS * 4 * (_span(plan) + spec.rows * spec.n) / 2


def _work(runs: tuple[Run, ...], lines: int) -> np.ndarray:
    """Elements of each tile along one side."""
    return np.concatenate([np.full(run.count * lines, float(run.live)) for run in runs])


def _choices(
    outer: _Side, inner: _Side, tile_ns: float, total_ns: float
) -> Iterator[tuple[int, int]]:
    """Blocks (outer, inner) to choose from, the ones wished for first."""
    wished = min(UNIT_NS, max(SMALL_UNIT_NS, total_ns / MANY))
    tiles = max(1, int(wished / tile_ns))
    kept = max(1, min(outer.count, CACHE // max(outer.bytes, 1)))
    if total_ns < 4 * MANY * UNIT_NS:  # short: balance before reuse
        kept = min(kept, tiles)
    for k in _sizes(outer.count, kept):
        for s in _sizes(inner.count, max(1, tiles // k)):
            yield k, s


def _few_blocks(rows: int, columns: int) -> list[tuple[int, int]]:
    """Two, four or eight blocks of rows, where there are units enough for many threads."""
    counts = [n for n in (2, 4, 8) if n <= rows and n * columns >= MANY]
    return [(-(-rows // n), 1) for n in counts]


def _sizes(count: int, wished: int) -> list[int]:
    """Block sizes from half of the wished one up to it, the least for each number of blocks."""
    fewest = -(-count // min(wished, count))
    most = min(2 * fewest + 1, count)
    return list(dict.fromkeys(-(-count // n) for n in range(fewest, most + 1)))


def _overhead(
    outer: _Side, inner: _Side, kept: int, streamed: int, batches: int, total_ns: float,
    fetch: float,
) -> float:  # fmt: skip
    """The share of time lost to units and to fetching the inner side again."""
    blocks = -(-outer.count // kept), -(-inner.count // streamed)
    units = batches * blocks[0] * blocks[1]
    fetched = batches * blocks[0] * inner.bytes * inner.count
    return (units * UNIT_COST + fetched * fetch) / total_ns


def _unequal(
    outer: _Side, inner: _Side, kept: int, streamed: int, batches: int, lost: float
) -> float:
    """`lost` and the share of time lost to unequal shares."""
    units = batches * -(-outer.count // kept) * -(-inner.count // streamed)
    if units >= MANY_UNITS:
        return lost
    work = np.multiply.outer(outer.blocks(kept), inner.blocks(streamed)).ravel()
    ends = np.zeros(units + 1)
    np.cumsum(work if batches == 1 else np.tile(work, batches), out=ends[1:])
    at = ends[_TURN * units // _OF]
    largest = np.maximum.reduceat(at[1:] - at[:-1], _TEAM).tolist()
    for weight, n, share in zip(WEIGHTS, THREADS, largest, strict=True):
        lost += weight * (share * n / float(ends[-1]) - 1)
    return lost
