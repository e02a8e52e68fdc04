"""Code for map kernels: every store at every point of a loop domain, reductions inside.

    define void @k(ptr %b0, ptr %b1, i64 %begin, i64 %end)    ; units begin..end of `units`
"""

from __future__ import annotations

from nncomp.ir.index import Var
from nncomp.ir.loops import Kernel, Reduce, Store, roots_of, walk

from .arg_reductions import ArgExpressions
from .expressions import Isa, Lanes
from .llvm import Emitter, Value
from .memory import store
from .reductions import lane_count, prefix_mask
from .row_scratch import with_scratch
from .scalar import memory_type
from .schedule import Schedule, make_schedule

UNROLL = 2  # vectors per turn of the lane loop
REDUCING = 8  # the same around reductions: their rows are read in longer runs


class MapKernel(ArgExpressions):
    """Writes one map kernel."""

    def __init__(self, e: Emitter, kernel: Kernel, isa: Isa):
        super().__init__(e, kernel, isa)
        self.schedule: Schedule = with_scratch(make_schedule(kernel))
        every = (*self.schedule.scratch, *self.schedule.stores)
        self.reductions = [x for x in walk(roots_of(every)) if isinstance(x, Reduce)]

    def write(self) -> None:
        schedule, e = self.schedule, self.e
        if not schedule.units:
            return
        for s in schedule.scratch:
            type = f"[{s.buffer.type.size} x {memory_type(s.buffer.type.dtype.name)}]"
            self.pointers[s.buffer.slot] = e.emit("ptr", f"alloca {type}, align 64", s.buffer.name)
        begin, end = Value("%begin", "i64"), Value("%end", "i64")
        self.hoist(roots_of(schedule.scratch[:1] or schedule.stores))  # the rest reads scratch
        with e.loop(begin, end, hint="unit") as unit:
            self.enter(self._row_variables(unit.index))
            for s in schedule.scratch:
                self._row((s,), unit.index)
            self._row(schedule.stores, unit.index)
            self.leave()

    def _row_variables(self, unit: Value) -> dict[Var, Value]:
        """Loop variables of the flattened rows, recovered from the unit's number."""
        row, values = unit, {}
        if self.schedule.chunks > 1:
            row = self.e.binary("udiv", unit, self.e.const("i64", self.schedule.chunks), "row")
        for k, var in enumerate(reversed(self.schedule.rows)):
            last = k == len(self.schedule.rows) - 1
            extent = self.e.const("i64", var.extent)
            values[var] = row if last else self.e.binary("urem", row, extent, var.name)
            row = row if last else self.e.binary("udiv", row, extent, "row")
        return values

    def _row(self, stores: tuple[Store, ...], unit: Value) -> None:
        """The loops of a row around `stores`."""
        _Nest(self, stores, unit).level(self.schedule.loops, frozenset())


class _Nest:
    """Writes the loops of a row, outermost first; each store where all its loops are open."""

    def __init__(self, kernel: MapKernel, stores: tuple[Store, ...], unit: Value):
        self.kernel, self.e, self.stores, self.unit = kernel, kernel.e, stores, unit

    def level(self, loops: tuple[Var, ...], placed: frozenset[int]) -> None:
        self.kernel.hoist(roots_of(self.stores))
        placed = placed | self._store_here(placed)
        if not loops or len(placed) == len(self.stores):
            return
        var, *inner = loops
        if var == self.kernel.schedule.lane:
            self._lanes(var, tuple(inner), placed)
            return
        with self.e.loop(0, var.extent, hint=var.name) as loop:
            self.kernel.enter({var: loop.index})
            self.level(tuple(inner), placed)
            self.kernel.leave()

    def _store_here(self, placed: frozenset[int]) -> frozenset[int]:
        """Write the stores whose loops are all open and that no outer level has written."""
        bound = self.kernel.scope.bound()
        done = set()
        for number, s in enumerate(self.stores):
            if number not in placed and s.vars <= bound:
                store_value(self.kernel, s, self.kernel.value(s.value))
                done.add(number)
        return frozenset(done)

    # -- lanes ---------------------------------------------------------------------------------

    def _lanes(self, lane: Var, inner: tuple[Var, ...], placed: frozenset[int]) -> None:
        reducing = len([s for s in self.stores if _reduces(s, lane)])
        unroll = max(REDUCING // reducing, UNROLL) if reducing else UNROLL
        count = lane_count(self.kernel.isa.width, _largest(self.stores), lane.extent, unroll)

        def body(base: Value, mask: Value | None) -> None:
            self.kernel.enter(lanes=Lanes(lane, count, base, mask))
            self.level(inner, placed)
            self.kernel.leave()

        if self.kernel.schedule.chunks > 1:
            self._chunk(lane, count, body)
            return
        whole = lane.extent // count * count
        if whole:
            with self.e.loop(0, whole, count, hint=lane.name) as loop:
                body(loop.index, None)
        if whole < lane.extent:
            body(Value(str(whole), "i64"), prefix_mask(lane.extent - whole, count))

    def _chunk(self, lane: Var, count: int, body) -> None:
        """The part of the lane loop that belongs to this unit."""
        e, chunks = self.e, self.kernel.schedule.chunks
        chunk = self.unit
        if self.kernel.schedule.rows:
            chunk = e.binary("urem", self.unit, e.const("i64", chunks), "chunk")
        size = e.const("i64", self.kernel.schedule.chunk)
        low = e.binary("mul", chunk, size, "low")
        high = e.binary("add", low, size, "high")
        high = e.call("i64", "llvm.umin.i64", high, e.const("i64", lane.extent), hint="high")
        whole = high
        if lane.extent % count:
            span = e.binary("sub", high, low)
            rest = e.binary("urem", span, e.const("i64", count), "rest")
            whole = e.binary("sub", high, rest, "whole")
        with e.loop(low, whole, count, hint=lane.name) as loop:
            body(loop.index, None)
        if lane.extent % count:
            with e.when(e.binary("icmp ult", whole, high), "tail"):  # in the last chunk only
                body(whole, prefix_mask(lane.extent % count, count))


def store_value(x: ArgExpressions, s: Store, value: Value) -> None:
    """Write a computed value to its place: one element, a run of lanes, or lane by lane."""
    dtype, lanes = s.buffer.type.dtype, x.lanes
    if lanes is None or lanes.var not in s.vars:
        store(x.e, dtype, value, x.place(s.buffer, s.offset))
    else:
        store(x.e, dtype, x.spread(value), x.place(s.buffer, s.offset), lanes.mask)


def _reduces(s: Store, lane: Var) -> bool:
    return any(isinstance(x, Reduce) and lane in x.vars for x in walk(s.roots))


def _largest(stores: tuple[Store, ...]):
    return max(roots_of(stores), key=lambda v: len(walk([v])))
