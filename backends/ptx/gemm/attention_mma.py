"""Attention in bfloat16 or float16 on tensor cores.

A warp has 16 rows. The fragment that a product of queries and keys leaves in registers is, rounded
to 16 bits, the left operand of the product with the values (FlashAttention-2, Dao 2023, section
3.3), so weights never leave the registers. Powers of two are the hardware's: 16-bit results hide
their error of 2 units in the last place of float32.
"""

from __future__ import annotations

import math

from nncomp.ir.loops import Kernel

from ...llvm import Value
from ...scalar import memory_type, to_memory
from .attention import BLOCK, AttentionKernel, Geometry
from .copies import Shape
from .mma import COLUMNS, ROWS, MmaCore, MmaTile
from .places import Places
from .words import element, joined

WARPS = BLOCK // ROWS
STEP = 16  # keys of one instruction


class MmaAttention(AttentionKernel):
    """Writes the kernel of one 16-bit `attention` node."""

    row_count, key_count, partners = 2, BLOCK // 4, (1, 2)
    blocks = 3

    def set_up(self, kernel: Kernel, walk: Geometry, aligned: bool) -> None:
        super().set_up(kernel, walk, aligned)
        self.sums = self.width // COLUMNS * 4
        self.type = memory_type(self.dtype.name)
        scores = MmaTile(BLOCK, BLOCK, self.depth, WARPS, 1)
        result = MmaTile(BLOCK, self.width, BLOCK, WARPS, 1)
        self.first_core = MmaCore(self.e, scores, self.dtype, ("depth", "depth"))
        self.second_core = MmaCore(self.e, result, self.dtype, ("depth", "side"))

    def tile_shapes(self) -> tuple[Shape, ...]:
        self.width = -(-self.walk.width // STEP) * STEP
        tile = MmaTile(BLOCK, self.width, BLOCK, WARPS, 1)
        queries = Shape(BLOCK, self.depth, "depth", self.depth + 8)
        return queries, queries, tile.shape(self.width, 2, "side")

    def begin(self, places: Places, thread: Value) -> None:
        self.first_core.begin(places, thread)
        self.second_core.begin(places, thread)
        lane = places.rem(thread, 32)
        self.y = places.add(places.mul(places.div(thread, 32), ROWS), places.div(lane, 4))
        self.x = places.mul(places.rem(lane, 4), 2)

    def rows(self, places: Places) -> list[Value]:
        return [self.y, places.add(self.y, 8)]

    def keys(self, places: Places) -> list[Value]:
        return [places.add(self.x, j // 2 * COLUMNS + j % 2) for j in range(self.key_count)]

    def row_of(self, k: int) -> int:
        return k % 4 // 2

    def scores(self, places: Places) -> list[Value]:
        core = self.first_core
        sums = core.multiply(places, self.q, self.k, core.zeros())
        rows = ([x for k, x in enumerate(sums) if self.row_of(k) == i] for i in (0, 1))
        return [x for row in rows for x in row]

    def power(self, difference: Value) -> Value:
        scaled = self.e.binary("fmul", difference, self.e.const("float", math.log2(math.e)))
        return self.e.call("float", "llvm.nvvm.ex2.approx.f", scaled, hint="power")

    def weighted(self, places: Places, weights, sums: list[Value]) -> list[Value]:
        core, count = self.second_core, self.width // COLUMNS
        base = element(self.e, self.type, self.v, core.starts[1])
        for depth in range(0, BLOCK, STEP):
            left = [[
                self._pair(weights[row][n : n + 2])
                for n in (depth // 4, depth // 4 + 2)
                for row in (0, 1)
            ]]  # fmt: skip
            right = [f for k in range(0, count, 2) for f in core.right(base, depth, k)]
            sums = [
                value
                for k, fragment in enumerate(right)
                for value in core.add(sums[4 * k : 4 * k + 4], left, fragment)
            ]
        return sums

    def _pair(self, values: list[Value]) -> Value:
        """Two numbers rounded to 16 bits in one register."""
        return self.e.emit("i32", f"bitcast {self._rounded(values)} to i32", "pair")

    def _rounded(self, values: list[Value]) -> Value:
        return self.e.convert("fptrunc", joined(self.e, values), self.type)

    def store(self, places: Places, line: Value, row: int, values: list[Value]) -> None:
        """Pairs of neighbours, at once where the width allows it."""
        e, width = self.e, self.walk.width
        pointer = Value(f"%b{self.kernel.buffers[-1].slot}", "ptr")
        for n in range(len(values) // 2):
            column, pair = places.add(self.x, n * COLUMNS), values[2 * n : 2 * n + 2]
            if width % 2 == 0:
                with self.within(places, column):
                    at = element(e, self.type, pointer, places.fork().add(line, column))
                    e.store(self._rounded(pair), at, 4 if self.aligned else 2)
                continue
            for k, value in enumerate(pair):
                here = places.add(column, k)
                with e.when(places.below(here, width), "column"):
                    at = element(e, self.type, pointer, places.fork().add(line, here))
                    e.store(to_memory(e, value, self.dtype.name), at, 2)
