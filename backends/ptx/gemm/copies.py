"""Bringing tiles of an operand to shared memory: 16 bytes at a time, by element, or computed.

A tile is `width` positions of the operand's side times `depth` terms of the sum. It lies in shared
memory as `depth` rows of `pitch` elements (`across`), or as `width` rows of them (`along`). Copies
are asynchronous where memory holds the elements as they are wanted; what must be computed goes
through registers: `fetch` before the products of the tile before, `put` after them. Outside of the
operand there are zeros along the depth; along the side the last element stands for those behind it,
whose results are not stored.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from nncomp.ir.index import Var
from nncomp.ir.types import DType

from ...llvm import Emitter, Value
from ...scalar_types import memory_type, to_memory
from .places import Env, Places, number, split
from .product import Operand
from .words import copy_async, element, to_global

PHASE, BANKS = 8, 32  # lanes whose 16 bytes are written at once; words that lie side by side


@dataclass(frozen=True)
class Shape:
    """Of a tile in shared memory; `rows_of` is what neighbouring elements differ in."""

    width: int
    depth: int
    along: str  # side | depth: what runs along the rows
    pitch: int  # elements from row to row

    @property
    def elements(self) -> int:
        return self.pitch * (self.depth if self.along == "side" else self.width)

    def place(self, places: Places, side: Value, depth: Value) -> Value:
        """Where an element lies in the tile."""
        row, column = (depth, side) if self.along == "side" else (side, depth)
        return places.add(places.mul(row, self.pitch), column)


def vector_length(operand: Operand, along: str, aligned: bool) -> int:
    """Elements that can be copied at once along a direction: 16 bytes of them, or 1."""
    load = operand.load
    if load is None or not aligned:
        return 1
    count = 16 // load.dtype.itemsize
    var = operand.side if along == "side" else operand.depth
    step = operand.steps[0 if along == "side" else 1]
    others = [c for a, c in load.offset.terms if a != var]
    even = all(c % count == 0 for c in (*others, load.offset.const, var.extent))
    return count if step == 1 and even else 1


def is_asynchronous(operand: Operand, dtype: DType, vector: int) -> bool:
    """Whether hardware can copy it: elements of 4 or 8 bytes, or vectors."""
    return operand.dtype is dtype and operand.load is not None and vector * dtype.itemsize >= 4


def _divisor(n: int, most: int) -> int:
    """The largest power of two up to `most` that divides `n`."""
    found = 1
    while found * 2 <= most and n % (found * 2) == 0:
        found *= 2
    return found


def _spread(across: int, pitch: int, down: int) -> tuple[int, int]:
    """How 8 lanes that write 16 bytes each share banks: so many rows at once, so far apart.

    `pitch` counts the words of a row, `across` the lanes that write one, 0 if not in vectors.
    """
    rows = PHASE // across if 0 < across < PHASE else 1
    for apart in range(1, down // rows + 1):
        starts = [k * apart * pitch for k in range(rows)]
        banks = {(s + word) % BANKS for s in starts for word in range(across * 4)}
        if len(banks) == rows * across * 4 and down % (rows * apart) == 0:
            return rows, apart
    return 1, 1


class TileCopy:
    """The copies one thread makes of an operand's tiles."""

    def __init__(
        self, e: Emitter, operand: Operand, shape: Shape, dtype: DType, threads: int,
        vector: int, compute,
    ):  # fmt: skip
        """`dtype` is the shared memory's; `compute(value, env)` writes the code of a factor."""
        self.e, self.operand, self.shape, self.compute = e, operand, shape, compute
        self.vector, self.dtype = vector, dtype
        self.type = memory_type(dtype.name)
        self.is_asynchronous = is_asynchronous(operand, dtype, vector)
        self.fast = shape.along if vector > 1 else operand.near
        self.sides, self.depths, self.live = self._shares(threads)

    def _shares(self, threads: int) -> tuple[list[int], list[int], int]:
        """Distances between what one thread copies, along side and depth; threads at work."""
        lengths = {"side": self.shape.width, "depth": self.shape.depth}
        slow = "depth" if self.fast == "side" else "side"
        most = threads
        if self.vector == 1:  # lanes that write different rows must not meet in a bank
            most = 8 if self.fast != self.shape.along else 32
        across = _divisor(lengths[self.fast] // self.vector, most)
        down = _divisor(lengths[slow], threads // across)
        self.across = across
        words = self.shape.pitch * self.dtype.itemsize // 4
        in_rows = across if self.vector > 1 and self.fast == self.shape.along else 0
        self.together, self.apart = _spread(in_rows, words, down)
        steps = {
            self.fast: list(range(0, lengths[self.fast], across * self.vector)),
            slow: list(range(0, lengths[slow], down)),
        }
        return steps["side"], steps["depth"], across * down

    # -- before the loop -------------------------------------------------------------------------

    def begin(self, places: Places, thread: Value, first: Value, env: dict[Var, Value]) -> None:
        """Compute what stays the same for all tiles; `first` is the side's first element."""
        fast = places.mul(places.rem(thread, self.across), self.vector)
        slow = self._row(places, places.div(thread, self.across))
        self.side, self.depth = (fast, slow) if self.fast == "side" else (slow, fast)
        self.is_live = places.below(thread, self.live)
        extent, last = self.operand.side.extent, self.vector if self.fast == "side" else 1
        self.env = env
        self.at_side: list[Value] = []
        for step in self.sides:
            at = places.add(first, places.add(self.side, step))
            if extent % self.shape.width:
                at = places.least(at, extent - last)
            self.at_side.append(at)
        if self.operand.load is not None:
            self._bases(places)

    def _row(self, places: Places, row: Value) -> Value:
        """The row that lanes with this number write: neighbours write rows that share no bank."""
        if self.apart == 1:
            return row
        group = self.together * self.apart
        first = places.mul(places.div(row, group), group)
        inner = places.rem(row, group)
        step = places.mul(places.rem(inner, self.together), self.apart)
        return places.add(first, places.add(step, places.div(inner, self.together)))

    def _bases(self, places: Places) -> None:
        """The part of each address that does not depend on the depth."""
        load = self.operand.load
        assert load is not None, "what is copied lies in memory"
        fixed, self.moving = split(load.offset, self.operand.depth)
        pointer = to_global(self.e, Value(f"%b{load.buffer.slot}", "ptr"))
        self.bases = [
            element(self.e, self.type, pointer, places.index(fixed, self._env(at, None)))
            for at in self.at_side
        ]

    def _env(self, side: Value, depth: Value | None) -> Env:
        env = {**self.env, self.operand.side: side}
        return env if depth is None else {**env, self.operand.depth: depth}

    # -- per tile --------------------------------------------------------------------------------

    def _elements(self, places: Places, tile: Value):
        """(number along the side, place in the tile, env, whether it exists) of all copies."""
        extent = self.operand.depth.extent
        for step in self.depths:
            inside = places.add(self.depth, step)
            at = places.add(places.mul(tile, self.shape.depth), inside)
            exists = places.below(at, extent) if extent % self.shape.depth else Value("true", "i1")
            for number_, side in enumerate(self.at_side):
                here = places.add(self.side, self.sides[number_])
                place = self.shape.place(places, here, inside)
                yield number_, place, self._env(side, at), exists

    def issue(self, places: Places, stage: Value, tile: Value) -> None:
        """Start the asynchronous copies of tile number `tile` to `stage` (elements from there)."""
        e, load = self.e, self.operand.load
        assert load is not None, "what is copied lies in memory"
        nbytes = self.vector * load.dtype.itemsize
        with self._live():
            places = places.fork()
            for number_, place, env, exists in self._elements(places, tile):
                offset = places.index(self.moving, env)
                wanted = places.both(exists, places.condition(self.operand.guard, env))
                source = element(e, self.type, self.bases[number_], offset)
                copy_async(e, element(e, self.type, stage, place), source, nbytes, wanted)

    def fetch(self, places: Places, tile: Value) -> list[Value]:
        """The values this thread is to put into tile number `tile`."""
        values = []
        for _, _, env, exists in self._elements(places, tile):
            if exists.ref == "true":
                values.append(self._value(env))
                continue
            extent = self.operand.depth.extent
            safe = {**env, self.operand.depth: places.least(env[self.operand.depth], extent - 1)}
            zero = self.e.const(self.type, 0)
            values.append(self.e.select(exists, self._value(safe), zero, "safe"))
        return values

    def _value(self, env: Env) -> Value:
        return to_memory(self.e, self.compute(self.operand.value, env), self.dtype.name)

    def put(self, places: Places, stage: Value, values: list[Value]) -> None:
        """Store what `fetch` gave."""
        with self._live():
            places = places.fork()
            spots = self._elements(places, number(0))
            for (_, place, _, _), value in zip(spots, values, strict=True):
                self.e.store(value, element(self.e, self.type, stage, place))

    def _live(self) -> AbstractContextManager:
        """Only the threads that have a share."""
        everyone = self.is_live.ref == "true"
        return nullcontext() if everyone else self.e.when(self.is_live, "live")
