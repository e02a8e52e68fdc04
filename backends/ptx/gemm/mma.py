"""Products by tensor cores (mma.sync): bfloat16 and float16, or float32 rounded to tf32.

A warp multiplies fragments of 16 rows, 8 columns and 32 bytes of depth, and adds in float32. The
order within one instruction is the hardware's; that of the instructions is fixed. `tf32x3` splits
each float32 in a rounded part and the rest and drops only the product of the two rests, for nearly
float32's accuracy (as in CUTLASS's example 27 and Ootomo and Yokota, 2022, section 3).
"""

from __future__ import annotations

from dataclasses import dataclass

from nncomp.ir.types import DType, float32

from ...llvm import Emitter, Value
from .copies import Shape
from .places import Places, number
from .words import element, joined

ROWS, COLUMNS = 16, 8  # of a fragment of the result
FOUR = "{ i32, i32, i32, i32 }"
PAD = 16  # bytes behind each row of a tile in shared memory, which spread columns over banks


@dataclass(frozen=True)
class MmaTile:
    """The tile of a block and the warps along its rows and columns."""

    rows: int
    columns: int
    depth: int
    row_warps: int
    column_warps: int
    stages: int = 3
    mode: str = "native"  # native: 16-bit operands; tf32 | tf32x3: float32 operands
    blocks: int = 1  # that share a multiprocessor

    def threads(self, itemsize: int) -> int:
        return self.row_warps * self.column_warps * 32

    @property
    def row_fragments(self) -> int:
        return self.rows // self.row_warps // ROWS

    @property
    def column_fragments(self) -> int:
        return self.columns // self.column_warps // COLUMNS

    def shape(self, width: int, itemsize: int, along: str) -> Shape:
        """Of an operand's tile in shared memory."""
        if along == "depth":
            return Shape(width, self.depth, along, self.depth + PAD // itemsize)
        pad = PAD // itemsize if itemsize == 2 else 2 * PAD // itemsize
        return Shape(width, self.depth, along, width + pad)


class MmaCore:
    """The fragments of one warp."""

    def __init__(self, e: Emitter, tile: MmaTile, dtype: DType, along: tuple[str, str]):
        self.e, self.tile, self.source, self.dtype = e, tile, dtype, float32
        self.step = 32 // dtype.itemsize  # depth of one instruction
        self.type = {"float16": "half", "bfloat16": "bfloat"}.get(dtype.name, "float")
        widths = zip((tile.rows, tile.columns), along, strict=True)
        self.shapes = [tile.shape(w, dtype.itemsize, a) for w, a in widths]
        self.slices = tile.row_fragments
        self.slice_rows = tile.rows // tile.row_fragments
        self.pitch = tile.columns + 8

    def begin(self, places: Places, thread: Value) -> None:
        """Where this lane reads in the tiles, for its warp's first fragments."""
        tile = self.tile
        self.lane, warp = places.rem(thread, 32), places.div(thread, 32)
        row_warp, column_warp = places.div(warp, tile.column_warps), places.rem(
            warp, tile.column_warps
        )
        self.first = [
            places.mul(row_warp, ROWS),
            places.mul(column_warp, tile.columns // tile.column_warps),
        ]
        self.starts = [self._start(places, side) for side in (0, 1)]

    def _start(self, places: Places, side: int) -> Value:
        """Place of the first element that this lane loads (ldmatrix: the row it points at)."""
        shape, lane = self.shapes[side], self.lane
        if self._is_scattered(shape):
            at = places.div(lane, 4), places.rem(lane, 4)
        else:
            half = self.step // 2
            low, bit3, bit4 = (
                places.rem(lane, 8), places.rem(places.div(lane, 8), 2), places.div(lane, 16)
            )  # fmt: skip
            across, down = (bit3, bit4) if side == 0 else (bit4, bit3)
            if shape.along == "depth":
                at = places.add(low, places.mul(across, 8)), places.mul(down, half)
            else:
                at = places.mul(across, 8), places.add(low, places.mul(down, half))
        return shape.place(places, places.add(self.first[side], at[0]), at[1])

    def _is_scattered(self, shape: Shape) -> bool:
        """32-bit elements cannot be turned by ldmatrix: lanes load them one by one."""
        return self.step == 8 and shape.along == "side"

    def zeros(self) -> list[Value]:
        count = self.tile.row_fragments * self.tile.column_fragments * 4
        return [self.e.const("float", 0)] * count

    # -- products --------------------------------------------------------------------------------

    def multiply(self, places: Places, a: Value, b: Value, sums: list[Value]) -> list[Value]:
        """The sums with a tile's products added; `a` and `b` are where its operands lie."""
        operands = zip((a, b), self.starts, strict=True)
        bases = [element(self.e, self.type, base, at) for base, at in operands]
        for depth in range(0, self.tile.depth, self.step):
            left = [self._left(bases[0], depth, k) for k in range(self.tile.row_fragments)]
            right = [
                fragment
                for k in range(0, self.tile.column_fragments, 2)
                for fragment in self.right(bases[1], depth, k)
            ]
            pairs = [(x, y) for x in left for y in right]
            sums = [
                value
                for k, (x, y) in enumerate(pairs)
                for value in self.add(sums[4 * k : 4 * k + 4], x, y)
            ]
        return sums

    def _left(self, base: Value, depth: int, fragment: int):
        """Four registers of a's fragment."""
        side = fragment * self.slice_rows
        shape, half = self.shapes[0], self.step // 2
        if not self._is_scattered(shape):
            return self._split(self._matrices(base, shape, side, depth))
        spots = [(side, 0), (side + 8, 0), (side, half), (side + 8, half)]
        return self._split([self._word(base, shape, s, depth + d) for s, d in spots])

    def right(self, base: Value, depth: int, fragment: int):
        """Two registers of each of two neighbouring fragments of b."""
        side = fragment * COLUMNS
        shape, half = self.shapes[1], self.step // 2
        if not self._is_scattered(shape):
            words = self._matrices(base, shape, side, depth)
        else:
            spots = [(side, 0), (side, half), (side + 8, 0), (side + 8, half)]
            words = [self._word(base, shape, s, depth + d) for s, d in spots]
        return self._split(words[:2]), self._split(words[2:])

    def _offset(self, shape: Shape, side: int, depth: int) -> Value:
        along = side + depth * shape.pitch if shape.along == "side" else side * shape.pitch + depth
        return number(along)

    def _matrices(self, base: Value, shape: Shape, side: int, depth: int) -> list[Value]:
        """Four 8 by 8 matrices of 16-bit elements, turned where the tile lies across."""
        at = element(self.e, self.type, base, self._offset(shape, side, depth))
        turned = ".trans" if shape.along == "side" else ""
        symbol = f"llvm.nvvm.ldmatrix.sync.aligned.m8n8.x4{turned}.b16.p3"
        whole = self.e.call(FOUR, symbol, at, hint="frag")
        return [self.e.emit("i32", f"extractvalue {whole}, {k}", "a") for k in range(4)]

    def _word(self, base: Value, shape: Shape, side: int, depth: int) -> Value:
        at = element(self.e, self.type, base, self._offset(shape, side, depth))
        return self.e.load("i32", at, 4)

    def _split(self, words: list[Value]) -> list[list[Value]]:
        """The registers as the instruction takes them; with tf32x3 also what rounding left."""
        if self.tile.mode == "native":
            return [words]
        e = self.e
        floats = [e.convert("bitcast", w, "float") for w in words]
        high = [e.call("i32", "llvm.nvvm.f2tf32.rna", x, hint="high") for x in floats]
        if self.tile.mode == "tf32":
            return [high]
        rounded = [e.convert("bitcast", h, "float") for h in high]
        rest = [e.binary("fsub", x, h) for x, h in zip(floats, rounded, strict=True)]
        return [high, [e.call("i32", "llvm.nvvm.f2tf32.rna", x, hint="low") for x in rest]]

    def add(self, sums: list[Value], left, right) -> list[Value]:
        """The four sums of this lane in a fragment, with the product of two fragments added."""
        if self.tile.mode == "tf32x3":
            sums = self._mma(sums, left[1], right[0])
            sums = self._mma(sums, left[0], right[1])
        return self._mma(sums, left[0], right[0])

    def _mma(self, sums: list[Value], left: list[Value], right: list[Value]) -> list[Value]:
        e = self.e
        if self.type == "half":
            left, right = (
                [e.emit("<2 x half>", f"bitcast {w} to <2 x half>", "h") for w in words]
                for words in (left, right)
            )
        name = {"half": "k16.row.col.f32.f32", "bfloat": "k16.row.col.bf16"}
        symbol = f"llvm.nvvm.mma.m16n8{name.get(self.type, 'k8.row.col.tf32')}"
        type = "{ float, float, float, float }"
        whole = e.call(type, symbol, *left, *right, *sums, hint="mma")
        return [e.emit("float", f"extractvalue {whole}, {k}", "s") for k in range(4)]

    # -- results ---------------------------------------------------------------------------------

    def write(self, places: Places, slice_: int, base: Value, sums) -> None:
        """Put the fragments of one slice of the tile's rows into shared memory, row by row."""
        row = places.add(self.first[0], places.div(self.lane, 4))
        column = places.add(self.first[1], places.mul(places.rem(self.lane, 4), 2))
        start = places.add(places.mul(row, self.pitch), column)
        count = self.tile.column_fragments
        for k in range(count):
            mine = sums[(slice_ * count + k) * 4 : (slice_ * count + k) * 4 + 4]
            for half in (0, 1):
                place = places.add(start, half * 8 * self.pitch + k * COLUMNS)
                pair = joined(self.e, mine[2 * half : 2 * half + 2])
                self.e.store(pair, element(self.e, "float", base, place), 8)
