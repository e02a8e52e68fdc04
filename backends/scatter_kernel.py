"""Code for scatter kernels: index_add, index_put and index_reduce.

Threads share the destination lines: each copies its lines of the base, then goes through the whole
index and writes the entries that fall into its lines. Entries are taken in order, so the result
does not depend on the number of threads; an entry outside every line is skipped, never written.
"""

from __future__ import annotations

from nncomp.ir.index import Index, Var
from nncomp.ir.loops import Kernel, Scatter, Store

from .arg_reductions import ArgExpressions
from .expressions import Isa, Lanes
from .llvm import Emitter, Value
from .map_kernel import store_value
from .memory import load_lanes, load_one
from .reductions import lane_count, prefix_mask
from .scalar import emit_scalar


class ScatterKernel(ArgExpressions):
    """Writes one scatter kernel; a unit of work is a destination line."""

    def __init__(self, e: Emitter, kernel: Kernel, isa: Isa):
        super().__init__(e, kernel, isa)
        self.kernel, self.extra = kernel, kernel.extra
        assert isinstance(self.extra, Scatter)

    def write(self) -> None:
        begin, end = Value("%begin", "i64"), Value("%end", "i64")
        (store,) = self.kernel.stores
        loops = list(self.kernel.domain)
        with self.e.loop(begin, end, hint="line") as loop:
            self.enter({self.extra.line: loop.index})
            self._around(loops, lambda: store_value(self, store, self.value(store.value)))
            self.leave()
        with self.e.loop(0, self.extra.entry.extent, hint="entry") as loop:
            self.enter({self.extra.entry: loop.index})
            line = self.value(self.extra.index)
            offset = self.e.binary("sub", line, begin)
            mine = self.e.binary("icmp ult", offset, self.e.binary("sub", end, begin), "mine")
            with self.e.when(mine, "mine"):
                self.enter({self.extra.line: line})
                self._around(loops, lambda: self._write_entry(store))
                self.leave()
            self.leave()

    def _around(self, loops: list[Var], body) -> None:
        """Loops over the other axes, the last one over lanes."""
        if not loops:
            body()
            return
        (store,) = self.kernel.stores
        if len(loops) > 1 or not _contiguous(store.offset, loops[0]):
            with self.e.loop(0, loops[0].extent, hint=loops[0].name) as loop:
                self.enter({loops[0]: loop.index})
                self._around(loops[1:], body)
                self.leave()
            return
        self._lanes(loops[0], body)

    def _lanes(self, lane: Var, body) -> None:
        count = lane_count(self.isa.width, self.extra.source, lane.extent, 1)
        whole = lane.extent // count * count
        if whole:
            with self.e.loop(0, whole, count, hint=lane.name) as loop:
                self.enter(lanes=Lanes(lane, count, loop.index, None))
                body()
                self.leave()
        if whole < lane.extent:
            mask = prefix_mask(lane.extent - whole, count)
            self.enter(lanes=Lanes(lane, count, Value(str(whole), "i64"), mask))
            body()
            self.leave()

    def _write_entry(self, store: Store) -> None:
        value = self.spread(self.value(self.extra.source))
        if self.extra.combine != "put":
            dtype, operands = store.buffer.type.dtype.name, [self._present(store), value]
            value = emit_scalar(self.e, self.extra.combine, operands, dtype, self.isa.fma)
        store_value(self, store, value)

    def _present(self, target: Store) -> Value:
        """What the destination holds now (never remembered: it changes from entry to entry)."""
        lanes, dtype = self.lanes, target.buffer.type.dtype
        at = self.place(target.buffer, target.offset)
        if lanes is None or lanes.var not in target.offset.vars:
            return load_one(self.e, dtype, at)
        return load_lanes(self.e, dtype, at, lanes.count, lanes.mask)


def _contiguous(offset: Index, var: Var) -> bool:
    return offset.coefficient(var) == 1 and offset.is_affine_in(var)

