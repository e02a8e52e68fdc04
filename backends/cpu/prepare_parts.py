"""Packing weights part by part, so that each can be let go before the next one is packed.

The steps of a prepare program are cut where a few megabytes of results are complete. Each part is
a function of its own, `part_0`, `part_1`, ..., on the table and the arena of the whole program.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from nncomp.ir.program import LoopStep, Program, Step

from .pool import get_pool
from .threads import get_num_threads

LEAST, MOST = 4 << 20, 32  # bytes of results in a part; parts
LARGE = 1 << 20  # bytes of an arena that is not kept for the next time

Item = Step | LoopStep


def cut(program: Program) -> list[tuple[Item, ...]]:
    """The steps of a program in parts; none if one would hold them all."""
    written = [_written(item) for item in program.steps]
    size = max(LEAST, sum(written) // MOST)
    parts: list[list[Item]] = [[]]
    full = 0
    for item, nbytes in zip(program.steps, written, strict=True):
        if full >= size:
            parts.append([])
            full = 0
        parts[-1].append(item)
        full += nbytes
    return [tuple(part) for part in parts] if len(parts) > 1 else []


def _written(item: Item) -> int:
    return sum(size for place, size in item.writes if place.base == "out")


def read_last(parts: Sequence[Sequence[Item]], inputs: int) -> tuple[tuple[int, ...], ...]:
    """For each part the inputs that no later one touches (those never touched: the first)."""
    last = dict.fromkeys(range(inputs), 0)
    for number, part in enumerate(parts):
        for i in touched(part):
            last[i] = number
    return tuple(
        tuple(i for i, at in last.items() if at == number) for number in range(len(parts))
    )


def touched(items: Sequence[Item]) -> set[int]:
    """Numbers of the inputs that steps read or write."""
    places = (p for item in items for p, _ in (*item.reads, *item.writes))
    return {p.index for p in places if p.base == "in"}


def run_parts(
    executable: Any, arrays: list, parts: int, done: Callable[[int, list[np.ndarray]], None]
) -> list[np.ndarray]:
    """The results of a prepare program; `done(part, results)` is told of each part.

    `arrays` may lose what no later part reads: the program has their addresses.
    """
    frame = executable.take_frame()
    results = executable.new_results()
    executable.point(frame, arrays, results)
    count = get_num_threads() if executable.is_parallel else 1
    for part in range(parts):
        get_pool().run(executable.library.address(f"part_{part}"), frame.address, count)
        done(part, results)
    if executable.program.arena < LARGE:
        executable.give_back(frame)
    return results
