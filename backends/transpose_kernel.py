"""Code for map kernels that read along one loop and write along another: layout changes, packing.

Values are computed with the lanes along the contiguous loads, a square tile at a time; the tile is
transposed in registers, and rows of it are stored contiguously.

    y[128*i0 + i1] = x[64*i1 + i0]   ->   16 loads along i0, transpose, 16 stores along i1
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from nncomp.ir.collapse import merge
from nncomp.ir.index import Var
from nncomp.ir.loops import ArgReduce, Kernel, Load, Reduce, Store, walk

from .arg_reductions import ArgExpressions
from .expressions import Isa, Lanes
from .llvm import Emitter, Value
from .map_kernel import store_value
from .reductions import prefix_mask

MAX_SIZE = 16  # expressions per element: the tile's code repeats them for every row


@dataclass(frozen=True)
class TileSchedule:
    """Tiles of `side` x `side` over (`across`: contiguous loads, `along`: contiguous store)."""

    rows: tuple[Var, ...]
    across: Var
    along: Var
    side: int
    store: Store

    @property
    def blocks(self) -> int:
        return -(-self.along.extent // self.side)

    @property
    def units(self) -> int:
        return prod(v.extent for v in self.rows) * self.blocks


def make_tile_schedule(kernel: Kernel, width: int) -> TileSchedule | None:
    """The tiling of a kernel that would otherwise gather or scatter; None for all others."""
    if len(kernel.stores) != 1:
        return None
    order, (store,) = merge(list(kernel.domain), kernel.stores)
    parts = walk(store.roots)
    if len(parts) > MAX_SIZE or any(isinstance(x, (Reduce, ArgReduce)) for x in parts):
        return None
    along = next((v for v in order if store.offset.coefficient(v) == 1), None)
    across = _load_variable(order, parts, along)
    if along is None or across is None or not store.offset.is_affine_in(along):
        return None
    if min(along.extent, across.extent) < 4 or not store.offset.is_affine_in(across):
        return None
    side = width
    while side > 4 and side // 2 >= max(along.extent, across.extent):
        side //= 2
    rows = tuple(v for v in order if v not in (along, across))
    return TileSchedule(rows, across, along, side, store)


def _load_variable(order, parts, along) -> Var | None:
    """The one loop that walks every load contiguously which `along` would have to gather."""
    found: set[Var] = set()
    for x in parts:
        if not isinstance(x, Load) or along not in x.offset.vars:
            continue
        if x.offset.is_affine_in(along) and x.offset.coefficient(along) == 1:
            return None
        steps = {v for v in order if x.offset.coefficient(v) == 1 and x.offset.is_affine_in(v)}
        if len(steps) != 1:
            return None
        found |= steps
    return found.pop() if len(found) == 1 else None


class TransposeKernel(ArgExpressions):
    """Writes one tiled kernel."""

    def __init__(self, e: Emitter, kernel: Kernel, tiles: TileSchedule, isa: Isa):
        super().__init__(e, kernel, isa)
        self.tiles = tiles

    def write(self) -> None:
        if not self.tiles.units:
            return
        e, tiles = self.e, self.tiles
        with e.loop(Value("%begin", "i64"), Value("%end", "i64"), hint="unit") as unit:
            row = e.binary("udiv", unit.index, e.const("i64", tiles.blocks), "row")
            block = e.binary("urem", unit.index, e.const("i64", tiles.blocks), "block")
            self.enter(self._row_variables(row))
            self._blocks(block)
            self.leave()

    def _row_variables(self, row: Value) -> dict[Var, Value]:
        values = {}
        for var in reversed(self.tiles.rows):
            extent = self.e.const("i64", var.extent)
            values[var] = self.e.binary("urem", row, extent, var.name)
            row = self.e.binary("udiv", row, extent, "row")
        return values

    def _blocks(self, block: Value) -> None:
        """The tiles of one block of `along`; its last block may be narrower."""
        e, tiles = self.e, self.tiles
        first = e.binary("mul", block, e.const("i64", tiles.side), "first")
        rest = tiles.along.extent % tiles.side
        if not rest:
            self._strip(first, tiles.side)
            return
        last = e.const("i64", tiles.blocks - 1)
        if tiles.blocks > 1:
            with e.when(e.binary("icmp ult", block, last), "whole"):
                self._strip(first, tiles.side)
        with e.when(e.binary("icmp eq", block, last), "rest"):
            self._strip(first, rest)

    def _strip(self, first: Value, live: int) -> None:
        tiles = self.tiles
        whole = tiles.across.extent // tiles.side * tiles.side
        if whole:
            with self.e.loop(0, whole, tiles.side, hint="tile") as loop:
                self._tile(first, live, loop.index, tiles.side)
        if whole < tiles.across.extent:
            base = Value(str(whole), "i64")
            self._tile(first, live, base, tiles.across.extent - whole)

    def _tile(self, first: Value, live: int, base: Value, width: int) -> None:
        """`live` rows along the store by `width` columns along the loads, from (first, base)."""
        e, tiles = self.e, self.tiles
        mask = None if width == tiles.side else prefix_mask(width, tiles.side)
        rows = []
        for k in range(live):
            self.enter({tiles.along: e.binary("add", first, e.const("i64", k), "at")})
            self.enter(lanes=Lanes(tiles.across, tiles.side, base, mask))
            rows.append(self.vector(tiles.store.value))
            self.leave()
            self.leave()
        poison = Value("poison", rows[0].type)
        columns = transpose(e, rows + [poison] * (tiles.side - live))
        mask = None if live == tiles.side else prefix_mask(live, tiles.side)
        for k in range(width):
            self.enter({tiles.across: e.binary("add", base, e.const("i64", k), "at")})
            self.enter(lanes=Lanes(tiles.along, tiles.side, first, mask))
            store_value(self, tiles.store, columns[k])
            self.leave()
            self.leave()


def transpose(e: Emitter, rows: list[Value]) -> list[Value]:
    """A square tile of vectors transposed by log2(side) rounds of two-input shuffles."""
    side = len(rows)
    block = side // 2
    while block:
        new = list(rows)
        low = [k if not k & block else side + (k ^ block) for k in range(side)]
        high = [k | block if not k & block else side + k for k in range(side)]
        for i in range(side):
            if not i & block:
                a, b = rows[i], rows[i | block]
                new[i] = _shuffle(e, a, b, low)
                new[i | block] = _shuffle(e, a, b, high)
        rows, block = new, block // 2
    return rows


def _shuffle(e: Emitter, a: Value, b: Value, picks: list[int]) -> Value:
    order = ", ".join(f"i32 {p}" for p in picks)
    return e.emit(a.type, f"shufflevector {a}, {b}, <{len(picks)} x i32> <{order}>", "t")
