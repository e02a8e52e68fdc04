"""Which threads compute what in a map kernel: chosen from its loops and reductions.

    elements  a thread per element of the domain (a few neighbours where memory allows it);
              reductions that an element needs are serial in its thread
    rows      a group of threads (part of a warp, a warp, a block) per row: reductions are shared
              by the group, then it writes the elements of the row
    columns   a block for 32 neighbouring results: its rows of threads share the reduction

The choice depends on shapes alone, so results are the same on every device and at every run.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from nncomp.ir.index import Var
from nncomp.ir.loops import ArgReduce, Kernel, Load, Reduce, Store, roots_of, walk

from ..schedule import Schedule, make_schedule

FEW = 16  # terms that one thread adds up without help
BUSY = 1 << 15  # results that keep a GPU busy with a thread each
COLUMNS = 32  # neighbouring results of a block


@dataclass(frozen=True)
class GpuSchedule:
    """`rows` are spread over groups, `loops` are the elements of a row; `group` threads per row.

    `kind` is elements, rows or columns; `lane` the loop whose neighbours lie side by side.
    """

    kind: str
    rows: tuple[Var, ...]
    loops: tuple[Var, ...]
    lane: Var | None
    stores: tuple[Store, ...]
    group: int = 1

    @property
    def count(self) -> int:
        """How many rows there are."""
        return prod(v.extent for v in self.rows)


def choose(kernel: Kernel) -> GpuSchedule:
    """The schedule of a map kernel that writes something."""
    s = make_schedule(kernel)
    shared = (*s.rows, *((s.lane,) if s.lane and s.lane in s.loops[:1] and _leads(s) else ()))
    inner = tuple(v for v in s.loops if v not in shared)
    terms = _terms(s.stores, frozenset(shared))
    if inner and (terms > 1 or _uneven(s.stores, shared, inner)):
        width = max(terms, prod(v.extent for v in inner))
        return GpuSchedule("rows", shared, inner, s.lane, s.stores, _group(width))
    order = (*shared, *inner)
    count = prod(v.extent for v in order)
    if terms > FEW and (s.lane is None or count == 1):
        return GpuSchedule("rows", order, (), None, s.stores, _group(terms))
    if terms > FEW and count < BUSY and s.lane is not None:
        order = (*(v for v in order if v != s.lane), s.lane)
        return GpuSchedule("columns", order, (), s.lane, s.stores, _parts(count, terms))
    if s.lane in order:
        order = (*(v for v in order if v != s.lane), s.lane)
    return GpuSchedule("elements", order, (), s.lane, s.stores)


def _leads(s: Schedule) -> bool:
    """Whether the lane loop is one that every result and reduction depends on."""
    return bool(s.chunk)


def _uneven(stores, shared, inner) -> bool:
    """Whether some result depends on a part of the inner loops only."""
    whole = frozenset((*shared, *inner))
    return any(not whole <= x.vars for x in stores)


def _terms(stores, shared: frozenset[Var]) -> int:
    """The longest reduction that is computed once for the loops `shared`."""
    found = [x for x in walk(roots_of(stores)) if isinstance(x, (Reduce, ArgReduce))]
    return max((extent(x) for x in found if x.vars <= shared), default=1)


def extent(x: Reduce | ArgReduce) -> int:
    """How many terms a reduction has."""
    return prod(v.extent for v in x.loops) if isinstance(x, Reduce) else x.loop.extent


def _group(width: int) -> int:
    """Threads for a row of this many elements."""
    if width <= 1024:
        group = 1
        while group < 32 and group * 2 < width:
            group *= 2
        return group
    return 128 if width <= 4096 else 256 if width <= 8192 else 512


def _parts(count: int, terms: int) -> int:
    """Rows of threads that share the terms of a block's results."""
    parts = 1
    while parts < 32 and parts * 8 < terms and parts * count < 4 * BUSY:
        parts *= 2
    return parts


def loads_of(stores) -> list[Load]:
    """Every read of the stores."""
    return [x for x in walk(roots_of(stores)) if isinstance(x, Load)]
