"""Code for convolutions in groups over channels-last tensors: lanes run over output channels.

Where a vector covers several groups, the input channels of its groups lie side by side as well:
they are loaded at once, and one channel of each is spread over the lanes of its group. Where a
group covers several vectors, one channel is spread over all lanes, as in a narrow convolution.
Nothing is sorted by groups in memory, and no padding is written.
"""

from __future__ import annotations

from nncomp.ir.loops import Buffer, Kernel

from ..expressions import Isa, Lanes
from ..llvm import Emitter, Value, vector_type
from ..memory import load_lanes, load_one
from .contract_index import Index, mul, value
from .window_conv import ConvKernel
from .window_kernel import Source
from .window_plan import WindowPlan

# Instructions that permute a register by indices in another one, by scalar and lanes: a shuffle
# written out for each channel makes LLVM keep what it loaded for all of them at once.
PERMUTES = {
    ("float", 16): ("llvm.x86.avx512.permvar.sf.512", "i32"),
    ("double", 8): ("llvm.x86.avx512.permvar.df.512", "i64"),
    ("float", 8): ("llvm.x86.avx2.permps", "i32"),
}


class GroupConvKernel(ConvKernel):
    """Writes one convolution in groups."""

    def __init__(self, e: Emitter, kernel: Kernel, plan: WindowPlan, isa: Isa):
        super().__init__(e, kernel, plan, isa)
        self.outputs = plan.channels // kernel.extra.geometry["groups"]
        self.picks: Value | None = None  # lanes of a register that hold a channel of each group

    def _source(self, base: Index, x: Value, w: Value | None, lanes: Lanes) -> Source:
        first = base
        if lanes.count <= self.outputs:  # lanes of one group
            first = mul(self.e, self._quotient(base, self.outputs), self.plan.depth)
        return Source(self._at(self.x, first, x), self._at(self.w, base, w), lanes)

    def _quotient(self, base: Index, by: int) -> Index:
        if isinstance(base, int):
            return base // by
        return base if by == 1 else self.e.binary("udiv", base, value(by), "group")

    def _inner(self, source: Source, channel: Index) -> Source:
        inner = super()._inner(source, channel)
        self.picks = None
        register = self._register(source.lanes.count)
        if source.lanes.count <= self.outputs or register not in PERMUTES:
            return inner
        scalar, (_, lanes) = PERMUTES[register][1], register
        starts = ", ".join(f"{scalar} {k // self.outputs * self.outputs}" for k in range(lanes))
        first = Value(f"<{starts}>", vector_type(scalar, lanes))
        term = channel if isinstance(channel, Value) else value(channel)
        if scalar == "i32":
            term = self.e.convert("trunc", term, "i32")
        self.picks = self.e.binary("add", first, self.e.splat(term, lanes), "picks")
        return inner._replace(x=source.x)

    def _register(self, lanes: int) -> tuple[str, int]:
        """Scalar and lanes of a register of sums, of which vectors of `lanes` take one or two."""
        narrow = self.dtype.itemsize <= 4
        width = self.isa.width if narrow else self.isa.width // 2
        return "float" if narrow else "double", min(lanes, width)

    def _fetch(self, buffer: Buffer, base: Value, offset: int, source: Source) -> Value:
        """A channel of each group, over the lanes of that group."""
        if buffer is not self.x or source.lanes.count <= self.outputs:
            return super()._fetch(buffer, base, offset, source)
        if self.picks is None:
            return self._blended(self._at(buffer, offset, base), source.lanes)
        at, parts = self._at(buffer, offset, base), []
        whole = load_lanes(self.e, self.dtype, at, source.lanes.count, source.lanes.mask)
        size = self.picks.lanes
        permute = PERMUTES[self._register(size)][0]
        for begin in range(0, source.lanes.count, size):
            part = self._lanes_of(whole, range(begin, begin + size))
            parts.append(self.e.call(part.type, permute, part, self.picks))
        return self._joined_parts(parts)

    def _lanes_of(self, x: Value, lanes: range) -> Value:
        if len(lanes) == x.lanes:
            return x
        picks = ", ".join(f"i32 {k}" for k in lanes)
        type = vector_type(x.scalar_type, len(lanes))
        shuffle = f"shufflevector {x}, {x.type} poison, <{len(lanes)} x i32> <{picks}>"
        return self.e.emit(type, shuffle, "part")

    def _joined_parts(self, parts: list[Value]) -> Value:
        if len(parts) == 1:
            return parts[0]
        (a, b), count = parts, 2 * parts[0].lanes
        picks = ", ".join(f"i32 {k}" for k in range(count))
        type = vector_type(a.scalar_type, count)
        return self.e.emit(type, f"shufflevector {a}, {b}, <{count} x i32> <{picks}>", "whole")

    def _blended(self, at: Value, lanes: Lanes) -> Value:
        """The same without such an instruction: one element after the other, blended."""
        e, result = self.e, None
        live = lanes.count if lanes.mask is None else self.plan.channels % self.plan.lanes
        groups = [k // self.outputs for k in range(lanes.count)]
        for group in range(live // self.outputs):
            one = load_one(e, self.dtype, self._at(self.x, group * self.outputs, at))
            one = e.splat(one, lanes.count)
            if result is not None:
                bits = ", ".join(f"i1 {group == k}".lower() for k in groups)
                one = e.select(Value(f"<{bits}>", f"<{lanes.count} x i1>"), one, result)
            result = one
        assert result is not None
        return result
