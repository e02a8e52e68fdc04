"""Code for window kernels: depthwise convolution and max pooling of channels-last tensors.

Loops, from the outside: units (image, rows, multiplier), vectors of channels, rows, blocks of
pixels, taps of the outer axes. The taps of the last axis are written out; the group's other nodes
follow as epilogue while the results are in registers, as behind a contraction.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from typing import NamedTuple

from nncomp.ir.index import Var
from nncomp.ir.loops import Accumulator, Kernel, roots_of, walk

from ..arg_reductions import ArgExpressions
from ..expressions import Isa, Lanes
from ..llvm import Emitter, Value, vector_type
from ..map_kernel import store_value
from ..memory import load_lanes
from ..reductions import lowest, prefix_mask
from ..scalar import compute_type, emit_scalar
from ..scalar_types import memory_type
from .contract_index import Index, add, each, each_unit, high, low, mul, unravel, value
from .window_plan import Axis, Block, WindowPlan


class Source(NamedTuple):
    """Where the operands of a vector of channels begin: image and first channel."""

    x: Value
    w: Value | None
    lanes: Lanes


class WindowKernel(ArgExpressions):
    """Writes one window kernel; units of work are the plan's."""

    def __init__(self, e: Emitter, kernel: Kernel, plan: WindowPlan, isa: Isa):
        super().__init__(e, kernel, isa)
        self.kernel, self.plan = kernel, plan
        self.x, self.w = kernel.extra.a, kernel.extra.b
        self.dtype = self.x.type.dtype
        self.roots = roots_of(kernel.stores)
        self.sums = [x for x in walk(self.roots) if isinstance(x, Accumulator)]
        rank, loops = len(plan.axes), kernel.extra.loops
        self.image, self.places, self.channel = loops[0], loops[1 : 1 + rank], loops[-1]
        self.multiple = loops[1 + rank] if len(loops) > rank + 2 else None
        sizes = [a.size for a in plan.axes]
        self.step = self.x.type.shape[-1]  # from one pixel to the next
        self.strides = [self.step * prod(sizes[k + 1 :]) for k in range(rank)]
        self.down: Value | None = None  # whether rows go from the last one to the first

    def write(self) -> None:
        plan, e = self.plan, self.e
        if not plan.units:
            return
        extents = [plan.images, plan.row_blocks, plan.multiplier, plan.channel_blocks]
        with each_unit(e, Value("%begin", "i64"), Value("%end", "i64")) as (unit, down):
            self.down = down
            image, row, multiple, part = unravel(e, unit, extents)
            x = self._at(self.x, mul(e, image, self.strides[0] * plan.axes[0].size))
            w = self._at(self.w, mul(e, multiple, plan.channels)) if self.w else None
            with self._inside({self.image: image, self.multiple: multiple}):
                self._channels(part, x, w, self._rows(row))

    # -- channels ------------------------------------------------------------------------------

    def _channels(self, part: Index, x: Value, w: Value | None, rows) -> None:
        """The vectors of channels of one part; the last part has the rest."""
        e, plan = self.e, self.plan
        whole, rest = divmod(plan.channels, plan.lanes)

        def vector(at: Index, lanes: int = plan.lanes, mask: Value | None = None) -> None:
            base = mul(e, at, plan.lanes)
            source = self._source(base, x, w, Lanes(self.channel, lanes, value(base), mask))
            with self._inside({}, source.lanes):
                self._space(0, [], source, rows)

        begin = mul(e, part, plan.vectors)
        end = low(e, add(e, begin, plan.vectors), whole)
        each(e, begin, end, vector, "channel")
        if rest:
            lanes = plan.lanes
            while lanes > 1 and lanes // 2 >= rest:
                lanes //= 2
            mask = None if rest == lanes else prefix_mask(rest, lanes)
            last = plan.channel_blocks - 1
            if isinstance(part, int):
                vector(whole, lanes, mask)
                return
            with e.when(e.binary("icmp eq", part, value(last)), "rest"):
                vector(whole, lanes, mask)

    def _source(self, base: Index, x: Value, w: Value | None, lanes: Lanes) -> Source:
        """The operands of the channels from `base` on."""
        return Source(self._at(self.x, base, x), self._at(self.w, base, w) if w else None, lanes)

    # -- space ---------------------------------------------------------------------------------

    def _rows(self, block: Index) -> tuple[Index, Index]:
        """The rows of a unit along the first of several spatial axes."""
        e, plan = self.e, self.plan
        extent = plan.axes[0].out
        if len(plan.axes) == 1:
            return 0, 0
        begin = mul(e, block, plan.rows)
        end = add(e, begin, plan.rows)
        return begin, low(e, end, extent) if extent % plan.rows else end

    def _space(self, axis: int, taps: list, source: Source, rows) -> None:
        """The loops over the outer axes, then the blocks of the last one.

        `taps` has (axis, row of the first tap, begin and end of the taps inside) for each axis.
        """
        if axis == len(self.plan.axes) - 1:
            for block in self.plan.blocks:
                self._block(block, taps, source)
            return
        a = self.plan.axes[axis]

        def row(o: Index) -> None:
            first = add(self.e, mul(self.e, o, a.stride), -a.low)
            with self._inside({self.places[axis]: o}):
                inner = (a, self.strides[axis], first, *self._clipped(a, first))
                self._space(axis + 1, [*taps, inner], source, rows)

        begin, end = rows if axis == 0 else (0, a.out)
        each(self.e, begin, end, row, "row", self.down if axis == 0 else None)

    def _clipped(self, a: Axis, first: Index) -> tuple[Index, Index]:
        """The taps t with 0 <= first + t * dilation < size."""
        e = self.e
        if a.is_inside:
            return 0, a.kernel
        begin = high(e, mul(e, first, -1), 0)
        end = high(e, add(e, mul(e, first, -1), a.size), 0)
        return tuple(low(e, self._ceil(n, a.dilation), a.kernel) for n in (begin, end))

    def _ceil(self, n: Index, by: int) -> Index:
        if by == 1 or isinstance(n, int):
            return -(-n // by) if isinstance(n, int) else n
        return self.e.binary("udiv", add(self.e, n, by - 1), value(by), "x")

    # -- blocks --------------------------------------------------------------------------------

    def _block(self, block: Block, taps: list, source: Source) -> None:
        def one(number: Index) -> None:
            start = add(self.e, mul(self.e, number, block.width), block.start)
            results = self._taps(0, taps, start, block, source, self._zero(block, source))
            for k, result in enumerate(results):
                self._finish(add(self.e, start, k), result)

        each(self.e, 0, block.count, one, "block")

    def _zero(self, block: Block, source: Source) -> list[Value]:
        type = vector_type(compute_type(self.dtype.name), source.lanes.count)
        return [self.e.const(type, 0 if self.w else lowest(self.dtype))] * block.width

    def _taps(self, level: int, taps: list, start: Index, block: Block, source, carry):
        """The loops over the taps of the outer axes around those of the last one."""
        if level == len(taps):
            return self._columns(start, block, source, carry)
        a, stride, first, begin, end = taps[level]
        e = self.e
        with e.loop(value(begin), value(end), carry=carry, hint="tap") as loop:
            row = add(e, first, mul(e, loop.index, a.dilation))
            x = self._at(self.x, mul(e, row, stride), source.x)
            w = source.w
            if self.w:
                step = prod(self.w.type.shape[level + 1 :])
                w = self._at(self.w, mul(e, loop.index, step), w)
            inner = source._replace(x=x, w=w)
            loop.next(*self._taps(level + 1, taps, start, block, inner, loop.carry))
        return loop.result

    def _columns(self, start: Index, block: Block, source: Source, sums: list[Value]):
        """One row of taps: every column of the input is loaded once, for all windows over it."""
        sums, weights = list(sums), {}
        x, columns = self._window(start, block, source.x)
        for column, uses in columns:
            loaded = self._fetch(self.x, x, column * self.step, source)
            for pixel, tap in uses:
                if self.w and tap not in weights:
                    offset = tap * prod(self.w.type.shape[-2:])
                    weights[tap] = self._fetch(self.w, source.w, offset, source)
                sums[pixel] = self._joined(sums[pixel], loaded, weights.get(tap))
        return sums

    def _window(self, start: Index, block: Block, x: Value):
        """(where columns count from, (column, its windows and taps)) of a block at `start`."""
        a, e, first = self.plan.axes[-1], self.e, 0
        columns = sorted(_uses(a, block.width).items())
        if isinstance(start, int):
            first = a.first(start)
            columns = [(c, uses) for c, uses in columns if 0 <= first + c < a.size]
        else:
            x = self._at(self.x, mul(e, add(e, mul(e, start, a.stride), -a.low), self.step), x)
        return x, [(first + column, uses) for column, uses in columns]

    def _joined(self, total: Value, x: Value, w: Value | None) -> Value:
        if w is None:
            return emit_scalar(self.e, "maximum", [total, x], self.dtype.name, self.isa.fma)
        return self.e.intrinsic("fmuladd", x, w, total)

    def _fetch(self, buffer, base: Value, offset: int, source: Source) -> Value:
        at = self._at(buffer, offset, base)
        return load_lanes(self.e, self.dtype, at, source.lanes.count, source.lanes.mask)

    def _finish(self, place: Index, result: Value) -> None:
        """One vector of results: run the epilogue on it and store."""
        with self._inside({self.places[-1]: place}, hoist=False):
            for x in self.sums:
                self.scope.known[id(x)] = result
            for s in self.kernel.stores:
                store_value(self, s, self.value(s.value))

    # -- help ----------------------------------------------------------------------------------

    @contextmanager
    def _inside(self, loops: dict[Var | None, Index], lanes=None, hoist=True) -> Iterator[None]:
        """With values for loop variables; what depends on them alone is computed at once."""
        bound = {v: value(i) for v, i in loops.items() if v is not None}
        if lanes is not None and lanes.var is None:  # one channel
            lanes = None
        self.enter(bound, lanes)
        if hoist and not any(x.vars <= self.scope.bound() for x in self.sums):
            self.hoist(self.roots)
        yield
        self.leave()

    def _at(self, buffer, offset: Index, base: Value | None = None) -> Value:
        base = base or self.pointers[buffer.slot]
        if isinstance(offset, int) and offset == 0:
            return base
        type = memory_type(buffer.type.dtype.name)
        return self.e.pure("ptr", f"getelementptr {type}, {base}, {value(offset)}", "p")


def _uses(a: Axis, width: int) -> dict[int, list[tuple[int, int]]]:
    """(window, tap) pairs that read each column, counted from the first window's first tap."""
    found: dict[int, list[tuple[int, int]]] = {}
    for pixel in range(width):
        for tap in range(a.kernel):
            found.setdefault(pixel * a.stride + tap * a.dilation, []).append((pixel, tap))
    return found
