"""Offsets in the arena.

They are given greedily, large values first, each at the lowest spot that is free during its life
(as in TFLite's and TVM's planners). Threads share most kernels by rows: of two, one writes the
first half of a value and the other one the rest. Where that half lay in the other thread's part of
an earlier value, it must be fetched from that thread's cache before it is written. So in arenas
that caches hold, values are put where their middles meet, if the arena stays nearly as small.
"""

from __future__ import annotations

import numpy as np

from ..program import Place
from .memory import ALIGN, Value, padded

CACHED = 32 << 20  # bytes of an arena of which caches may still hold what was written long ago
SLACK = 16  # the share of an arena that meeting middles may cost
CANDIDATES = 64


def lay_out(values: list[Value]) -> int:
    """Give every value a place in the arena; returns the size of the arena."""
    order = sorted(values, key=lambda v: -v.type.nbytes)
    table = np.array([(padded(v.type.nbytes), v.born, v.dies) for v in order], np.int64)
    table = table.reshape(-1, 3)
    offsets = _lowest(table)
    total = int((offsets + table[:, 0]).max(initial=0))
    if total <= CACHED:
        met = _middles(table, total + total // SLACK)
        if met is not None and _distant(table, met) < _distant(table, offsets):
            offsets, total = met, int((met + table[:, 0]).max(initial=0))
    for v, offset in zip(order, offsets.tolist(), strict=True):
        v.place = Place("arena", 0, offset)
    return total


def _lowest(table: np.ndarray) -> np.ndarray:
    """The lowest free spot for each row (size, born, dies) of the table."""
    offsets = np.zeros(len(table), np.int64)
    for n in range(len(table)):
        begin, end = _near(table, offsets, n)
        offsets[n] = _first_gap(begin, end, int(table[n, 0]))
    return offsets


def _middles(table: np.ndarray, limit: int) -> np.ndarray | None:
    """Spots where middles meet, all below `limit`; None where a value finds no room there."""
    offsets = np.zeros(len(table), np.int64)
    for n in range(len(table)):
        size = int(table[n, 0])
        begin, end = _near(table, offsets, n)
        middles = offsets[:n] + table[:n, 0] // 2 - size // 2
        wanted = np.concatenate([end, begin - size, middles // ALIGN * ALIGN])
        spots = np.unique(wanted[(wanted >= 0) & (wanted + size <= limit)])
        taken = (spots[:, None] < end) & (spots[:, None] + size > begin)
        spots = np.append(_first_gap(begin, end, size), spots[~taken.any(1)][:CANDIDATES])
        costs = _costs(table[:n], offsets[:n], table[n], spots, int(table[:, 2].max()) + 1)
        offsets[n] = spots[np.argmin(costs)]
        if offsets[n] + size > limit:
            return None
    return offsets


def _near(table: np.ndarray, offsets: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Begin and end of those placed before number n that live when it does."""
    size, born, dies = table[:n].T
    lives = (born <= table[n, 2]) & (dies >= table[n, 1])
    return offsets[:n][lives], (offsets[:n] + size)[lives]


def _distant(table: np.ndarray, offsets: np.ndarray) -> float:
    """The cost of a layout: that of each value beside those placed before it."""
    steps = int(table[:, 2].max(initial=0)) + 1
    costs = (
        _costs(table[:n], offsets[:n], table[n], offsets[n : n + 1], steps)[0]
        for n in range(len(table))
    )
    return float(sum(costs))


def _costs(
    placed: np.ndarray, offsets: np.ndarray, row: np.ndarray, spots: np.ndarray, steps: int
) -> np.ndarray:
    """For each spot, the bytes that one half of the value shares with the other half of another.

    Those of values a few steps before or after it, in a program that runs again and again, count
    most: what comes between touches the bytes as well.
    """
    size, born, dies = row
    sizes, births, deaths = placed.T
    gap = np.minimum((births - dies) % steps, (born - deaths) % steps)
    weight = 1 / np.maximum(gap, 1)
    spots = spots[:, None]
    middles, middle = offsets + sizes // 2, spots + size // 2
    first = _common(spots, middle, middles, offsets + sizes)
    second = _common(middle, spots + size, offsets, middles)
    return ((first + second) * weight).sum(1)


def _common(begin: np.ndarray, end: np.ndarray, other: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Bytes that begin..end has in common with other..last."""
    return np.maximum(np.minimum(end, last) - np.maximum(begin, other), 0)


def _first_gap(begin: np.ndarray, end: np.ndarray, size: int) -> int:
    """The lowest offset at which `size` bytes overlap none of the intervals."""
    if not len(begin):
        return 0
    order = np.argsort(begin, kind="stable")
    begin, end = begin[order], np.maximum.accumulate(end[order])
    before = np.concatenate([[0], end[:-1]])  # where the interval in front of each one ends
    fits = np.flatnonzero(begin - before >= size)
    return int(before[fits[0]]) if len(fits) else int(end[-1])
