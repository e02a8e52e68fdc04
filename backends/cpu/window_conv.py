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
from .contract_index import Index, add, mul
from .window_kernel import Source, WindowKernel
from .window_plan import Block

ENOUGH = 12  # sums that keep the multipliers busy while each waits for its last one


class ConvKernel(WindowKernel):
    """Writes one narrow convolution."""

    def _source(self, base: Index, x: Value, w: Value | None, lanes: Lanes) -> Source:
        return Source(x, self._at(self.w, base, w), lanes)

    def _columns(self, start: Index, block: Block, source: Source, sums: list[Value]):
        """One row of taps, for one input channel after the other.

        A block of few pixels has few sums, each of which would wait for its own last one; so
        neighbouring channels have sums of their own, joined at the end.
        """
        depth, e = self.plan.depth, self.e
        if depth == 1:
            return super()._columns(start, block, self._inner(source, 0), sums)
        count, turns = len(sums), self._turns(len(sums))
        carry = [*sums, *[e.const(x.type, 0) for x in sums * (turns - 1)]]
        with e.loop(0, depth, turns, carry=carry, hint="c") as loop:
            found = []
            for turn in range(turns):
                channel = add(e, loop.index, turn)
                part = loop.carry[turn * count :][:count]
                found += super()._columns(start, block, self._inner(source, channel), part)
            loop.next(*found)
        found = loop.result
        return self._joined_sets([found[at : at + count] for at in range(0, len(found), count)])

    def _joined_sets(self, sets: list[list[Value]]) -> list[Value]:
        """The sums of neighbouring channels as one; a power of two of them."""
        while len(sets) > 1:
            half = len(sets) // 2
            sets = [self._added(a, b) for a, b in zip(sets[:half], sets[half:], strict=True)]
        return sets[0]

    def _added(self, some: list[Value], more: list[Value]) -> list[Value]:
        return [self.e.binary("fadd", a, b, "sum") for a, b in zip(some, more, strict=True)]

    def _inner(self, source: Source, channel: Index) -> Source:
        """The operands of one input channel."""
        return source._replace(
            x=self._at(self.x, channel, source.x),
            w=self._at(self.w, mul(self.e, channel, self.plan.channels), source.w),
        )

    def _turns(self, sums: int) -> int:
        """Channels with sums of their own: enough of them, as far as there are registers."""
        turns, room = 1, self.plan.registers - self.plan.axes[-1].kernel - 2
        while sums * turns < ENOUGH and 2 * sums * turns <= room:
            if self.plan.depth % (2 * turns):
                break
            turns *= 2
        return turns

    def _fetch(self, buffer, base: Value, offset: int, source: Source) -> Value:
        if buffer is not self.x:
            return super()._fetch(buffer, base, offset, source)
        one = load_one(self.e, self.dtype, self._at(buffer, offset, base))
        return self.e.splat(one, source.lanes.count)
