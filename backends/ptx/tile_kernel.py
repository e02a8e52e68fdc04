"""Map kernels that read along one loop and write along another: tiles through shared memory.

    y[64*i0 + i1] = x[128*i1 + i0]   ->   32 x 32 elements are read along i0 and written along i1

A block computes a tile with neighbouring threads along the contiguous reads, leaves it in shared
memory, and writes it with neighbouring threads along the contiguous writes. Rows of the tile have
33 elements, so that a column of it lies in 32 different banks.
"""

from __future__ import annotations

from math import prod

from nncomp.ir.index import Var
from nncomp.ir.loops import Kernel

from ..llvm import Value
from ..memory import store
from ..transpose_kernel import TileSchedule, make_tile_schedule
from .element_kernel import parameters, row_variables
from .emitter import PtxEmitter
from .expressions import GpuExpressions
from .kernel import Code, Facts, Launch

SIDE = 32
ROWS = 8  # rows of threads: each takes every eighth row of the tile
LEAST = 16  # shorter loops are not worth a tile


def tiles_of(kernel: Kernel) -> TileSchedule | None:
    """The tiling of a kernel that is worth one."""
    tiles = make_tile_schedule(kernel, SIDE)
    if tiles is None or min(tiles.along.extent, tiles.across.extent) < LEAST:
        return None
    return tiles


class TileKernel(GpuExpressions):
    """Writes one tiled kernel: a block per tile."""

    def __init__(self, e: PtxEmitter, kernel: Kernel, tiles: TileSchedule, facts: Facts):
        super().__init__(e, kernel)
        self.tiles, self.facts = tiles, facts

    def write(self) -> Code:
        e, tiles = self.e, self.tiles
        wide, high = (-(-v.extent // SIDE) for v in (tiles.across, tiles.along))
        blocks = wide * high * prod(v.extent for v in tiles.rows)
        number = e.as_index(e.special("ctaid.x"))
        thread = e.as_index(e.special("tid.x"))
        self.x, self.y = e.remainder(thread, SIDE, "x"), e.quotient(thread, SIDE, "y")
        loops = (*tiles.rows, Var("tile_along", high), Var("tile_across", wide))
        at = row_variables(e, tuple(v for v in loops if v.extent > 1), number)
        first = {
            v: e.mul(at.pop(t), SIDE, "first") if t in at else e.index(0)
            for v, t in ((tiles.along, loops[-2]), (tiles.across, loops[-1]))
        }
        self.enter(at)
        dtype = tiles.store.buffer.type.dtype
        value_type = self._fill(first)
        e.barrier()
        self._write(first, value_type, dtype)
        self.leave()
        threads = SIDE * ROWS
        text = e.kernel(self.kernel.name, parameters(self.kernel, self.facts), threads)
        return Code(text, (Launch(self.kernel.name, (blocks, 1, 1), (threads, 1, 1)),))

    def _fill(self, first: dict[Var, Value]) -> str:
        """The tile's values into shared memory, neighbours along the reads; their type."""
        e, tiles = self.e, self.tiles
        across = e.add(first[tiles.across], self.x, "across")
        self.shared: Value | None = None
        kind = ""
        for row in range(0, SIDE, ROWS):
            y = e.add(self.y, row) if row else self.y
            along = e.add(first[tiles.along], y, "along")
            with e.when(self._inside(along, across)):
                self.enter({tiles.along: along, tiles.across: across})
                value = self.value(tiles.store.value)
                kind = "i8" if value.type == "i1" else value.type
                value = value if kind == value.type else e.convert("zext", value, kind)
                e.store(value, self._slot(kind, y, self.x))
                self.leave()
        return kind

    def _write(self, first: dict[Var, Value], kind: str, dtype) -> None:
        """The tile from shared memory to its place, neighbours along the writes."""
        e, tiles = self.e, self.tiles
        along = e.add(first[tiles.along], self.x, "along")
        for row in range(0, SIDE, ROWS):
            y = e.add(self.y, row) if row else self.y
            across = e.add(first[tiles.across], y, "across")
            with e.when(self._inside(along, across)):
                self.enter({tiles.along: along, tiles.across: across})
                value = e.load(kind, self._slot(kind, self.x, y))
                value = e.convert("trunc", value, "i1") if dtype.kind == "b" else value
                store(e, dtype, value, self.place(tiles.store.buffer, tiles.store.offset))
                self.leave()

    def _inside(self, along: Value, across: Value) -> Value:
        e, tiles = self.e, self.tiles
        below = e.below(along, tiles.along.extent)
        return e.binary("and", below, e.below(across, tiles.across.extent), "inside")

    def _slot(self, kind: str, y: Value, x: Value) -> Value:
        """Element (y, x) of the tile."""
        e = self.e
        if self.shared is None:
            self.shared = e.shared(f"{self.kernel.name}_tile", f"[{SIDE * (SIDE + 1)} x {kind}]")
        return e.element(kind, self.shared, e.add(e.mul(y, SIDE + 1), x))
