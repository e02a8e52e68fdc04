"""Code for convolutions in groups over channels-last tensors: lanes run over output channels.

Where a vector covers several groups, the input channels of its groups lie side by side, too: they
are loaded at once, and each term of a group's sum is a shuffle of them. Where a group covers
several vectors, one input channel is spread over the lanes, as in a narrow convolution. Nothing is
sorted by groups in memory, and no padding is written.
"""

from __future__ import annotations

from nncomp.ir.loops import Buffer, Kernel

from ..expressions import Isa, Lanes
from ..llvm import Emitter, Value
from .contract_index import Index, mul, value
from .window_conv import ConvKernel
from .window_kernel import Source, WindowKernel
from .window_plan import Block, WindowPlan


class GroupConvKernel(ConvKernel):
    """Writes one convolution in groups."""

    def __init__(self, e: Emitter, kernel: Kernel, plan: WindowPlan, isa: Isa):
        super().__init__(e, kernel, plan, isa)
        self.outputs = plan.channels // kernel.extra.geometry["groups"]
        self.term: int | None = None  # number of the input channel that shuffles pick

    def _source(self, base: Index, x: Value, w: Value | None, lanes: Lanes) -> Source:
        first = base
        if lanes.count <= self.outputs:  # lanes of one group
            first = mul(self.e, self._quotient(base, self.outputs), self.plan.depth)
        return Source(self._at(self.x, first, x), self._at(self.w, base, w), lanes)

    def _quotient(self, base: Index, by: int) -> Index:
        if isinstance(base, int):
            return base // by
        return base if by == 1 else self.e.binary("udiv", base, value(by), "group")

    def _columns(self, start: Index, block: Block, source: Source, sums: list[Value]):
        """One row of taps, for one term after the other."""
        if source.lanes.count <= self.outputs:
            return super()._columns(start, block, source, sums)
        turns = self._turns(len(sums))
        sets = [sums, *([self.e.const(x.type, 0) for x in sums] for _ in range(turns - 1))]
        for term in range(self.plan.depth):
            self.term = term
            inner = source._replace(w=self._at(self.w, term * self.plan.channels, source.w))
            some = sets[term % turns]
            sets[term % turns] = WindowKernel._columns(self, start, block, inner, some)
        self.term = None
        return self._joined_sets(sets)

    def _fetch(self, buffer: Buffer, base: Value, offset: int, source: Source) -> Value:
        if self.term is None or buffer is not self.x:
            return super()._fetch(buffer, base, offset, source)
        loaded = WindowKernel._fetch(self, buffer, base, offset, source)
        lanes, size = source.lanes.count, self.outputs
        picks = ", ".join(f"i32 {k // size * size + self.term}" for k in range(lanes))
        shuffle = f"shufflevector {loaded}, {loaded.type} poison, <{lanes} x i32> <{picks}>"
        return self.e.emit(loaded.type, shuffle, "x")
