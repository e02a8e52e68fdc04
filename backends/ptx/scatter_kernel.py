"""Scatter kernels on a GPU: index_add, index_put and index_reduce, without atomics.

A thread owns some lines of the destination at one position beside the indexed axis. It copies its
lines of the base, then goes through the whole index and takes the entries that fall into its lines,
in order: the result is the same at every run. All threads of a warp read the same entry, which
costs one access.
"""

from __future__ import annotations

from math import prod

from nncomp.ir.loops import Kernel, Scatter

from ..llvm import Value
from ..memory import load_one, store
from ..scalar import emit_scalar
from .element_kernel import parameters, row_variables
from .emitter import PtxEmitter
from .expressions import GpuExpressions
from .kernel import Code, Facts, Launch

THREADS = 128
ENOUGH = 1 << 16  # threads that keep a GPU busy


class ScatterKernel(GpuExpressions):
    """Writes one scatter kernel."""

    def __init__(self, e: PtxEmitter, kernel: Kernel, facts: Facts):
        super().__init__(e, kernel)
        self.facts, self.extra = facts, kernel.extra
        assert isinstance(self.extra, Scatter)
        self.loops = kernel.domain
        self.around = prod(v.extent for v in self.loops)
        lines = self.extra.line.extent
        parts = max(1, min(lines, ENOUGH // max(self.around, 1)))
        self.lines = -(-lines // parts)  # of one thread
        self.parts = -(-lines // self.lines)

    def write(self) -> Code:
        e, units = self.e, self.around * self.parts
        threads = min(THREADS, -(-units // 32) * 32)
        blocks = -(-units // threads)
        block = e.mul(e.as_index(e.special("ctaid.x")), threads)
        unit = e.add(block, e.as_index(e.special("tid.x")), "unit")
        with e.when(e.below(unit, units)):
            self._unit(unit)
        text = e.kernel(self.kernel.name, parameters(self.kernel, self.facts), threads)
        return Code(text, (Launch(self.kernel.name, (blocks, 1, 1), (threads, 1, 1)),))

    def _unit(self, unit: Value) -> None:
        e, extra = self.e, self.extra
        (target,) = self.kernel.stores
        values = row_variables(e, self.loops, e.remainder(unit, max(self.around, 1)))
        first = e.mul(e.quotient(unit, max(self.around, 1)), self.lines, "first")
        last = e.add(first, self.lines, "last")
        total = e.index(extra.line.extent)
        last = e.select(e.binary("icmp slt", last, total), last, total, "last")
        self.enter(values)
        with e.loop(first, last, hint="line") as loop:
            self.enter({extra.line: loop.index})
            self.store(target)
            self.leave()
        with e.loop(0, extra.entry.extent, hint="entry") as loop:
            self.enter({extra.entry: loop.index})
            self._entry(first, last)
            self.leave()
        self.leave()

    def _entry(self, first: Value, last: Value) -> None:
        """Take one entry of the index if it falls into the lines of this thread."""
        e, extra = self.e, self.extra
        line = self.value(extra.index)  # int64
        low, high = (self._int64(v) for v in (first, last))
        above = e.binary("icmp sge", line, low)
        mine = e.binary("and", above, e.binary("icmp slt", line, high), "mine")
        with e.when(mine, "mine"):
            self.enter({extra.line: self._sized(line, False)})
            self._combine_there()
            self.leave()

    def _combine_there(self) -> None:
        (target,), extra = self.kernel.stores, self.extra
        dtype = target.buffer.type.dtype
        value = self.value(extra.source)
        at = self.place(target.buffer, target.offset)
        if extra.combine != "put":
            present = load_one(self.e, dtype, at)
            value = emit_scalar(self.e, extra.combine, [present, value], dtype.name)
        store(self.e, dtype, value, at)
