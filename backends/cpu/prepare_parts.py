"""Packing weights part by part, so that each can be let go before the next one is packed.

The steps of a prepare program are cut where a few megabytes of results are complete. Each part is
a function of its own, `part_0`, `part_1`, ..., on the table and the arena of the whole program.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from nncomp.ir.program import LoopStep, Program, Step

from .moved_pages import MovedPages
from .pages import give_back
from .pool import get_pool
from .threads import get_num_threads

LEAST, MOST = 4 << 20, 32  # bytes of results in a part; parts
LARGE = 1 << 20  # bytes of an arena that is not kept from part to part

Item = Step | LoopStep


def cut(program: Program) -> list[tuple[Item, ...]]:
    """The steps of a program in parts; none if one would hold them all.

    What only takes the
    place of inputs goes first: afterwards they need not be there any more, when results that are
    larger than what they are made from ask for memory. Of these, what needs most goes first.
    """
    if any(isinstance(item, LoopStep) for item in program.steps):
        return []
    groups = sorted(_groups(program.steps), key=lambda g: (not _takes_the_place(g), -_arena(g)))
    written = [sum(map(_written, group)) for group in groups]
    size = max(LEAST, sum(written) // MOST)
    parts: list[list[Item]] = [[]]
    full = 0
    for group, nbytes in zip(groups, written, strict=True):
        if full >= size:
            parts.append([])
            full = 0
        parts[-1] += group
        full += nbytes
    return [tuple(part) for part in parts] if len(parts) > 1 else []


def _groups(steps: Sequence[Item]) -> list[list[Item]]:
    """The steps with those that they get values from or give them to, in their order.

    One group after the other is as good as any other order: each finds in the arena only what it
    has put there itself.
    """
    group = list(range(len(steps)))
    written: dict[tuple[str, int], list[tuple[int, int, int]]] = {}  # step, from byte, to byte
    for number, step in enumerate(steps):
        for place, size in step.reads:
            rows = written.get((place.base, place.index), [])
            for writer in _writers(rows, place.offset, place.offset + size):
                old, new = group[writer], group[number]
                group = [new if one == old else one for one in group]
        for place, size in step.writes:
            row = (number, place.offset, place.offset + size)
            written.setdefault((place.base, place.index), []).append(row)
    members: dict[int, list[Item]] = {}
    for number, step in zip(group, steps, strict=True):
        members.setdefault(number, []).append(step)
    return list(members.values())


def _writers(rows: Sequence[tuple[int, int, int]], start: int, end: int) -> Iterator[int]:
    """The steps whose results are there to be read in a range of bytes, the latest first."""
    missing = [(start, end)]
    for number, low, high in reversed(rows):
        if any(a < high and low < b for a, b in missing):
            yield number
            cuts = [((a, min(b, low)), (max(a, high), b)) for a, b in missing]
            missing = [(a, b) for pair in cuts for a, b in pair if a < b]
            if not missing:
                return


def _takes_the_place(group: Sequence[Item]) -> bool:
    """Whether the results are not larger than the inputs that they are made of."""
    read = {(p.index, n) for item in group for p, n in item.reads if p.base == "in"}
    return sum(map(_written, group)) <= 1.1 * sum(n for _, n in read)


def _arena(group: Sequence[Item]) -> int:
    """How far into the arena the steps go."""
    places = ((p, n) for item in group for p, n in (*item.reads, *item.writes))
    return max((p.offset + n for p, n in places if p.base == "arena"), default=0)


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


def first_written(parts: Sequence[Sequence[Item]]) -> tuple[tuple[int, ...], ...]:
    """For each part the results that it is the first to write."""
    known: set[int] = set()
    found = []
    for part in parts:
        places = (place for item in part for place, _ in item.writes)
        new = {place.index for place in places if place.base == "out"} - known
        known |= new
        found.append(tuple(sorted(new)))
    return tuple(found)


def run_parts(
    executable: Any,
    arrays: list,
    written: Sequence[Sequence[int]],
    done: Callable[[int, list[np.ndarray], Callable[[np.ndarray], None]], None],
) -> list[np.ndarray]:
    """The results of a prepare program; `done(part, results, give_up)` is told of each part.

    `arrays` may lose what no later part reads: the program has their addresses. `give_up(array)`
    takes the memory of one, for results that later parts write; `written` are those of each part.
    """
    frame = executable.take_frame()
    results = executable.new_results()
    executable.point(frame, arrays, results)
    pages = MovedPages(results, written)
    count = get_num_threads() if executable.is_parallel else 1
    for part in range(len(written)):
        pages.begin(part)
        get_pool().run(executable.library.address(f"part_{part}"), frame.address, count)
        if executable.program.arena >= LARGE:
            give_back(frame.arena)
        done(part, results, pages.take)
    if executable.program.arena < LARGE:
        executable.give_back(frame)
    return results
