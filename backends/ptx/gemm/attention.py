"""Attention in one kernel: scores never leave the block that computes them.

A block has BLOCK queries of one head and walks over the keys, BLOCK at a time. Each row keeps its
largest score so far, the sum of exp(score - largest) and the weighted sum of values, and scales
both sums down when the largest score grows (FlashAttention, Dao et al. 2022, algorithm 1; online
softmax, Milakov and Gimelshein 2018). Sums are float32. While scores are computed the values are on
their way, while the softmax runs the next keys are.

Here is what does not depend on who multiplies: attention_simt.py does it in float32,
attention_mma.py on tensor cores.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from math import prod

from nncomp.ir.index import Index, Var, unravel
from nncomp.ir.loops import Expr, Kernel, Load

from ...llvm import Value
from ...memory import load_one
from ...scalar import emit_scalar, memory_type
from ..emitter import PtxEmitter
from ..kernel import Code, Launch
from .copies import Shape, TileCopy, vector_length
from .places import Env, Places, number
from .product import INDEX_LIMIT, Operand
from .words import barrier, commit, dynamic_array, element, wait

BLOCK = 64  # queries of a block; keys of a turn
THREADS = 128
LONGEST = 128  # depth and width that registers and shared memory are enough for
CHUNK = 16  # depths are rounded up to such
LOWEST = float("-inf")


@dataclass(frozen=True)
class Geometry:
    """The attributes of the `attention` op by name."""

    batch: tuple[tuple[int, ...], ...]
    rows: tuple[int, int, int]
    keys: tuple[int, int, int, int]
    depth: tuple[int, int]
    width: int
    starts: tuple[int, int, int, int]
    scale: float
    causal: bool
    safe: bool

    @property
    def fits(self) -> bool:
        """Whether the kernel below can do it."""
        small = max(self.depth[0], self.width) <= LONGEST
        return small and max(self._ends) < INDEX_LIMIT

    @property
    def _ends(self) -> list[int]:
        """Offsets that no element of q, k, v, the mask and the result reaches."""
        (rows, *row_steps), (keys, *key_steps) = self.rows, self.keys
        strides = zip(
            (row_steps[0], 0, 0, row_steps[1]), (0, *key_steps), (1, self.depth[1], 1, 0),
            strict=True,
        )  # fmt: skip
        ends = [prod(e for e, *_ in self.batch) * rows * self.width]
        for k, (row, key, inner) in enumerate(strides):
            outer = sum(e * steps[k] for e, *steps in self.batch)
            deep = inner * max(self.depth[0], self.width)
            ends.append(self.starts[k] + outer + rows * row + keys * key + deep)
        return ends


class AttentionKernel:
    """Writes the kernel of one `attention` node; subclasses multiply.

    A thread has `row_count` rows and of each `key_count` scores; lanes that share a row are found
    by `partners` (xor of lane numbers). Its `sums` values of the result belong to `row_of` rows.
    """

    row_count: int
    key_count: int
    width: int  # of the tile of values
    partners: tuple[int, ...]
    sums: int
    blocks = 1  # that share a multiprocessor
    mask_number = 3  # among the buffers

    def __init__(self, kernel: Kernel, aligned: bool):
        self.set_up(kernel, Geometry(**kernel.extra.geometry), aligned)

    def set_up(self, kernel: Kernel, walk: Geometry, aligned: bool) -> None:
        """Loops, tiles and copies."""
        self.kernel, self.walk = kernel, walk
        self.e, self.aligned = PtxEmitter("i32"), aligned
        self.dtype = kernel.buffers[0].type.dtype
        self.batch = Var("batch", prod(e for e, *_ in walk.batch))
        self.row, self.key = Var("row", walk.rows[0]), Var("key", walk.keys[0])
        self.deep, self.wide = Var("depth", walk.depth[0]), Var("width", walk.width)
        self.depth = -(-walk.depth[0] // CHUNK) * CHUNK
        self.shapes = self.tile_shapes()
        self.copies = self.make_copies()

    # -- what subclasses say -----------------------------------------------------------------------

    def tile_shapes(self) -> tuple[Shape, ...]:
        """Tiles of queries, keys and values in shared memory, in this order."""
        raise NotImplementedError

    @property
    def scratch(self) -> int:
        """Further elements of shared memory."""
        return 0

    def begin(self, places: Places, thread: Value) -> None:
        """Where this thread's rows and columns lie."""
        raise NotImplementedError

    def rows(self, places: Places) -> list[Value]:
        """This thread's rows within the block."""
        raise NotImplementedError

    def keys(self, places: Places) -> list[Value]:
        """The keys of this thread's scores within a turn."""
        raise NotImplementedError

    def row_of(self, k: int) -> int:
        """Which of the thread's rows the sum number `k` belongs to."""
        raise NotImplementedError

    def scores(self, places: Places) -> list[Value]:
        """q k^T, row by row."""
        raise NotImplementedError

    def power(self, difference: Value) -> Value:
        """exp of a number that is not positive."""
        return emit_scalar(self.e, "exp", [difference], "float32")

    def keep(self, places: Places, weights: list[list[Value]]) -> None:
        """Put the weights where `weighted` finds them, if not in registers."""

    def weighted(self, places: Places, weights, sums: list[Value]) -> list[Value]:
        """The sums with the weights times this turn's values added."""
        raise NotImplementedError

    def within(self, places: Places, column: Value) -> AbstractContextManager:
        """Only where there is such a column."""
        if self.walk.width == self.width:
            return nullcontext()
        return self.e.when(places.below(column, self.walk.width), "column")

    def store(self, places: Places, line: Value, row: int, values: list[Value]) -> None:
        """Write one row's results; `line` is where the row begins."""
        raise NotImplementedError

    def make_copies(self) -> list[TileCopy]:
        """Of queries, keys and values."""
        walk = self.walk
        q = {self.row: walk.rows[1], self.deep: 1}
        k = {self.key: walk.keys[1], self.deep: walk.depth[1]}
        v = {self.wide: 1, self.key: walk.keys[2]}
        copies = []
        for place, (strides, shape) in enumerate(zip((q, k, v), self.shapes, strict=True)):
            side, depth = strides
            load = Load(self.kernel.buffers[place], self.offset(place, strides), None)
            near = "side" if strides[side] == 1 else "depth"
            operand = Operand(load, load, None, side, depth, near)
            vector = vector_length(operand, shape.along, self.aligned)
            copies.append(
                TileCopy(self.e, operand, shape, self.dtype, THREADS, vector, self._load)
            )
        return copies

    def _load(self, value: Expr, env: Env) -> Value:
        """An element that no asynchronous copy can bring."""
        assert isinstance(value, Load)
        pointer = Value(f"%b{value.buffer.slot}", "ptr")
        place = Places(self.e).index(value.offset, env)
        at = element(self.e, memory_type(value.dtype.name), pointer, place)
        return load_one(self.e, value.dtype, at)

    def offset(self, operand: int, strides: dict[Var, int]) -> Index:
        """Of an operand (q, k, v or mask), from its batch number and these loops."""
        walk = self.walk
        at = unravel(Index.of(self.batch), tuple(e for e, *_ in walk.batch))
        total = Index((), walk.starts[operand])
        for i, (_, *steps) in zip(at, walk.batch, strict=True):
            total = total + i * steps[operand]
        for var, step in strides.items():
            total = total + Index.of(var) * step
        return total

    # -- code ------------------------------------------------------------------------------------

    def code(self) -> Code:
        """The module and its launch."""
        e, name, walk = self.e, self.kernel.name, self.walk
        memory, type = dynamic_array(e, f"{name}_tiles"), memory_type(self.dtype.name)
        sizes = [*(s.elements for s in self.shapes), self.scratch]
        starts = [sum(sizes[:k]) for k in range(len(sizes))]
        self.q, self.k, self.v, self.rest = (element(e, type, memory, number(n)) for n in starts)
        places = Places(e)
        thread, block = e.special("tid.x"), e.special("ctaid.x")
        blocks = -(-walk.rows[0] // BLOCK)
        self.number = places.rem(block, blocks)
        self.env: dict[Var, Value] = {self.batch: places.div(block, blocks)}
        self.first = places.mul(self.number, BLOCK)
        self.begin(places, thread)
        self._results(places, self._turns(places, thread))
        parameters = [f"ptr align 16 %b{b.slot}" for b in self.kernel.buffers]
        text = e.kernel(name, parameters, THREADS, self.blocks)
        grid = blocks * self.batch.extent
        shared = sum(sizes) * self.dtype.itemsize
        return Code(text, (Launch(name, (grid, 1, 1), (THREADS, 1, 1), shared),))

    def _count(self, places: Places) -> Value:
        """Blocks of keys to walk over: no row sees keys behind the last one."""
        count = -(-self.walk.keys[0] // BLOCK)
        if not self.walk.causal:
            return number(count)
        return places.least(places.add(self.number, 1), count)

    def _bring(self, places: Places, which: int, area: Value, tile: Value) -> None:
        """Copy a tile of queries, keys or values to shared memory."""
        copy = self.copies[which]
        if copy.is_asynchronous:
            copy.issue(places, area, tile)
        else:
            copy.put(places, area, copy.fetch(places, tile))

    def _bring_keys(self, places: Places, thread: Value, turn: Value) -> None:
        self.copies[1].begin(places, thread, places.mul(turn, BLOCK), self.env)
        self._bring(places, 1, self.k, number(0))

    def _turns(self, places: Places, thread: Value) -> list[Value]:
        """The loop over keys: largest scores, sums of weights and weighted sums of values."""
        e, count = self.e, self.row_count
        self.copies[0].begin(places, thread, self.first, self.env)
        self.copies[2].begin(places, thread, number(0), self.env)
        self._bring(places, 0, self.q, number(0))
        self._bring_keys(places, thread, number(0))
        commit(e)
        zero = e.const("float", 0)
        start = [*[e.const("float", LOWEST)] * count, *[zero] * count, *[zero] * self.sums]
        turns = self._count(places)
        with e.loop(0, turns, carry=start, hint="turn") as loop:
            inner, turn = places.fork(), loop.index
            wait(e, 0)
            barrier(e)
            self._bring(inner, 2, self.v, turn)
            commit(e)
            scores = self.scores(inner)
            barrier(e)
            following = inner.add(turn, 1)
            with e.when(e.binary("icmp ult", following, turns), "more"):
                self._bring_keys(inner.fork(), thread, following)
            commit(e)
            scores = self._masked(inner, turn, scores)
            tops, totals, factors, weights = self._softmax(scores, loop.carry)
            self.keep(inner, weights)
            wait(e, 1)
            barrier(e)
            old = loop.carry[2 * count :]
            sums = [e.binary("fmul", s, factors[self.row_of(k)]) for k, s in enumerate(old)]
            loop.next(*tops, *totals, *self.weighted(inner, weights, sums))
        return loop.result

    # -- scores ----------------------------------------------------------------------------------

    def _masked(self, places: Places, turn: Value, scores: list[Value]) -> list[Value]:
        """Scores times the scale; -inf where a key takes no part."""
        e, walk = self.e, self.walk
        scale, lowest = e.const("float", walk.scale), e.const("float", LOWEST)
        scores = [e.binary("fmul", s, scale) for s in scores]
        first, everywhere = places.mul(turn, BLOCK), Value("true", "i1")
        for j, within in enumerate(self.keys(places)):
            key = places.add(within, first)
            inside = places.below(key, walk.keys[0]) if walk.keys[0] % BLOCK else everywhere
            for i, local in enumerate(self.rows(places)):
                row, seen, k = places.add(local, self.first), inside, i * self.key_count + j
                if walk.causal:
                    seen = places.both(seen, e.binary("icmp ule", key, row, "seen"))
                if len(self.kernel.buffers) == 5:
                    scores[k], seen = self.with_mask(places, scores[k], seen, row, key)
                if seen.ref != "true":
                    scores[k] = e.select(seen, scores[k], lowest, "score")
        return scores

    def with_mask(self, places: Places, score: Value, seen: Value, row: Value, key: Value):
        """The score with its element of the mask added, or whether a bool mask lets it be seen."""
        walk, mask = self.walk, self.kernel.buffers[self.mask_number]
        offset = self.offset(self.mask_number, {self.row: walk.rows[2], self.key: walk.keys[3]})
        at = {self.row: (row, walk.rows[0]), self.key: (key, walk.keys[0])}
        env = {v: places.least(x, n - 1) for v, (x, n) in at.items()}
        place = places.index(offset, {**self.env, **env})
        pointer = Value(f"%b{mask.slot}", "ptr")
        address = element(self.e, memory_type(mask.type.dtype.name), pointer, place)
        value = load_one(self.e, mask.type.dtype, address)
        if value.type == "i1":
            return score, places.both(seen, value)
        return self.e.binary("fadd", score, value), seen

    # -- softmax ---------------------------------------------------------------------------------

    def _softmax(self, scores: list[Value], carry: Sequence[Value]):
        """(largest scores, sums, factors of the old sums, weights) by row."""
        e, count = self.e, self.key_count
        found = []
        for i in range(self.row_count):
            top = old = carry[i]
            mine = scores[i * count : (i + 1) * count]
            for score in mine:
                top = self._largest(top, score)
            for mask in self.partners:
                top = self._largest(top, e.shuffle_xor(top, mask))
            none = e.binary("fcmp oeq", top, e.const("float", LOWEST), "none")
            base = e.select(none, e.const("float", 0), top, "base")
            weights = [self.power(e.binary("fsub", score, base)) for score in mine]
            factor = self.power(e.binary("fsub", old, base))
            total = weights[0]
            for weight in weights[1:]:
                total = e.binary("fadd", total, weight)
            for mask in self.partners:
                total = e.binary("fadd", total, e.shuffle_xor(total, mask))
            total = e.fma(carry[self.row_count + i], factor, total)
            found.append((top, total, factor, weights))
        return tuple(map(list, zip(*found, strict=True)))

    def _largest(self, a: Value, b: Value) -> Value:
        return emit_scalar(self.e, "maximum", [a, b], "float32")

    # -- results ---------------------------------------------------------------------------------

    def _results(self, places: Places, carried: Sequence[Value]) -> None:
        """The weighted sums over the sums of weights."""
        e, walk = self.e, self.walk
        sums = carried[2 * self.row_count :]
        for i, local in enumerate(self.rows(places)):
            row = places.add(local, self.first)
            total = carried[self.row_count + i]
            if walk.safe:
                empty = e.binary("fcmp oeq", total, e.const("float", 0), "empty")
                total = e.select(empty, e.const("float", 1), total, "total")
            start = places.add(places.mul(self.env[self.batch], walk.rows[0]), row)
            line = places.mul(start, walk.width)
            mine = [x for k, x in enumerate(sums) if self.row_of(k) == i]
            with e.when(places.below(row, walk.rows[0]), "row"):
                values = [e.binary("fdiv", x, total) for x in mine]
                self.store(places.fork(), line, i, values)
