"""Costly values that several loops of one row need are computed once and kept in a row of scratch.

    y[i] = exp(x[i]) / sum_{r} exp(x[r])    ->    t[i] = exp(x[i]);  y[i] = t[i] / sum_{r} t[r]

The loops of a reduction and the loops of the results are recognized as the same row by their
extents; the scratch is on the stack of the thread that computes the row.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from math import prod

from nncomp.ir.collapse import Rebuilder
from nncomp.ir.cost import scalar_cost
from nncomp.ir.index import Index, Var, linear
from nncomp.ir.kernel_builder import KernelBuilder
from nncomp.ir.loops import ArgReduce, Buffer, Call, Expr, Reduce, Store, roots_of, walk
from nncomp.ir.types import TensorType, float32

from .schedule import Schedule

COSTLY = 15  # instructions from which on a value is worth a store and a load
MOST, FEWEST = 8192, 16  # elements of a scratch row


def with_scratch(schedule: Schedule) -> Schedule:
    """The schedule with its repeated costly row values in scratch; itself if it has none."""
    loops = schedule.loops
    if schedule.lane not in loops or not FEWEST <= prod(v.extent for v in loops) <= MOST:
        return schedule
    k = KernelBuilder()
    same = Rebuilder(k, {})
    stores = tuple(map(same.store, schedule.stores))
    inner = {id(x): x for r in _row_reductions(stores, schedule) for x in walk([r.body])}
    uses = _Uses(k, loops)
    uses.add([x for x in _beside(stores) if id(x) not in inner])
    for r in _row_reductions(stores, schedule):
        uses.add(walk([r.body]), r)
    chosen = uses.repeated()
    return replace(schedule, **uses.replaced(chosen, stores)) if chosen else schedule


def _row_reductions(stores: Iterable[Store], schedule: Schedule) -> list[Reduce]:
    """Those that are computed once per row, over loops like those of the results."""
    extents, rows = [v.extent for v in schedule.loops], set(schedule.rows)
    return [
        x
        for x in walk(roots_of(stores))
        if isinstance(x, Reduce) and x.vars <= rows and [v.extent for v in x.loops] == extents
    ]


def _beside(stores: Iterable[Store]) -> list[Expr]:
    """What the stores compute outside of reductions."""
    found: dict[int, Expr] = {}
    stack = list(roots_of(stores))
    while stack:
        x = stack.pop()
        if id(x) not in found:
            found[id(x)] = x
            stack.extend(() if isinstance(x, (Reduce, ArgReduce)) else x.operands)
    return list(found.values())


class _Uses:
    """In which loops of a row the same value is needed; `loops` are those of the results.

    A value of a reduction's loops is known by its twin: the same over `loops`.
    """

    def __init__(self, k: KernelBuilder, loops: tuple[Var, ...]):
        self.k, self.loops = k, loops
        self.twins: dict[int, tuple[Expr, dict[int, tuple[Expr, tuple[Var, ...]]]]] = {}

    def add(self, exprs: list[Expr], reduction: Reduce | None = None) -> None:
        """Note the costly ones of `exprs`, operands first."""
        own = reduction.loops if reduction else self.loops
        pairs = zip(own, self.loops, strict=True) if reduction else ()
        rename = Rebuilder(self.k, {v: Index.of(w) for v, w in pairs})
        costs: dict[int, int] = {}
        for x in exprs:
            if isinstance(x, Call) and x.vars & set(own) and self._cost(x, own, costs) >= COSTLY:
                twin = rename.free(x)
                _, uses = self.twins.setdefault(id(twin), (twin, {}))
                uses[id(x)] = (x, own)

    def _cost(self, x: Expr, own, costs: dict[int, int]) -> int:
        """Instructions per element of the row to compute x."""
        if id(x) not in costs:
            inside = [y for y in walk([x]) if isinstance(y, Call) and y.vars & set(own)]
            costs[id(x)] = sum(scalar_cost(y.name) for y in inside)
        return costs[id(x)]

    def repeated(self) -> list[Expr]:
        """The largest values that are needed in two loops or more, operands first."""
        found: list[Expr] = []
        covered: set[int] = set()
        sizes = {i: len(walk([twin])) for i, (twin, _) in self.twins.items()}
        for i in sorted(self.twins, key=lambda i: -sizes[i]):
            twin, uses = self.twins[i]
            if len(uses) > 1 and i not in covered:
                found.append(twin)
                covered.update(id(y) for y in walk([twin]))
        return sorted(found, key=lambda twin: sizes[id(twin)])

    def replaced(self, chosen: list[Expr], stores: tuple[Store, ...]) -> dict:
        """`scratch` and `stores` of the schedule in which the chosen values are read from rows."""
        loads: dict[int, Expr] = {}
        scratch = []
        extents = tuple(v.extent for v in self.loops)
        for number, twin in enumerate(chosen):
            dtype = float32 if twin.dtype.itemsize == 2 and twin.dtype.kind == "f" else twin.dtype
            row = Buffer(f"t{number}", -1 - number, TensorType(extents, dtype))
            use = Rebuilder(self.k, {})
            use.instead = dict(loads)
            position = tuple(map(Index.of, self.loops))
            scratch.append(Store(row, linear(position, extents), use.value(twin)))
            for x, own in self.twins[id(twin)][1].values():
                loads[id(x)] = self.k.load(row, tuple(map(Index.of, own)))
        final = Rebuilder(self.k, {})
        final.instead = loads
        return dict(scratch=tuple(scratch), stores=tuple(map(final.store, stores)))


