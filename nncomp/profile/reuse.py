"""How far back a kernel's data were last touched, which says from which memory they come.

A program is run again and again, so its steps form a ring; the turns of a loop form one too. What
was touched since an operand's last use, in bytes, tells the nearest cache that can still hold it.
Weights of a large net are thus far away, although each alone would fit a cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..ir.program import Place, Step


class Touch(NamedTuple):
    """Bytes that a step reads or writes at a place."""

    place: Place
    size: int  # of the whole value
    moved: int


class Event(NamedTuple):
    """A step: its touches and the loops around it."""

    touches: tuple[Touch, ...]
    loops: tuple[int, ...]

    @property
    def moved(self) -> int:
        return sum(t.moved for t in self.touches)


def event_of(step: Step, moved: Sequence[int], loops: tuple[int, ...]) -> Event:
    """The event of a step, given what moves of each of its buffers."""
    rows = zip(step.places, step.sizes, moved, strict=True)
    return Event(tuple(Touch(*row) for row in rows), loops)


def distances(events: Sequence[Event]) -> list[list[int]]:
    """For each touch of each event: bytes touched since the last touch of the same memory.

    The event itself counts, the one before does not; at most everything that the program touches.
    """
    everything = _footprint(events)
    order = _unrolled(events)
    seen: dict[int, list[int]] = {}
    for at in range(len(order)):
        number = order[at]
        seen[number] = [
            min(_distance(events, order, at, touch), everything) for touch in events[number].touches
        ]
    return [seen[i] for i in range(len(events))]


def _unrolled(events: Sequence[Event]) -> list[int]:
    """Event numbers of two runs, in each of which loops turn twice; the last of each counts."""

    def ring(first: int, last: int, depth: int) -> list[int]:
        out, i = [], first
        while i < last:
            loops = events[i].loops[depth:]
            if not loops:
                out.append(i)
                i += 1
                continue
            end = i
            while end < last and events[end].loops[depth : depth + 1] == loops[:1]:
                end += 1
            out += ring(i, end, depth + 1) * 2
            i = end
        return out

    return ring(0, len(events), 0) * 2


def _distance(events: Sequence[Event], order: list[int], at: int, touch: Touch) -> int:
    here = events[order[at]]
    total = here.moved
    for back in range(at - 1, -1, -1):
        event = events[order[back]]
        if any(_same_memory(touch, other, here, event) for other in event.touches):
            break
        total += event.moved
    return total


def _same_memory(a: Touch, b: Touch, here: Event, there: Event) -> bool:
    p, q = a.place, b.place
    if (p.base, p.index) != (q.base, q.index):
        return False
    if p.strides or q.strides:
        if p.strides and q.strides and here.loops == there.loops:
            return False  # another turn walks another slice
        return q.strides != p.strides
    return p.offset < q.offset + b.size and q.offset < p.offset + a.size


def _footprint(events: Sequence[Event]) -> int:
    """Bytes of all memory that is touched; stacked values count one slice."""
    spans: dict[tuple[str, int], list[tuple[int, int]]] = {}
    for event in events:
        for t in event.touches:
            begin = t.place.offset
            spans.setdefault((t.place.base, t.place.index), []).append((begin, begin + t.moved))
    total = 0
    for parts in spans.values():
        reach = -1
        for begin, end in sorted(parts):
            total += max(end - max(begin, reach), 0)
            reach = max(reach, end)
    return total
