"""Products by ordinary multiply-adds, each thread a small rectangle of the tile.

A thread owns `groups` of rows and columns, each 16 bytes wide and spread evenly over the tile, so
that the lanes of a warp (4 by 8) read neighbouring 16 bytes of shared memory: no bank conflicts.
The sum runs in the order of the depth with one rounding per term.
"""

from __future__ import annotations

from dataclasses import dataclass

from nncomp.ir.types import DType

from ...llvm import Emitter, Value
from ...scalar_types import memory_type
from .copies import Shape
from .places import Places, number
from .words import element, joined, parts

LANES = (4, 8)  # of a warp, along rows and columns


@dataclass(frozen=True)
class SimtTile:
    """The tile of a block, and how many groups of rows and columns a thread has."""

    rows: int
    columns: int
    depth: int
    row_groups: int
    column_groups: int
    stages: int = 2
    blocks: int = 1  # that share a multiprocessor

    def group(self, itemsize: int) -> int:
        """Rows or columns that lie side by side."""
        return 16 // itemsize

    def threads(self, itemsize: int) -> int:
        rows = self.rows // (self.row_groups * self.group(itemsize))
        return rows * (self.columns // (self.column_groups * self.group(itemsize)))

    def shape(self, width: int, itemsize: int) -> Shape:
        """Of an operand's tile: rows of `width`, padded so that columns are spread over banks."""
        return Shape(width, self.depth, "side", width + 16 // itemsize)


class SimtCore:
    """The multiply-adds of one thread."""

    def __init__(self, e: Emitter, tile: SimtTile, dtype: DType):
        self.e, self.tile, self.dtype = e, tile, dtype
        self.type = memory_type(dtype.name)
        self.group = tile.group(dtype.itemsize)
        self.shapes = [tile.shape(w, dtype.itemsize) for w in (tile.rows, tile.columns)]
        self.slices = tile.row_groups
        self.pitch = tile.columns + self.group
        self.slice_rows = tile.rows // tile.row_groups

    def begin(self, places: Places, thread: Value) -> None:
        """Where this thread's groups lie."""
        across = self.tile.columns // (self.tile.column_groups * self.group)
        warp, lane = places.div(thread, 32), places.rem(thread, 32)
        warps = across // LANES[1]
        x = places.add(places.mul(places.rem(warp, warps), LANES[1]), places.rem(lane, LANES[1]))
        y = places.add(places.mul(places.div(warp, warps), LANES[0]), places.div(lane, LANES[1]))
        self.at = [places.mul(v, self.group) for v in (y, x)]

    def zeros(self) -> list[Value]:
        tile = self.tile
        count = tile.row_groups * tile.column_groups * self.group**2
        return [self.e.const(self.type, 0)] * count

    def multiply(self, places: Places, a: Value, b: Value, sums: list[Value]) -> list[Value]:
        """The sums with a tile's products added; `a` and `b` are where its operands lie."""
        first = [
            element(self.e, self.type, base, at) for base, at in zip((a, b), self.at, strict=True)
        ]
        groups = self.tile.row_groups, self.tile.column_groups
        name = f"llvm.fma.{'f64' if self.type == 'double' else 'f32'}"
        for k in range(self.tile.depth):
            left, right = (
                self._values(base, shape, k, count)
                for base, shape, count in zip(first, self.shapes, groups, strict=True)
            )
            pairs = [(x, y) for x in left for y in right]
            sums = [
                self.e.call(self.type, name, x, y, total, hint="s")
                for (x, y), total in zip(pairs, sums, strict=True)
            ]
        return sums

    def _values(self, base: Value, shape: Shape, k: int, groups: int) -> list[Value]:
        """This thread's elements of row `k` of an operand's tile."""
        found = []
        for g in range(groups):
            offset = number(k * shape.pitch + g * (shape.width // groups))
            at = element(self.e, self.type, base, offset)
            found += parts(self.e, self.e.load(f"<{self.group} x {self.type}>", at, 16))
        return found

    def write(self, places: Places, slice_: int, base: Value, sums) -> None:
        """Put the sums of one slice of the tile's rows into shared memory, row by row."""
        columns = self.tile.column_groups * self.group
        apart = self.tile.columns // self.tile.column_groups
        start = places.add(places.mul(self.at[0], self.pitch), self.at[1])
        for row in range(self.group):
            first = (slice_ * self.group + row) * columns
            mine = sums[first : first + columns]
            for g in range(self.tile.column_groups):
                place = places.add(start, row * self.pitch + g * apart)
                values = joined(self.e, mine[g * self.group : (g + 1) * self.group])
                self.e.store(values, element(self.e, self.type, base, place), 16)
