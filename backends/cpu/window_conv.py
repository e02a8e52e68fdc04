"""Code for narrow convolutions of channels-last tensors: few channels come out, weights stay in L1.

The walk is that of a window kernel; lanes run over output channels, and inside of the taps of the
outer axes there is one more loop, over input channels. One element of the input, spread over the
lanes, meets the weights of all windows that cover it. Compared with a matrix product, no padding
is written and taps outside of the image are left out.
"""

from __future__ import annotations

from ..expressions import Lanes
from ..llvm import Value
from ..memory import load_one
from .contract_index import Index
from .window_kernel import Source, WindowKernel
from .window_plan import Block


class ConvKernel(WindowKernel):
    """Writes one narrow convolution."""

    def _source(self, base: Index, x: Value, w: Value | None, lanes: Lanes) -> Source:
        return Source(x, self._at(self.w, base, w), lanes)

    def _columns(self, start: Index, block: Block, source: Source, sums: list[Value]):
        """One row of taps, for one input channel after the other."""
        depth = self.plan.depth
        if depth == 1:
            return super()._columns(start, block, source, sums)
        with self.e.loop(0, depth, carry=sums, hint="c") as loop:
            x = self._at(self.x, loop.index, source.x)
            w = self._at(self.w, self._row_of(loop.index), source.w)
            inner = source._replace(x=x, w=w)
            loop.next(*super()._columns(start, block, inner, loop.carry))
        return loop.result

    def _row_of(self, channel: Value) -> Value:
        outputs = self.e.const("i64", self.plan.channels)
        return self.e.binary("mul", channel, outputs, "row")

    def _fetch(self, buffer, base: Value, offset: int, source: Source) -> Value:
        if buffer is not self.x:
            return super()._fetch(buffer, base, offset, source)
        one = load_one(self.e, self.dtype, self._at(buffer, offset, base))
        return self.e.splat(one, source.lanes.count)
