"""Offsets in the arena.

They are given greedily, large values first, each at the lowest spot that is free during its life
(as in TFLite's and TVM's planners). Threads share most kernels by rows: of two, one writes the
first half of a value and the other one the rest. Where that half lay in the other thread's part of
an earlier value, it must be fetched from that thread's cache before it is written. So in arenas
that caches hold, values are put where their middles meet, if the arena grows by less than the bytes
that then change hands no more.
"""

from __future__ import annotations

import numpy as np

from ..program import Place
from .memory import ALIGN, Value, padded

CACHED = range(128 << 10, 32 << 20)  # bytes of an arena that only the caches of all threads hold
MOST = 256  # values, lest planning takes long
GROWTH = 4  # an arena grows by a quarter at most
CELLS = 256  # that an arena is cut into, to know whose they were


def lay_out(values: list[Value]) -> int:
    """Give every value a place in the arena; returns the size of the arena."""
    order = sorted(values, key=lambda v: -v.type.nbytes)
    table = np.array([(padded(v.type.nbytes), v.born, v.dies) for v in order], np.int64)
    table = table.reshape(-1, 3)
    offsets = _lowest(table)
    if arena_bytes(table, offsets) in CACHED and len(table) <= MOST:
        met = _meeting(table, arena_bytes(table, offsets))
        if met is not None:
            offsets = min((offsets, met), key=lambda o: _cost(table, o))
    for v, offset in zip(order, offsets.tolist(), strict=True):
        v.place = Place("arena", 0, offset)
    return arena_bytes(table, offsets)


def arena_bytes(table: np.ndarray, offsets: np.ndarray) -> int:
    """The size of an arena for rows (size, born, dies) at these offsets."""
    return int((offsets + table[:, 0]).max(initial=0))


def handed_over(table: np.ndarray, offsets: np.ndarray) -> int:
    """About how many bytes another half touches next, in a program that runs again and again.

    `table` has rows (size, born, dies).
    """
    owners = _Owners(arena_bytes(table, offsets), int(table[:, 2].max(initial=0)) + 1)
    for row, offset in zip(table.tolist(), offsets.tolist(), strict=True):
        owners.give(offset, *row)
    return owners.changes() * owners.cell


def _cost(table: np.ndarray, offsets: np.ndarray) -> int:
    return arena_bytes(table, offsets) + handed_over(table, offsets)


def _lowest(table: np.ndarray) -> np.ndarray:
    """The lowest free spot for each row (size, born, dies) of the table."""
    offsets = np.zeros(len(table), np.int64)
    for n in range(len(table)):
        offsets[n] = _first_gap(*_near(table, offsets, n), int(table[n, 0]))
    return offsets


def _meeting(table: np.ndarray, total: int) -> np.ndarray | None:
    """Spots where middles meet, where `total` bytes would do; None where there is no room."""
    offsets, limit = np.zeros(len(table), np.int64), total + total // GROWTH
    owners = _Owners(limit, int(table[:, 2].max()) + 1)
    for n, (size, born, dies) in enumerate(table.tolist()):
        begin, end = _near(table, offsets, n)
        others, sizes = offsets[:n], table[:n, 0]
        middles = (others + sizes // 2 - size // 2) // ALIGN * ALIGN
        spots = _distinct(np.concatenate([[0], others + sizes, others - size, middles]))
        spots = spots[(spots >= 0) & (spots + size <= limit)]
        taken = (spots[:, None] < end) & (spots[:, None] + size > begin)
        spots = spots[~taken.any(1)]
        if not len(spots):
            return None
        grown = np.maximum(spots + size - total, 0)
        cost = grown + owners.conflicts(spots, size, born, dies)
        offsets[n] = spots[np.argmin(cost)]
        total = max(total, int(offsets[n]) + size)
        owners.give(int(offsets[n]), size, born, dies)
    return offsets


def _distinct(numbers: np.ndarray) -> np.ndarray:
    """Sorted, each once. `np.unique` would load numpy.ma, which takes longer than all of this."""
    numbers = np.sort(numbers)
    return numbers[np.append(True, numbers[1:] != numbers[:-1])]


class _Owners:
    """Which half of a value each cell of the arena holds at each step; 0 where none."""

    def __init__(self, size: int, steps: int):
        self.cell = max(-(-size // CELLS), ALIGN)
        self.halves = np.zeros((steps, CELLS), np.int8)

    def give(self, offset: int, size: int, born: int, dies: int) -> None:
        """Note that a value lies at `offset` from step `born` to `dies`."""
        begin, middle, end = (round(x / self.cell) for x in _thirds(offset, size))
        self.halves[born : dies + 1, begin:middle] = 1
        self.halves[born : dies + 1, middle:end] = 2

    def conflicts(self, spots: np.ndarray, size: int, born: int, dies: int) -> np.ndarray:
        """Bytes whose last or next holder is another half, were the value at one of these spots."""
        around = np.concatenate([self.halves[dies + 1 :], self.halves[:born]])
        if not len(around):
            return np.zeros(len(spots))
        after, before = _first(around), _first(around[::-1])
        begin, middle, end = (np.rint(x / self.cell).astype(int) for x in _thirds(spots, size))
        cells = np.zeros(len(spots), int)
        for half, low, high in ((1, middle, end), (2, begin, middle)):
            total = np.cumsum((after == half) * 1 + (before == half))
            total = np.concatenate([[0], total])
            cells += total[np.minimum(high, CELLS)] - total[np.minimum(low, CELLS)]
        return cells * self.cell

    def changes(self) -> int:
        """How often cells go from one half to another."""
        last, count = _first(self.halves[::-1]), 0
        for row in self.halves:
            count += int(((row > 0) & (last > 0) & (row != last)).sum())
            last = np.where(row > 0, row, last)
        return count


def _thirds(offset, size: int):
    """Where a value begins, where its second half does, and where it ends."""
    return offset, offset + size // 2, offset + size


def _first(rows: np.ndarray) -> np.ndarray:
    """The first number of each column that is not zero, 0 without one."""
    return rows[(rows > 0).argmax(0), np.arange(rows.shape[1])]


def _near(table: np.ndarray, offsets: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Begin and end of those placed before number n that live when it does."""
    size, born, dies = table[:n].T
    lives = (born <= table[n, 2]) & (dies >= table[n, 1])
    return offsets[:n][lives], (offsets[:n] + size)[lives]


def _first_gap(begin: np.ndarray, end: np.ndarray, size: int) -> int:
    """The lowest offset at which `size` bytes overlap none of the intervals."""
    if not len(begin):
        return 0
    order = np.argsort(begin, kind="stable")
    begin, end = begin[order], np.maximum.accumulate(end[order])
    before = np.concatenate([[0], end[:-1]])  # where the interval in front of each one ends
    fits = np.flatnonzero(begin - before >= size)
    return int(before[fits[0]]) if len(fits) else int(end[-1])
