"""Attention in float32 by ordinary multiply-adds.

A thread has 4 rows, 4 apart, and of each 8 keys, 8 apart: the 8 lanes that share a row are
neighbours, and every access to shared memory reads 16 bytes without two lanes meeting in a bank.
The weights pass through shared memory to the lanes that need them.
"""

from __future__ import annotations

from nncomp.ir.loops import Kernel

from ...llvm import Value
from ..emitter import PtxEmitter
from .attention import BLOCK, CHUNK, AttentionKernel, Geometry
from .copies import Shape
from .places import Places, number
from .words import element, joined, parts

ROWS, KEYS = 4, 8  # of a thread
LANES = 8  # that share a row
WEIGHT_PITCH = BLOCK + 8


class SimtAttention(AttentionKernel):
    """Writes the kernel of one float32 `attention` node."""

    row_count, key_count, partners = ROWS, KEYS, (1, 2, 4)

    def set_up(self, kernel: Kernel, walk: Geometry, aligned: bool) -> None:
        super().set_up(kernel, walk, aligned)
        self.sums = ROWS * self.width // LANES

    def tile_shapes(self) -> tuple[Shape, ...]:
        self.width = -(-self.walk.width // (4 * LANES)) * 4 * LANES
        queries = Shape(BLOCK, self.depth, "depth", self.depth + 4)
        return queries, queries, Shape(self.width, BLOCK, "side", self.width + 4)

    @property
    def scratch(self) -> int:
        return BLOCK * WEIGHT_PITCH

    def begin(self, places: Places, thread: Value) -> None:
        warp, lane = places.div(thread, 32), places.rem(thread, 32)
        self.x = places.rem(lane, LANES)
        self.y = places.add(places.mul(warp, 4 * ROWS), places.div(lane, LANES))

    def rows(self, places: Places) -> list[Value]:
        return [places.add(self.y, 4 * i) for i in range(ROWS)]

    def keys(self, places: Places) -> list[Value]:
        return [places.add(self.x, LANES * j) for j in range(KEYS)]

    def row_of(self, k: int) -> int:
        return k * ROWS // self.sums

    def scores(self, places: Places) -> list[Value]:
        e, pitch = self.e, self.shapes[0].pitch
        rows = element(e, "float", self.q, places.mul(self.y, pitch))
        keys = element(e, "float", self.k, places.mul(self.x, pitch))
        return dots(e, rows, keys, pitch, self.depth)

    def keep(self, places: Places, weights: list[list[Value]]) -> None:
        for local, mine in zip(self.rows(places), weights, strict=True):
            line = places.mul(local, WEIGHT_PITCH)
            for key, weight in zip(self.keys(places), mine, strict=True):
                self.e.store(weight, element(self.e, "float", self.rest, places.add(line, key)), 4)

    def weighted(self, places: Places, weights, sums: list[Value]) -> list[Value]:
        e, pitch = self.e, self.shapes[2].pitch
        rows = element(e, "float", self.rest, places.mul(self.y, WEIGHT_PITCH))
        values = element(e, "float", self.v, places.mul(self.x, 4))
        return weighted(e, rows, values, pitch, self.width // (4 * LANES), sums)

    def store(self, places: Places, line: Value, row: int, values: list[Value]) -> None:
        """Groups of 4 neighbours, at once where the width allows it."""
        e, width = self.e, self.walk.width
        pointer = Value(f"%b{self.kernel.buffers[-1].slot}", "ptr")
        for g in range(len(values) // 4):
            column = places.add(places.mul(self.x, 4), g * 4 * LANES)
            four = values[4 * g : 4 * g + 4]
            if width % 4 == 0:
                with self.within(places, column):
                    at = element(e, "float", pointer, places.fork().add(line, column))
                    e.store(joined(e, four), at, 16 if self.aligned else 4)
                continue
            for k, value in enumerate(four):
                here = places.add(column, k)
                with e.when(places.below(here, width), "column"):
                    at = element(e, "float", pointer, places.fork().add(line, here))
                    e.store(value, at, 4)


def dots(e: PtxEmitter, rows: Value, keys: Value, pitch: int, depth: int) -> list[Value]:
    """4 rows by 8 keys of sums of products along the lines of two tiles, from these lines on."""
    start = [e.const("float", 0)] * (ROWS * KEYS)
    with e.loop(0, depth, CHUNK, carry=start, hint="depth") as loop:
        at_rows, at_keys = (element(e, "float", x, loop.index) for x in (rows, keys))
        sums = loop.carry
        for k in range(0, CHUNK, 4):
            left = [_four(e, at_rows, 4 * i * pitch + k) for i in range(ROWS)]
            right = [_four(e, at_keys, LANES * j * pitch + k) for j in range(KEYS)]
            for term in range(4):
                pairs = [(a[term], b[term]) for a in left for b in right]
                sums = [e.fma(a, b, s) for (a, b), s in zip(pairs, sums, strict=True)]
        loop.next(*sums)
    return loop.result


def weighted(
    e: PtxEmitter, rows: Value, values: Value, pitch: int, groups: int, sums: list[Value]
) -> list[Value]:
    """The sums with 4 rows of weights times the lines of a tile added."""
    with e.loop(0, BLOCK, CHUNK, carry=sums, hint="key") as loop:
        at_rows = element(e, "float", rows, loop.index)
        at_values = element(e, "float", values, e.mul(loop.index, pitch))
        sums = loop.carry
        for k in range(0, CHUNK, 4):
            left = [_four(e, at_rows, 4 * i * WEIGHT_PITCH + k) for i in range(ROWS)]
            for term in range(4):
                offsets = ((k + term) * pitch + g * 4 * LANES for g in range(groups))
                right = [x for offset in offsets for x in _four(e, at_values, offset)]
                pairs = [(a[term], b) for a in left for b in right]
                sums = [e.fma(a, b, s) for (a, b), s in zip(pairs, sums, strict=True)]
        loop.next(*sums)
    return loop.result


def _four(e: PtxEmitter, base: Value, offset: int) -> list[Value]:
    at = element(e, "float", base, number(offset))
    return parts(e, e.load("<4 x float>", at, 16))
