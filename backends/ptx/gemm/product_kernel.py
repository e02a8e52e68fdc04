"""The kernel of one product: blocks compute tiles of the result, then the group's other nodes.

    a and b in memory --(copies)--> tiles in shared memory --(core)--> sums in registers
        --> shared memory, slice by slice --(epilogue: what the kernel does with a sum)--> memory

While the core works on one tile the copies of the next ones are under way; one barrier per tile
keeps them apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

from nncomp.ir.index import Var
from nncomp.ir.loops import Expr
from nncomp.ir.types import DType

from ...expressions import Lanes
from ...llvm import Value
from ...scalar_types import memory_type
from ..emitter import PtxEmitter
from ..expressions import GpuExpressions
from ..kernel import Code, Launch
from .copies import TileCopy, vector_length
from .mma import MmaCore, MmaTile
from .places import Env, Places, number
from .product import Operand, Product
from .simt import SimtCore, SimtTile
from .words import barrier, commit, dynamic_array, element, shared_array, wait

STATIC = 48 * 1024  # bytes of shared memory that need no asking for
Tile = SimtTile | MmaTile
PER_GROUP = 8  # rows of tiles whose blocks run close together, to share columns in the cache


class ProductKernel:
    """Writes one kernel; `core` does the products of a tile."""

    def __init__(self, product: Product, tile: Tile, dtype: DType, aligned: bool):
        """`dtype` is that of the operands in shared memory."""
        self.product, self.tile, self.dtype = product, tile, dtype
        self.e = PtxEmitter("i32")
        self.threads = tile.threads(dtype.itemsize)
        self.core: SimtCore | MmaCore
        if isinstance(tile, MmaTile):
            along = (direction(product.a, aligned), direction(product.b, aligned))
            self.core = MmaCore(self.e, tile, dtype, along)
        else:
            self.core = SimtCore(self.e, tile, dtype)
        self.x = GpuExpressions(self.e, product.kernel)
        self.copies = [
            self._copy(operand, shape, aligned)
            for operand, shape in zip((product.a, product.b), self.core.shapes, strict=True)
        ]
        self.tiles = -(-product.depth.extent // tile.depth)
        self.row_tiles = -(-product.rows.extent // tile.rows)
        self.column_tiles = -(-product.columns.extent // tile.columns)

    def _copy(self, operand: Operand, shape, aligned: bool) -> TileCopy:
        vector = vector_length(operand, shape.along, aligned)
        return TileCopy(
            self.e, operand, shape, self.dtype, self.threads, vector, self._compute
        )

    def _compute(self, value: Expr, env: Env) -> Value:
        """A factor that is no plain load."""
        self.x.enter(dict(env))
        found = self.x.value(value)
        self.x.leave()
        return found

    # -- sizes -----------------------------------------------------------------------------------

    @property
    def blocks(self) -> int:
        return self.row_tiles * self.column_tiles * self.product.batch.extent

    @property
    def stage_bytes(self) -> int:
        return sum(shape.elements for shape in self.core.shapes) * self.dtype.itemsize

    @property
    def shared_bytes(self) -> int:
        results = self.core.slice_rows * self.core.pitch * self.core.dtype.itemsize
        return max(self.stage_bytes * self.tile.stages, results)

    # -- code ------------------------------------------------------------------------------------

    def code(self) -> Code:
        e, name = self.e, self.product.kernel.name
        is_dynamic = self.shared_bytes > STATIC
        array = dynamic_array if is_dynamic else shared_array
        size = () if is_dynamic else (self.shared_bytes,)
        self.memory = array(e, f"{name}_tiles", *size)
        places = Places(e)
        thread, block = e.special("tid.x"), e.special("ctaid.x")
        self._begin(places, thread, block)
        sums = self._loop(places)
        self._epilogue(places, thread, sums)
        parameters = [f"ptr align 16 %b{b.slot}" for b in self.product.kernel.buffers]
        text = e.kernel(name, parameters, self.threads, self.tile.blocks)
        shared = self.shared_bytes if is_dynamic else 0
        return Code(text, (Launch(name, (self.blocks, 1, 1), (self.threads, 1, 1), shared),))

    def _begin(self, places: Places, thread: Value, block: Value) -> None:
        """Which tile this block computes."""
        product, tile = self.product, self.tile
        count = self.row_tiles * self.column_tiles
        batch = places.div(block, count) if product.batch.extent > 1 else number(0)
        inner = places.rem(block, count) if product.batch.extent > 1 else block
        group = next(g for g in (PER_GROUP, 4, 2, 1) if self.row_tiles % g == 0)
        chunk, rest = group * self.column_tiles, inner
        first = places.mul(places.div(inner, chunk), group)
        rest = places.rem(inner, chunk)
        row, column = places.add(first, places.rem(rest, group)), places.div(rest, group)
        self.first_row = places.mul(row, tile.rows)
        self.first_column = places.mul(column, tile.columns)
        self.env: dict[Var, Value] = {product.batch: batch}
        firsts = self.first_row, self.first_column
        for copy, at in zip(self.copies, firsts, strict=True):
            copy.begin(places, thread, at, self.env)
        self.core.begin(places, thread)

    def _stage(self, places: Places, tile: Value) -> list[Value]:
        """Where the operands of a tile lie in shared memory."""
        start = places.mul(places.rem(tile, self.tile.stages), self.stage_bytes)
        base = element(self.e, "i8", self.memory, start)
        skip = number(self.core.shapes[0].elements * self.dtype.itemsize)
        return [base, element(self.e, "i8", base, skip)]

    def _issue(self, places: Places, tile: Value) -> None:
        """Start the copies of a tile that need no registers."""
        for copy, stage in zip(self.copies, self._stage(places, tile), strict=True):
            if copy.is_asynchronous:
                copy.issue(places, stage, tile)

    def _fetch(self, places: Places, tile: Value) -> list[list[Value]]:
        return [[] if c.is_asynchronous else c.fetch(places, tile) for c in self.copies]

    def _put(self, places: Places, tile: Value, values: list[list[Value]]) -> None:
        stages = self._stage(places, tile)
        for copy, stage, found in zip(self.copies, stages, values, strict=True):
            if found:
                copy.put(places, stage, found)

    def _loop(self, places: Places) -> list[Value]:
        """Over the tiles along the depth."""
        e, ahead = self.e, self.tile.stages - 1
        for k in range(ahead):
            if k < self.tiles:
                self._issue(places, number(k))
            commit(e)
        self._put(places, number(0), self._fetch(places, number(0)))
        with e.loop(0, self.tiles, carry=self.core.zeros(), hint="tile") as loop:
            inner = places.fork()
            wait(e, ahead - 1)
            barrier(e)
            following = inner.add(loop.index, ahead)
            with e.when(inner.below(following, self.tiles), "more"):
                self._issue(inner.fork(), following)
            commit(e)
            after = inner.least(inner.add(loop.index, 1), self.tiles - 1)
            values = self._fetch(inner, after)
            a, b = self._stage(inner, loop.index)
            sums = self.core.multiply(inner, a, b, loop.carry)
            self._put(inner, inner.add(loop.index, 1), values)
            loop.next(*sums)
        return loop.result

    # -- results ---------------------------------------------------------------------------------

    def _epilogue(self, places: Places, thread: Value, sums: Sequence[Value]) -> None:
        """Each slice of the sums through shared memory, so that neighbours are stored together."""
        e, core = self.e, self.core
        for slice_ in range(core.slices):
            barrier(e)
            core.write(places, slice_, self.memory, sums)
            barrier(e)
            self._finish(places, thread, slice_)

    def _finish(self, places: Places, thread: Value, slice_: int) -> None:
        e, product, tile = self.e, self.product, self.tile
        count = 16 // self.core.dtype.itemsize
        if product.columns.extent % count or product.valid is not None:
            count = 1
        across = tile.columns // count
        with e.loop(thread, self.core.slice_rows * across, self.threads, hint="out") as loop:
            here = places.fork()
            local, column = here.div(loop.index, across), here.rem(loop.index, across)
            column = here.mul(column, count)
            place = here.add(here.mul(local, self.core.pitch), column)
            row = here.add(here.add(self.first_row, local), slice_ * self.core.slice_rows)
            column = here.add(self.first_column, column)
            inside = here.both(
                self._within(here, row, product.rows, tile.rows),
                self._within(here, column, product.columns, tile.columns),
            )
            at = {**self.env, product.rows: row, product.columns: column}
            inside = here.both(inside, here.condition(product.valid, at))
            with nullcontext() if inside.ref == "true" else e.when(inside, "inside"):
                self._results(place, row, column, count)

    @staticmethod
    def _within(places: Places, at: Value, var: Var, width: int) -> Value:
        return places.below(at, var.extent) if var.extent % width else Value("true", "i1")

    def _results(self, place: Value, row: Value, column: Value, count: int) -> None:
        """Load `count` neighbouring sums and compute the kernel's stores with them."""
        product, x, type = self.product, self.x, memory_type(self.core.dtype.name)
        vector = f"<{count} x {type}>" if count > 1 else type
        at = element(self.e, type, self.memory, place)
        value = self.e.load(vector, at, count * self.core.dtype.itemsize)
        bound = {**self.env, product.rows: row}
        if count > 1:
            x.enter(bound, Lanes(product.columns, count, column, None))
        else:
            x.enter({**bound, product.columns: column})
        x.bind(product.accumulator, value)
        for s in product.stores:
            x.store(s)
        x.leave()



def direction(operand: Operand, aligned: bool) -> str:
    """Along which of its loops an operand's tile lies in shared memory: the one it is copied by."""
    for along in ("depth", "side"):
        if vector_length(operand, along, aligned) > 1:
            return along
    return operand.near
