"""Code for map kernels: every store at every point of a loop domain, reductions inside.

The schedule is decided here from the access patterns: which loop runs over vector lanes, in which
order the others surround it, and how the work is cut into units that threads share.

    define void @k(ptr %b0, ptr %b1, i64 %begin, i64 %end)    ; units begin..end of `units`
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from nncomp.ir.collapse import merge, merge_reductions
from nncomp.ir.index import Index, Var
from nncomp.ir.loops import ArgReduce, Kernel, Load, Reduce, Store, roots_of, walk

from .expressions import Lanes
from .llvm import Emitter, Value, module_text, suffix, vector_type
from .reductions import KernelExpressions, lane_count, prefix_mask
from .scalar import to_memory

CHUNK = 2048  # elements of the lane loop in one unit of work
UNROLL = 2


@dataclass(frozen=True)
class Schedule:
    """`rows` are flattened and shared between threads, then `lane` (in chunks), then `inner`."""

    rows: tuple[Var, ...]
    lane: Var | None
    inner: tuple[Var, ...]
    stores: tuple[Store, ...]
    chunks: int

    @property
    def units(self) -> int:
        return prod(v.extent for v in self.rows) * self.chunks


def make_schedule(kernel: Kernel) -> Schedule:
    """Choose loop order and lane variable; a kernel without elements has no units."""
    stores = kernel.stores
    order = _loop_order(list(kernel.domain), stores)
    order, stores = merge(order, stores)
    stores = merge_reductions(stores)
    lane = _lane_variable(order, stores)
    if lane is None:
        return Schedule(tuple(order), None, (), stores, 1)
    at = order.index(lane)
    split_lane = not any(lane not in s.vars for s in stores) and not _row_values(lane, stores)
    chunks = max(1, -(-lane.extent // CHUNK)) if split_lane else 1
    return Schedule(tuple(order[:at]), lane, tuple(order[at + 1 :]), stores, chunks)


def _row_values(lane: Var, stores) -> bool:
    """Whether a reduction is shared by all lanes: it would be repeated by every chunk."""
    return any(
        isinstance(x, (Reduce, ArgReduce)) and lane not in x.vars
        for x in walk(roots_of(stores))
    )


def _loop_order(domain: list[Var], stores) -> list[Var]:
    """Loops that the reductions and row results depend on come first: others repeat less."""
    shared: set[Var] = set(domain)
    for s in stores:
        shared &= s.vars
    for x in walk(roots_of(stores)):
        if isinstance(x, (Reduce, ArgReduce)):
            shared &= x.vars
    return [v for v in domain if v in shared] + [v for v in domain if v not in shared]


def _lane_variable(order: list[Var], stores) -> Var | None:
    """The loop that walks most memory contiguously; None to vectorize the reductions instead."""
    best, best_score = None, 0.0
    for var in order:
        score = sum(_store_score(s, var) for s in stores)
        for x in walk(roots_of(stores)):
            if isinstance(x, Load) and var in x.offset.vars:
                score += _step_score(x.offset, var) * _repeats(x)
        if score >= best_score and score > 0:
            best, best_score = var, score
    return best


def _store_score(store: Store, var: Var) -> float:
    return _step_score(store.offset, var) * 2 if var in store.offset.vars else 0.0


def _step_score(index: Index, var: Var) -> float:
    if not index.is_affine_in(var):
        return -0.5
    return 1.0 if index.coefficient(var) == 1 else -1.0


def _repeats(load: Load) -> float:
    """Loads inside reductions run once per turn: they weigh more than a store."""
    bound = [v for v in load.vars if v.name.startswith("r")]
    return float(min(prod(v.extent for v in bound), 64)) if bound else 1.0


class MapKernel(KernelExpressions):
    """Writes one map kernel."""

    def __init__(self, e: Emitter, kernel: Kernel, schedule: Schedule, width: int, has_fma: bool):
        pointers = [Value(f"%b{b.slot}", "ptr") for b in kernel.buffers]
        super().__init__(e, pointers, width, has_fma)
        self.schedule = schedule

    def write(self) -> None:
        schedule = self.schedule
        if not schedule.units:
            return
        begin, end = Value("%begin", "i64"), Value("%end", "i64")
        self.hoist(roots_of(schedule.stores))
        with self.e.loop(begin, end, hint="unit") as unit:
            self.enter(self._row_variables(unit.index))
            self._row(unit.index)
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

    def _row(self, unit: Value) -> None:
        schedule = self.schedule
        self.hoist(roots_of(schedule.stores))
        placed = self._store_here(set())
        if schedule.lane is None:
            return
        lane = schedule.lane
        count = lane_count(self.width, _largest(schedule.stores), lane.extent, UNROLL)
        if schedule.chunks == 1:
            self._static_lanes(lane, count, placed)
        else:
            self._chunk_lanes(lane, count, unit, placed)

    def _static_lanes(self, lane: Var, count: int, placed: set[int]) -> None:
        whole = lane.extent // count * count
        if whole:
            with self.e.loop(0, whole, count, hint=lane.name) as loop:
                self._body(Lanes(lane, count, loop.index, None), placed)
        if whole < lane.extent:
            mask = prefix_mask(lane.extent - whole, count)
            self._body(Lanes(lane, count, Value(str(whole), "i64"), mask), placed)

    def _chunk_lanes(self, lane: Var, count: int, unit: Value, placed: set[int]) -> None:
        e, chunks = self.e, self.schedule.chunks
        chunk = unit
        if self.schedule.rows:
            chunk = e.binary("urem", unit, e.const("i64", chunks), "chunk")
        low = e.binary("mul", chunk, e.const("i64", CHUNK), "low")
        high = e.binary("add", low, e.const("i64", CHUNK), "high")
        extent = e.const("i64", lane.extent)
        high = e.call("i64", "llvm.umin.i64", high, extent, hint="high")
        whole = high
        if lane.extent % count:
            span = e.binary("sub", high, low)
            rest = e.binary("urem", span, e.const("i64", count), "rest")
            whole = e.binary("sub", high, rest, "whole")
        with e.loop(low, whole, count, hint=lane.name) as loop:
            self._body(Lanes(lane, count, loop.index, None), placed)
        if lane.extent % count:
            with e.when(e.binary("icmp ult", whole, high), "tail"):
                mask = e.lane_mask(whole, high, count)
                self._body(Lanes(lane, count, whole, mask), placed)

    def _body(self, lanes: Lanes, placed: set[int]) -> None:
        self.enter(lanes=lanes)
        self._inner(list(self.schedule.inner), set(placed))
        self.leave()

    def _inner(self, loops: list[Var], placed: set[int]) -> None:
        self.hoist(roots_of(self.schedule.stores))
        placed = placed | self._store_here(placed)
        if not loops:
            return
        with self.e.loop(0, loops[0].extent, hint=loops[0].name) as loop:
            self.enter({loops[0]: loop.index})
            self._inner(loops[1:], placed)
            self.leave()

    def _store_here(self, placed: set[int]) -> set[int]:
        """Write the stores whose loops are all open and that no outer level has written."""
        bound = self.scope.bound()
        done = set()
        for number, s in enumerate(self.schedule.stores):
            if number not in placed and s.vars <= bound:
                self.store(s, self.value(s.value))
                done.add(number)
        return placed | done

    def store(self, s: Store, value: Value) -> None:
        store_value(self, s, value)


def store_value(x: KernelExpressions, s: Store, value: Value) -> None:
    """Write a computed value to its place: one element, a run of lanes, or lane by lane."""
    dtype = s.buffer.type.dtype
    lanes = x.lanes
    if lanes is None or lanes.var not in s.vars:
        address = x._address(s.buffer, x.index(s.offset))
        x.e.store(to_memory(x.e, value, dtype.name), address, dtype.itemsize)
        return
    raw = to_memory(x.e, x.spread(value), dtype.name)
    if s.offset.coefficient(lanes.var) == 1 and s.offset.is_affine_in(lanes.var):
        address = x._address(s.buffer, x.index_at_base(s.offset))
        if lanes.mask is None:
            x.e.store(raw, address, dtype.itemsize)
        else:
            x.e.masked_store(raw, address, lanes.mask, dtype.itemsize)
        return
    at = x.addresses(s.buffer, s.offset)
    mask = lanes.mask or x.e.const(vector_type("i1", lanes.count), True)
    symbol = f"llvm.masked.scatter.{suffix(raw.type)}.v{lanes.count}p0"
    x.e.call_void(symbol, raw, Value(at.ref, f"{at.type} align {dtype.itemsize}"), mask)


def _largest(stores):
    return max(roots_of(stores), key=lambda v: sum(1 for _ in walk([v])))


def map_kernel_text(kernel: Kernel, width: int, has_fma: bool = True, attributes="nounwind") -> str:
    """The LLVM module of a map kernel for vectors of `width` 32-bit lanes."""
    e = Emitter()
    MapKernel(e, kernel, make_schedule(kernel), width, has_fma).write()
    e.do("ret void")
    params = ", ".join(f"ptr %b{b.slot}" for b in kernel.buffers)
    head = f"void @{kernel.name}({params}{', ' if params else ''}i64 %begin, i64 %end)"
    return module_text([e.function(head)], [e], attributes)


