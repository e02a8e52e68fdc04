"""Code for convolutions with a long kernel along one axis by Winograd's method.

The image of overlapping rows (ir/ops/winograd_line.py) is not made: a tile's pixels are neighbours
along the axis, some of them twice. So V is computed from the line itself, part by part of the
kernel, results go to their places in the line, and the sixth point across is left out.
"""

from __future__ import annotations

from collections.abc import Callable

from nncomp.ir.loops import Slide
from nncomp.ir.ops.winograd_line import part_of, width_of

from ..llvm import Value, vector_type
from .contract_index import Index, add, each, mul, unravel, value
from .winograd_kernel import SIZE, WinogradKernel
from .winograd_line_plan import LinePlan, line_plan_for
from .winograd_transform import transform_data, transform_result


class WinogradLineKernel(WinogradKernel):
    """Writes one such convolution with the group's other nodes as epilogue."""

    shape: LinePlan

    def _shape_of(self, extra: Slide) -> LinePlan:
        return line_plan_for(extra.a.type.shape, extra.b.type.shape, extra.geometry)

    def _corner(self, down: Index, across: Index) -> list[Index]:
        return [add(self.e, mul(self.e, down, self._step * self.shape.dilation), across)]

    @property
    def _step(self) -> int:
        """Results of a tile."""
        return self.shape.tile * self.shape.wide

    # -- V: the data at the points -----------------------------------------------------------

    def _transform_tile(self, tile: Index, t: Index) -> None:
        e, shape = self.e, self.shape
        target = e.gep("float", self.v, value(mul(e, t, shape.v_row)), "to")
        channels = shape.line[2]

        def part(number: Index) -> None:
            self._fill_line(tile, number)
            to = e.gep("float", target, value(mul(e, number, channels)), "to")
            self._vectors(channels, lambda c, mask: self._transform_vector(to, c, mask))

        each(e, 0, shape.parts, part, "part")

    def _fill_line(self, tile: Index, part: Index) -> None:
        """The addresses of the elements that a tile reads for one part of the kernel."""
        e, shape = self.e, self.shape
        _, length, channels = shape.line
        image, down, phase = unravel(e, tile, shape.grid)
        (first,) = self._corner(down, phase)
        step = part_of(shape.wide) * shape.dilation
        first = add(e, add(e, first, mul(e, part, step)), -shape.low)
        base = mul(e, image, length * channels)
        source = self.pointers[self.extra.a.slot]
        for k in range(shape.reach):
            position = add(e, first, k * shape.dilation)
            offset = add(e, base, mul(e, position, channels))
            there = e.emit("ptr", f"getelementptr float, {source}, {value(offset)}", "pixel")
            pixel = e.select(self._inside(position, length), there, self.zeros, "pixel")
            e.store(pixel, e.gep("ptr", self.table, k), 8)

    def _transform_vector(self, target: Value, c: Index, mask: Value | None) -> None:
        e, shape = self.e, self.shape
        columns = []
        for x in range(width_of(shape.wide)):
            column = [self._element(shape.wide * r + x, c, mask) for r in range(shape.size)]
            columns.append(transform_data(e, shape.tile, column))
        to = e.gep("float", target, value(c), "to")
        for i, row in enumerate(zip(*columns, strict=True)):
            if shape.wide > 1:  # the point at infinity, and so the last number, has no use
                row = transform_data(e, shape.tile, [*row, row[-1]])[:-1]
            for j, v in enumerate(row):
                e.store(v, e.gep("float", to, (i * shape.rank + j) * shape.v_point), SIZE)

    def _element(self, k: int, c: Index, mask: Value | None) -> Value:
        e, type = self.e, vector_type("float", self.width)
        pixel = e.load("ptr", e.gep("ptr", self.table, k), 8, "pixel")
        address = e.gep("float", pixel, value(c))
        if mask is None:
            return e.load(type, address, SIZE, "d")
        return e.masked_load(type, address, mask, SIZE, e.const(type, 0))

    # -- M: the products, and results ----------------------------------------------------------

    def _point(self, batch: list[Value]) -> Index:
        return add(self.e, mul(self.e, batch[0], self.shape.rank), batch[1])

    def _finish_vector(self, source: Value, at: Index, n: Index, mask, image, corner) -> None:
        e, shape = self.e, self.shape
        source = e.gep("float", source, value(at), "from")
        type, steps = vector_type("float", self.width), range(shape.size)
        columns = []
        for x in range(shape.across):
            offsets = [(i * shape.rank + x) * shape.m_point for i in steps]
            places = [e.gep("float", source, offset) for offset in offsets]
            loaded = [e.load(type, place, SIZE, "m") for place in places]
            columns.append(transform_result(e, shape.tile, loaded))
        finish = self._call_finisher if self.is_long else self._finish
        for i, row in enumerate(zip(*columns, strict=True)):
            if shape.wide > 1:
                row = transform_result(e, shape.tile, [*row, row[-1]])[: shape.wide]
            for j, v in enumerate(row):
                k = shape.wide * i + j
                where = [value(image), value(add(e, corner[0], k * shape.dilation))]

                def write(where: list[Value] = where, v: Value = v) -> None:
                    finish(e, [v], [], where, value(n), mask)

                self._where_exists(where[1], k, write)

    def _where_exists(self, at: Value, k: int, body: Callable[[], None]) -> None:
        """Run `body` if result k of this tile exists; all tiles but the last are whole."""
        length, apart = self.shape.length, self.shape.dilation
        if (k + 1) * apart <= (length - 1) % (self._step * apart) + 1:
            body()
            return
        with self.e.when(self.e.binary("icmp slt", at, value(length), "inside")):
            body()
