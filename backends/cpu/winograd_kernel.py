"""Code for Winograd convolutions: transform a block of tiles, multiply, transform back, epilogue.

Every step works on whole vectors of channels, which are neighbours in memory. Where a tile reaches
beyond the image, its pixels are read from a row of zeros: a table holds the addresses of a tile's
pixels, so padding costs neither a copy of the image nor code of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from math import gcd, prod

from nncomp.ir.loops import Kernel, Slide

from ..expressions import Isa
from ..llvm import Emitter, Value, vector_type
from ..reductions import prefix_mask
from .contract_emit import emit_contraction
from .contract_index import Index, add, each, low, mul, unravel, value
from .contract_kernel import ContractKernel
from .target import Target
from .winograd_plan import WinogradPlan, plan_for
from .winograd_transform import transform_data, transform_kernel, transform_result

SIZE = 4  # bytes of a float


class WinogradKernel(ContractKernel):
    """Writes one Winograd convolution with the group's other nodes as epilogue."""

    def __init__(self, e: Emitter, kernel: Kernel, target: Target, isa: Isa):
        extra = kernel.extra
        self.shape = self._shape_of(extra)
        if extra.geometry["workspace"] < self.shape.units * self.shape.room:
            raise ValueError(
                f"{kernel.name} has a workspace of {extra.geometry['workspace']} floats; expected "
                f"{self.shape.room} for each of {self.shape.units} units"
            )
        super().__init__(e, kernel, self.shape.products(target), isa)
        self.width = self.plan.lanes

    def _shape_of(self, extra: Slide) -> WinogradPlan:
        return plan_for(extra.a.type.shape, extra.b.type.shape, extra.geometry)

    def write(self) -> None:
        e, shape = self.e, self.shape
        begin, end = Value("%begin", "i64"), Value("%end", "i64")
        workspace = max(self.pointers.values(), key=lambda p: int(p.ref[2:]))
        self.v = e.gep("float", workspace, mul(e, begin, shape.room), "v")
        self.m = e.gep("float", self.v, shape.m_start, "m")
        table = f"alloca [{shape.points} x ptr], align 64"
        self.table = e.emit("ptr", table, "table")
        self.zeros = self._zeros()
        self.hoist(self.fixed)
        if self.is_long:
            self.fill_frame()
        with e.loop(begin, end, hint="unit") as unit:
            rows, columns = unravel(
                e, unit.index, [shape.blocking.tile_units, shape.blocking.panel_units]
            )
            blocks = self._share(rows, shape.blocks, shape.blocking.tile_units)
            turns = self._share(columns, shape.turns, shape.blocking.panel_units)
            is_new = self._is_new(unit.index, columns, begin)
            each(e, *blocks, lambda block: self._block(block, turns, is_new), "block")

    def _is_new(self, unit: Value, columns: Index, begin: Value) -> Value | None:
        """Whether V must be computed: not where the unit before was another share of the panels.
        """
        if isinstance(columns, int):
            return None
        first = self.e.binary("icmp eq", columns, value(0), "first")
        return self.e.binary("or", first, self.e.binary("icmp eq", unit, begin, "first"), "new")

    def _zeros(self) -> Value:
        """A row of zeros, as many as there are channels."""
        name = f"@{self.kernel.name}_zeros"
        type = f"[{self.shape.v_row} x float]"
        self.e.globals[name] = f"{name} = private constant {type} zeroinitializer, align 64"
        return Value(name, "ptr")

    def _share(self, number: Index, total: int, shares: int) -> tuple[Index, Index]:
        """The part of range(total) that is share `number`."""
        if total == shares:
            return number, add(self.e, number, 1)
        return self._part(number, total, shares), self._part(
            add(self.e, number, 1), total, shares
        )

    def _part(self, number: Index, total: int, shares: int) -> Index:
        if isinstance(number, int):
            return number * total // shares
        return self.e.binary("udiv", mul(self.e, number, total), value(shares), "part")

    def _block(self, block: Index, turns: tuple[Index, Index], is_new: Value | None) -> None:
        e, shape = self.e, self.shape
        first = mul(e, block, shape.blocking.tiles)
        end = low(e, add(e, first, shape.blocking.tiles), prod(shape.grid))
        count = add(e, end, mul(e, first, -1))
        with e.when(is_new) if is_new else nullcontext():
            each(e, 0, count, lambda t: self._transform_tile(add(e, first, t), t), "tile")

        def turn(number: Index) -> None:
            self._multiply(number)
            each(e, 0, count, lambda t: self._finish_tile(add(e, first, t), t, number), "tile")

        each(e, *turns, turn, "turn")

    # -- V: the data at the points -----------------------------------------------------------

    def _transform_tile(self, tile: Index, t: Index) -> None:
        self._fill_table(tile)
        target = self.e.gep("float", self.v, value(mul(self.e, t, self.shape.v_row)), "to")
        channels = self.shape.image[3]
        self._vectors(channels, lambda c, mask: self._transform_vector(target, c, mask))

    def _vectors(self, count: int, body: Callable[[Index, Value | None], None]) -> None:
        """`body` for each vector of a row of `count` floats, the last one masked."""
        e, full = self.e, count // self.width
        each(e, 0, full, lambda v: body(mul(e, v, self.width), None), "vector")
        if count % self.width:
            body(full * self.width, prefix_mask(count % self.width, self.width))

    def _fill_table(self, tile: Index) -> None:
        """The addresses of the tile's pixels."""
        e, shape = self.e, self.shape
        _, high, wide, channels = shape.image
        image, down, across = unravel(e, tile, shape.grid)
        (top, _), (left, _) = shape.padding
        y, x = (
            add(e, mul(e, i, shape.tile), -pad) for i, pad in ((down, top), (across, left))
        )
        base = mul(e, image, high * wide * channels)
        ys = [self._inside(add(e, y, r), high) for r in range(shape.size)]
        xs = [self._inside(add(e, x, c), wide) for c in range(shape.size)]
        lines = [add(e, base, mul(e, add(e, y, r), wide * channels)) for r in range(shape.size)]
        columns = [mul(e, add(e, x, c), channels) for c in range(shape.size)]
        source = self.pointers[self.extra.a.slot]
        for r in range(shape.size):
            for c in range(shape.size):
                there = e.emit(
                    "ptr",
                    f"getelementptr float, {source}, {value(add(e, lines[r], columns[c]))}",
                    "pixel",
                )
                inside = e.binary("and", ys[r], xs[c], "inside")
                pixel = e.select(inside, there, self.zeros, "pixel")
                e.store(pixel, e.gep("ptr", self.table, r * shape.size + c), 8)

    def _inside(self, i: Index, length: int) -> Value:
        return self.e.binary("icmp ult", value(i), value(length), "inside")

    def _transform_vector(self, target: Value, c: Index, mask: Value | None) -> None:
        e, shape = self.e, self.shape
        columns = []
        for x in range(shape.size):
            column = [self._pixel(r, x, c, mask) for r in range(shape.size)]
            columns.append(transform_data(e, shape.tile, column))
        to = e.gep("float", target, value(c), "to")
        for i, row in enumerate(zip(*columns, strict=True)):
            for j, v in enumerate(transform_data(e, shape.tile, list(row))):
                e.store(v, e.gep("float", to, (i * shape.size + j) * shape.v_point), SIZE)

    def _pixel(self, r: int, x: int, c: Index, mask: Value | None) -> Value:
        e = self.e
        type = vector_type("float", self.width)
        pixel = e.load("ptr", e.gep("ptr", self.table, r * self.shape.size + x), 8, "pixel")
        address = e.gep("float", pixel, value(c))
        if mask is None:
            return e.load(type, address, SIZE, "d")
        return e.masked_load(type, address, mask, SIZE, e.const(type, 0))

    # -- M: the products ---------------------------------------------------------------------

    def _multiply(self, turn: Index) -> None:
        e, shape = self.e, self.shape
        offset = mul(e, turn, shape.columns * shape.image[3])
        b = e.gep("float", self.pointers[self.extra.b.slot], value(offset), "u")

        def keep(e: Emitter, sums: list[Value], batch, m, n: Value, mask) -> None:
            at = mul(e, self._point(batch), shape.m_point)
            at = add(e, add(e, at, mul(e, m[0], shape.columns)), n)
            e.store(sums[0], e.gep("float", self.m, at), SIZE)

        units = Value(str(self.plan.units), "i64")
        emit_contraction(e, self.plan, self.v, b, Value("0", "i64"), units, keep)

    def _point(self, batch: list[Value]) -> Index:
        """The number of the point that a product belongs to."""
        return batch[0]

    # -- results -----------------------------------------------------------------------------

    def _finish_tile(self, tile: Index, t: Index, turn: Index) -> None:
        e, shape = self.e, self.shape
        image, down, across = unravel(e, tile, shape.grid)
        corner = self._corner(down, across)
        source = e.gep("float", self.m, value(mul(e, t, shape.columns)), "from")
        begin = mul(e, turn, shape.columns)

        def vector(v: Index) -> None:
            at = mul(e, v, self.width)
            self._finish_vector(source, at, add(e, begin, at), None, image, corner)

        whole, rest = divmod(shape.n, self.width)
        full = shape.columns // self.width
        if shape.n % shape.columns:
            left = add(e, mul(e, turn, -full), whole)
            each(e, 0, low(e, left, full), vector, "vector")
        else:
            each(e, 0, full, vector, "vector")
        if rest:
            mask = prefix_mask(rest, self.width)
            with e.when(e.binary("icmp eq", value(turn), value(shape.turns - 1), "last")):
                at = whole * self.width - (shape.turns - 1) * shape.columns
                self._finish_vector(source, at, whole * self.width, mask, image, corner)

    def _corner(self, down: Index, across: Index) -> list[Index]:
        """Where the results of a tile begin."""
        return [mul(self.e, i, self.shape.tile) for i in (down, across)]

    def _finish_vector(self, source: Value, at: Index, n: Index, mask, image, corner) -> None:
        e, shape = self.e, self.shape
        source = e.gep("float", source, value(at), "from")
        type = vector_type("float", self.width)
        loaded = [
            e.load(type, e.gep("float", source, i * shape.m_point), SIZE, "m")
            for i in range(shape.points)
        ]
        columns = [
            transform_result(e, shape.tile, loaded[x :: shape.size]) for x in range(shape.size)
        ]
        finish = self._call_finisher if self.is_long else self._finish
        for i, row in enumerate(zip(*columns, strict=True)):
            y = add(e, corner[0], i)

            def write_row(y: Index = y, row=row) -> None:
                for j, v in enumerate(transform_result(e, shape.tile, list(row))):
                    x = add(e, corner[1], j)

                    def write(x: Index = x, v: Value = v) -> None:
                        where = [value(image), value(y), value(x)]
                        finish(e, [v], [], where, value(n), mask)

                    self._where_inside(x, j, shape.out[1], write)

            self._where_inside(y, i, shape.out[0], write_row)

    def _where_inside(self, at: Index, i: int, length: int, body: Callable[[], None]) -> None:
        """Run `body` if line `i` of this tile exists; all tiles but the last are whole."""
        if i < (length - 1) % self.shape.tile + 1:
            body()
        else:
            with self.e.when(self.e.binary("icmp slt", value(at), value(length), "inside")):
                body()


class WeightKernel:
    """Writes the transform of the kernels; a unit is one panel of one input channel."""

    def __init__(self, e: Emitter, kernel: Kernel, lanes: int):
        self.e, self.kernel = e, kernel
        self.tile, self.panel = (kernel.extra.geometry[k] for k in ("tile", "panel"))
        self.source, self.target = (b.type.shape for b in kernel.buffers)
        self.width = gcd(lanes, self.panel)

    @property
    def units(self) -> int:
        return self.target[1] * self.target[2]

    def write(self) -> None:
        e, (channels, columns) = self.e, self.source[2:]
        w, u = (Value(f"%b{b.slot}", "ptr") for b in self.kernel.buffers)
        with e.loop(Value("%begin", "i64"), Value("%end", "i64"), hint="unit") as unit:
            panel, c = unravel(e, unit.index, [self.target[1], channels])
            source = e.gep("float", w, value(mul(e, c, columns)), "from")
            target = e.gep("float", u, value(mul(e, unit.index, self.panel)), "to")
            first = mul(e, panel, self.panel)

            def vector(v: Index) -> None:
                at = mul(e, v, self.width)
                n = add(e, first, at)
                if columns % self.panel == 0:
                    self._vector(source, target, n, at, None)
                    return
                with e.when(e.binary("icmp sle", value(n), value(columns - self.width), "full")):
                    self._vector(source, target, n, at, None)
                with e.when(e.binary("icmp sgt", value(n), value(columns - self.width), "rest")):
                    live = e.binary("icmp slt", value(n), value(columns), "live")
                    lanes = prefix_mask(columns % self.width, self.width)
                    none = e.const(lanes.type, 0)
                    self._vector(source, target, n, at, e.select(live, lanes, none))

            each(e, 0, self.panel // self.width, vector, "vector")

    def _vector(self, source: Value, target: Value, n: Index, at: Index, mask) -> None:
        e, size, wide = self.e, self.tile + 2, self.source[1]
        w = [[self._load(source, n, wide * r + s, mask) for r in range(3)] for s in range(wide)]
        columns = [transform_kernel(e, self.tile, column) for column in w]
        stride = self.target[1] * self.target[2] * self.panel
        to = e.gep("float", target, value(at), "to")
        for i, row in enumerate(zip(*columns, strict=True)):
            points = transform_kernel(e, self.tile, list(row)) if wide > 1 else row
            for j, v in enumerate(points):
                v = e.convert("fptrunc", v, "float")
                number = i * size + j if wide > 1 else i
                e.store(v, e.gep("float", to, number * stride), SIZE)

    def _load(self, source: Value, n: Index, tap: int, mask: Value | None) -> Value:
        e, type = self.e, vector_type("float", self.width)
        place = add(e, n, tap * self.source[2] * self.source[3])
        address = e.gep("float", source, value(place))
        if mask is None:
            loaded = e.load(type, address, SIZE, "w")
        else:
            loaded = e.masked_load(type, address, mask, SIZE, e.const(type, 0))
        return e.convert("fpext", loaded, "double")
