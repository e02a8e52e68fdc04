"""Code for the transforms around the gradient of 3 x 3 kernels by Winograd's method.

Both ops read a small grid of vectors (channels are the lanes), multiply it by a matrix from either
side and store the grid that comes out, one plane per point or tap.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from nncomp.ir.loops import Kernel
from nncomp.ir.ops.winograd import KERNEL, matrices
from nncomp.ir.ops.winograd_gradient import POINTS, TILE, WINDOWS, points_matrix, tiles_of
from nncomp.ir.ops.winograd_line import part_of, width_of

from ..llvm import Emitter, Value, vector_type
from ..reductions import prefix_mask
from .contract_index import Index, add, each, mul, unravel, value
from .winograd_transform import combine, transform_data

SIZE = 4  # bytes of a float
Transform = Callable[[Emitter, list[Value]], list[Value]]


def _load(e: Emitter, lanes: int, source: Value, place: int | Value, mask: Value | None) -> Value:
    """A vector from `place` floats behind `source`."""
    type, at = vector_type("float", lanes), e.gep("float", source, place)
    if mask is None:
        return e.load(type, at, SIZE, "x")
    return e.masked_load(type, at, mask, SIZE, e.const(type, 0))


class _GridKernel:
    """One grid of inputs to one grid of results for each vector of each unit."""

    size: int  # of the grid of inputs along either axis
    transform: Transform

    def __init__(self, e: Emitter, kernel: Kernel, lanes: int):
        self.e, self.kernel, self.lanes = e, kernel, lanes
        self.source, self.target = (b.type.shape for b in kernel.buffers)
        self.channels = self.target[-1]
        self.units = self.target[-2]
        self.plane = self.units * self.channels  # elements of the result per point or tap

    def start(self, unit: Value) -> Index:
        """The first input of a unit."""
        raise NotImplementedError

    def place(self, row: int, column: int) -> int:
        """Where an input of the grid lies, from the first one."""
        raise NotImplementedError

    def write(self) -> None:
        e = self.e
        x, y = (Value(f"%b{b.slot}", "ptr") for b in self.kernel.buffers)
        with e.loop(Value("%begin", "i64"), Value("%end", "i64"), hint="unit") as unit:
            source = e.gep("float", x, value(self.start(unit.index)), "from")
            target = e.gep("float", y, value(mul(e, unit.index, self.channels)), "to")
            whole, rest = divmod(self.channels, self.lanes)

            def vector(number: Index, mask: Value | None = None) -> None:
                at = value(mul(e, number, self.lanes))
                self._vector(e.gep("float", source, at), e.gep("float", target, at), mask)

            each(e, 0, whole, vector, "vector")
            if rest:
                vector(whole, prefix_mask(rest, self.lanes))

    def _vector(self, source: Value, target: Value, mask: Value | None) -> None:
        e, n, steps = self.e, self.lanes, range(self.size)
        grid = [[_load(e, n, source, self.place(p, q), mask) for p in steps] for q in steps]
        columns = [self.transform(e, column) for column in grid]
        number = 0
        for row in zip(*columns, strict=True):
            for result in self.transform(e, list(row)):
                self._store(target, number * self.plane, result, mask)
                number += 1

    def _store(self, target: Value, place: int, result: Value, mask: Value | None) -> None:
        at = self.e.gep("float", target, place)
        if mask is None:
            self.e.store(result, at, SIZE)
        else:
            self.e.masked_store(result, at, mask, SIZE)


class PointsKernel(_GridKernel):
    """Writes a `winograd_points`; a unit is one tile."""

    def __init__(self, e: Emitter, kernel: Kernel, lanes: int):
        super().__init__(e, kernel, lanes)
        side = kernel.extra.geometry["side"]
        self.size, self.tiles = WINDOWS[side], tiles_of(self.source, side)
        if side == "data":
            self.transform = lambda e, values: transform_data(e, TILE, values)
        else:
            self.transform = _times(points_matrix(side))

    def start(self, unit: Value) -> Index:
        e, (images, height, width, channels) = self.e, self.source
        image, row, column = unravel(e, unit, [images, *self.tiles])
        row = add(e, mul(e, image, height), mul(e, row, TILE))
        pixel = add(e, mul(e, row, width), mul(e, column, TILE))
        return mul(e, pixel, channels)

    def place(self, row: int, column: int) -> int:
        return (row * self.source[2] + column) * self.channels


class KernelsKernel(_GridKernel):
    """Writes a `winograd_kernels`; a unit is one row of the channels of one side."""

    size = POINTS

    def __init__(self, e: Emitter, kernel: Kernel, lanes: int):
        super().__init__(e, kernel, lanes)
        self.transform = _times(tuple(zip(*matrices(TILE).kernel, strict=True)))
        assert len(self.target) == 4 and self.target[0] == KERNEL

    def start(self, unit: Value) -> Index:
        return mul(self.e, unit, self.channels)

    def place(self, row: int, column: int) -> int:
        return (row * POINTS + column) * self.plane


def _times(rows) -> Transform:
    return lambda e, values: [combine(e, row, values) for row in rows]


class LineKernelsKernel(KernelsKernel):
    """Writes a `line_kernels`: one point less across."""

    def _vector(self, source: Value, target: Value, mask: Value | None) -> None:
        e, steps = self.e, range(self.size)
        columns, wide = [], self.source[0] // POINTS
        for q in range(wide):
            places = [(p * wide + q) * self.plane for p in steps]
            column = [_load(e, self.lanes, source, place, mask) for place in places]
            columns.append(self.transform(e, column))
        kernel = matrices(TILE).kernel[:-1] if wide > 1 else ((Fraction(1),),)
        rows = _times(tuple(zip(*kernel, strict=True)))
        results = [x for row in zip(*columns, strict=True) for x in rows(e, list(row))]
        for number, result in enumerate(results):
            self._store(target, number * self.plane, result, mask)


class LinePointsKernel:
    """Writes a `line_points`; a unit is one tile. What lies outside of the line is zero."""

    def __init__(self, e: Emitter, kernel: Kernel, lanes: int):
        self.e, self.kernel, self.lanes = e, kernel, lanes
        self.attrs = kernel.extra.geometry
        self.source, (_, self.units, self.wide) = (b.type.shape for b in kernel.buffers)
        side, self.step = self.attrs["side"], self.attrs["columns"]
        self.size = WINDOWS[side], width_of(self.step) if side == "data" else self.step
        if side == "data":
            self.down = lambda e, values: transform_data(e, TILE, values)
            self.across = lambda e, values: transform_data(e, TILE, [*values, values[-1]])[:-1]
        else:
            matrix = points_matrix(side)
            self.down = _times(matrix)
            self.across = _times(tuple(row[:KERNEL] for row in matrix[:-1]))
        if self.step == 1:
            self.across = lambda e, values: values

    def write(self) -> None:
        e, (images, length, channels) = self.e, self.source
        x, y = (Value(f"%b{b.slot}", "ptr") for b in self.kernel.buffers)
        zeros = self._zeros()
        dilation, parts = self.attrs["dilation"], self.attrs["parts"]
        tiles = self.units // max(images * dilation, 1)
        step = TILE * self.step * dilation
        with e.loop(Value("%begin", "i64"), Value("%end", "i64"), hint="unit") as unit:
            image, tile, phase = unravel(e, unit.index, [images, tiles, dilation])
            first = add(e, add(e, mul(e, tile, step), phase), -self.attrs["low"])
            base = mul(e, image, length * channels)
            target = e.gep("float", y, value(mul(e, unit.index, self.wide)), "to")

            def part(number: Index) -> None:
                begin = add(e, first, mul(e, number, part_of(self.step) * dilation))
                pixels = [self._pixel(x, zeros, base, begin, k) for k in range(self.reach)]
                to = e.gep("float", target, value(mul(e, number, channels)), "to")
                self._vectors(pixels, to)

            each(e, 0, parts, part, "part")

    @property
    def reach(self) -> int:
        return self.step * (self.size[0] - 1) + self.size[1]

    def _zeros(self) -> Value:
        name, type = f"@{self.kernel.name}_zeros", f"[{self.source[2]} x float]"
        self.e.globals[name] = f"{name} = private constant {type} zeroinitializer, align 64"
        return Value(name, "ptr")

    def _pixel(self, x: Value, zeros: Value, base: Index, begin: Index, k: int) -> Value:
        e, (_, length, channels) = self.e, self.source
        position = add(e, begin, k * self.attrs["dilation"])
        offset = value(add(e, base, mul(e, position, channels)))
        there = e.emit("ptr", f"getelementptr float, {x}, {offset}", "pixel")
        inside = e.binary("icmp ult", value(position), value(length), "inside")
        return e.select(inside, there, zeros, "pixel")

    def _vectors(self, pixels: list[Value], target: Value) -> None:
        whole, rest = divmod(self.source[2], self.lanes)
        each(self.e, 0, whole, lambda v: self._vector(pixels, target, v, None), "vector")
        if rest:
            self._vector(pixels, target, whole, prefix_mask(rest, self.lanes))

    def _vector(self, pixels: list[Value], target: Value, number: Index, mask) -> None:
        e, (high, wide) = self.e, self.size
        at = value(mul(e, number, self.lanes))
        columns = []
        for q in range(wide):
            pixel = [pixels[self.step * p + q] for p in range(high)]
            column = [_load(e, self.lanes, source, at, mask) for source in pixel]
            columns.append(self.down(e, column))
        rows = (self.across(e, list(row)) for row in zip(*columns, strict=True))
        for k, result in enumerate(x for row in rows for x in row):
            offset = add(e, at, k * self.units * self.wide)
            place = e.gep("float", target, value(offset))
            if mask is None:
                e.store(result, place, SIZE)
            else:
                e.masked_store(result, place, mask, SIZE)


KERNELS = {
    "winograd_points": PointsKernel,
    "winograd_kernels": KernelsKernel,
    "line_points": LinePointsKernel,
    "line_kernels": LineKernelsKernel,
}
