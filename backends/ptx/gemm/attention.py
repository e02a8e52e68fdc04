"""Attention in one kernel: scores never leave the block that computes them.

A block has BLOCK queries of one head and walks over the keys, BLOCK at a time. Each row keeps its
largest score so far, the sum of exp(score - largest) and the weighted sum of values, and scales
both sums down when the largest score grows (FlashAttention, Dao et al. 2022, algorithm 1; online
softmax, Milakov and Gimelshein 2018). Everything is float32. While scores are computed the values
are on their way, while the softmax runs the next keys are.

A lane has 4 rows, 4 apart, and of each 8 keys, 8 apart: the 8 lanes that share a row are neighbours
and combine their parts by shuffles.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from nncomp.ir.index import Index, Var, unravel
from nncomp.ir.loops import Buffer, Kernel, Load
from nncomp.ir.types import float32

from ...llvm import Value
from ...memory import load_one
from ...scalar import emit_scalar
from ..emitter import PtxEmitter
from ..kernel import Code, Launch
from .copies import Shape, TileCopy, vector_length
from .places import Places, number
from .product import INDEX_LIMIT, Operand
from .words import barrier, commit, dynamic_array, element, joined, parts, wait

BLOCK = 64  # queries of a block; keys of a turn
ROWS, KEYS = 4, 8  # of a thread
LANES = 8  # that share a row
THREADS = BLOCK // ROWS * LANES
LONGEST = 128  # depth and width that registers and shared memory are enough for
CHUNK = 16  # terms written out in a row
WEIGHT_PITCH = BLOCK + 8
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
    """Writes the kernel of one `attention` node."""

    def __init__(self, kernel: Kernel, aligned: bool):
        self.kernel, self.walk = kernel, Geometry(**kernel.extra.geometry)
        self.e, self.aligned = PtxEmitter("i32"), aligned
        walk = self.walk
        self.batch = Var("batch", prod(e for e, *_ in walk.batch))
        self.row, self.key = Var("row", walk.rows[0]), Var("key", walk.keys[0])
        self.deep, self.wide = Var("depth", walk.depth[0]), Var("width", walk.width)
        self.depth = -(-walk.depth[0] // CHUNK) * CHUNK
        self.width = -(-walk.width // (4 * LANES)) * 4 * LANES
        queries = Shape(BLOCK, self.depth, "depth", self.depth + 4)
        values = Shape(self.width, BLOCK, "side", self.width + 4)
        self.shapes = queries, queries, values
        self.copies = self._copies()

    def _copies(self) -> list[TileCopy]:
        walk = self.walk
        q = {self.row: walk.rows[1], self.deep: 1}
        k = {self.key: walk.keys[1], self.deep: walk.depth[1]}
        v = {self.wide: 1, self.key: walk.keys[2]}
        copies = []
        for place, (strides, shape) in enumerate(zip((q, k, v), self.shapes, strict=True)):
            side, depth = strides
            load = Load(self.kernel.buffers[place], self._offset(place, strides), None)
            near = "side" if strides[side] == 1 else "depth"
            operand = Operand(load, load, None, side, depth, near)
            vector = vector_length(operand, shape.along, self.aligned)
            copies.append(TileCopy(self.e, operand, shape, float32, THREADS, vector, None))
        return copies

    def _offset(self, operand: int, strides: dict[Var, int]) -> Index:
        """Of an operand (q, k, v or mask), from its batch number and these loops."""
        walk = self.walk
        at = unravel(Index.of(self.batch), tuple(e for e, *_ in walk.batch))
        total = Index((), walk.starts[operand])
        for i, (_, *steps) in zip(at, walk.batch, strict=True):
            total = total + i * steps[operand]
        for var, step in strides.items():
            total = total + Index.of(var) * step
        return total

    # -- sizes -----------------------------------------------------------------------------------

    @property
    def places_of(self) -> list[int]:
        """Where queries, keys, values and weights begin in shared memory, and its end; floats."""
        sizes = [*(s.elements for s in self.shapes), BLOCK * WEIGHT_PITCH]
        return [sum(sizes[:k]) for k in range(len(sizes) + 1)]

    # -- code ------------------------------------------------------------------------------------

    def code(self) -> Code:
        e, name, walk = self.e, self.kernel.name, self.walk
        memory = dynamic_array(e, f"{name}_tiles")
        areas = [element(e, "float", memory, number(n)) for n in self.places_of]
        self.q, self.k, self.v, self.weights, _ = areas
        places = Places(e)
        thread, block = e.special("tid.x"), e.special("ctaid.x")
        self._begin(places, thread, block)
        carried = self._keys(places, thread)
        self._store(places, carried)
        parameters = [f"ptr align 16 %b{b.slot}" for b in self.kernel.buffers]
        text = e.kernel(name, parameters, THREADS)
        blocks = -(-walk.rows[0] // BLOCK) * self.batch.extent
        shared = self.places_of[-1] * 4
        return Code(text, (Launch(name, (blocks, 1, 1), (THREADS, 1, 1), shared),))

    def _begin(self, places: Places, thread: Value, block: Value) -> None:
        """Which queries, and where this thread's rows and columns lie."""
        blocks = -(-self.walk.rows[0] // BLOCK)
        self.number = places.rem(block, blocks)
        self.env = {self.batch: places.div(block, blocks)}
        self.first = places.mul(self.number, BLOCK)
        warp, lane = places.div(thread, 32), places.rem(thread, 32)
        self.x = places.rem(lane, LANES)
        self.y = places.add(places.mul(warp, 4 * ROWS), places.div(lane, LANES))
        q, _, v = self.copies
        q.begin(places, thread, self.first, self.env)
        v.begin(places, thread, number(0), self.env)

    def _turns(self, places: Places) -> Value:
        """Blocks of keys to walk over: no row sees keys behind the last one."""
        count = -(-self.walk.keys[0] // BLOCK)
        if not self.walk.causal:
            return number(count)
        return places.least(places.add(self.number, 1), count)

    def _issue_keys(self, places: Places, thread: Value, turn: Value) -> None:
        copy = self.copies[1]
        copy.begin(places, thread, places.mul(turn, BLOCK), self.env)
        copy.issue(places, self.k, number(0))

    def _keys(self, places: Places, thread: Value) -> list[Value]:
        """The loop over keys: largest scores, sums of weights and weighted sums of values."""
        e = self.e
        self.copies[0].issue(places, self.q, number(0))
        self._issue_keys(places, thread, number(0))
        commit(e)
        zero = e.const("float", 0)
        columns = ROWS * self.width // LANES
        start = [*[e.const("float", LOWEST)] * ROWS, *[zero] * ROWS, *[zero] * columns]
        turns = self._turns(places)
        with e.loop(0, turns, carry=start, hint="turn") as loop:
            inner, turn = places.fork(), loop.index
            wait(e, 0)
            barrier(e)
            self.copies[2].issue(inner, self.v, turn)
            commit(e)
            scores = self._scores(inner)
            barrier(e)
            following = inner.add(turn, 1)
            with e.when(e.binary("icmp ult", following, turns), "more"):
                self._issue_keys(inner.fork(), thread, following)
            commit(e)
            scores = self._masked(inner, turn, scores)
            top, total, scale = self._softmax(inner, scores, loop.carry)
            wait(e, 1)
            barrier(e)
            sums = [e.binary("fmul", s, scale[k * ROWS // columns]) for k, s in enumerate(
                loop.carry[2 * ROWS :]
            )]
            loop.next(*top, *total, *self._weighted(inner, sums))
        return loop.result

    # -- scores ----------------------------------------------------------------------------------

    def _rows(self, places: Places) -> list[Value]:
        """This thread's rows within the block."""
        return [places.add(self.y, 4 * i) for i in range(ROWS)]

    def _scores(self, places: Places) -> list[Value]:
        """q k^T: 4 rows by 8 keys."""
        e, pitch = self.e, self.shapes[0].pitch
        rows = element(e, "float", self.q, places.mul(self.y, pitch))
        keys = element(e, "float", self.k, places.mul(self.x, pitch))
        start = [e.const("float", 0)] * (ROWS * KEYS)
        with e.loop(0, self.depth, CHUNK, carry=start, hint="depth") as loop:
            at_rows, at_keys = (element(e, "float", x, loop.index) for x in (rows, keys))
            sums = loop.carry
            for k in range(0, CHUNK, 4):
                left = [self._four(at_rows, 4 * i * pitch + k) for i in range(ROWS)]
                right = [self._four(at_keys, LANES * j * pitch + k) for j in range(KEYS)]
                for term in range(4):
                    pairs = [(a[term], b[term]) for a in left for b in right]
                    sums = [e.fma(a, b, s) for (a, b), s in zip(pairs, sums, strict=True)]
            loop.next(*sums)
        return loop.result

    def _four(self, base: Value, offset: int) -> list[Value]:
        at = element(self.e, "float", base, number(offset))
        return parts(self.e, self.e.load("<4 x float>", at, 16))

    def _masked(self, places: Places, turn: Value, scores: list[Value]) -> list[Value]:
        """Scores times the scale; -inf where a key takes no part."""
        e, walk = self.e, self.walk
        scale, lowest = e.const("float", walk.scale), e.const("float", LOWEST)
        scores = [e.binary("fmul", s, scale) for s in scores]
        first = places.mul(turn, BLOCK)
        for j in range(KEYS):
            key = places.add(places.add(self.x, LANES * j), first)
            inside = places.below(key, walk.keys[0])
            for i, local in enumerate(self._rows(places)):
                row = places.add(local, self.first)
                seen, k = inside if walk.keys[0] % BLOCK else Value("true", "i1"), i * KEYS + j
                if walk.causal:
                    seen = places.both(seen, e.binary("icmp ule", key, row, "seen"))
                if len(self.kernel.buffers) == 5:
                    scores[k], seen = self._with_mask(places, scores[k], seen, row, key)
                if seen.ref != "true":
                    scores[k] = e.select(seen, scores[k], lowest, "score")
        return scores

    def _with_mask(self, places: Places, score: Value, seen: Value, row: Value, key: Value):
        """The score with its element of the mask added, or whether a bool mask lets it be seen."""
        walk, mask = self.walk, self.kernel.buffers[3]
        offset = self._offset(3, {self.row: walk.rows[2], self.key: walk.keys[3]})
        at = {self.row: (row, walk.rows[0]), self.key: (key, walk.keys[0])}
        env = {v: places.least(x, n - 1) for v, (x, n) in at.items()}
        place = places.index(offset, {**self.env, **env})
        value = load_one(self.e, mask.type.dtype, self._element(mask, place))
        if value.type == "i1":
            return score, places.both(seen, value)
        return self.e.binary("fadd", score, value), seen

    def _element(self, buffer: Buffer, place: Value) -> Value:
        type = "i8" if buffer.type.dtype.kind == "b" else "float"
        return element(self.e, type, Value(f"%b{buffer.slot}", "ptr"), place)

    # -- softmax ---------------------------------------------------------------------------------

    def _softmax(self, places: Places, scores: list[Value], carry: list[Value]):
        """(largest scores, sums, factors of the old sums); the weights go to shared memory."""
        e = self.e
        tops, totals, factors = [], [], []
        for i, local in enumerate(self._rows(places)):
            mine, old = scores[i * KEYS : (i + 1) * KEYS], carry[i]
            top = old
            for score in mine:
                top = self._largest(top, score)
            for mask in (1, 2, 4):
                top = self._largest(top, e.shuffle_xor(top, mask))
            none = e.binary("fcmp oeq", top, e.const("float", LOWEST), "none")
            base = e.select(none, e.const("float", 0), top, "base")
            powers = [self._power(score, base) for score in mine]
            factor = self._power(old, base)
            total = powers[0]
            for power in powers[1:]:
                total = e.binary("fadd", total, power)
            for mask in (1, 2, 4):
                total = e.binary("fadd", total, e.shuffle_xor(total, mask))
            line = places.add(places.mul(local, WEIGHT_PITCH), self.x)
            for j, power in enumerate(powers):
                at = element(e, "float", self.weights, places.add(line, LANES * j))
                e.store(power, at, 4)
            tops.append(top)
            totals.append(e.fma(carry[ROWS + i], factor, total))
            factors.append(factor)
        return tops, totals, factors

    def _largest(self, a: Value, b: Value) -> Value:
        return emit_scalar(self.e, "maximum", [a, b], "float32")

    def _power(self, score: Value, base: Value) -> Value:
        return emit_scalar(self.e, "exp", [self.e.binary("fsub", score, base)], "float32")

    def _weighted(self, places: Places, sums: list[Value]) -> list[Value]:
        """The sums with the weights times this turn's values added."""
        e, groups = self.e, self.width // (4 * LANES)
        pitch = self.shapes[2].pitch
        rows = element(e, "float", self.weights, places.mul(self.y, WEIGHT_PITCH))
        values = element(e, "float", self.v, places.mul(self.x, 4))
        with e.loop(0, BLOCK, CHUNK, carry=sums, hint="key") as loop:
            at_rows = element(e, "float", rows, loop.index)
            at_values = element(e, "float", values, e.mul(loop.index, pitch))
            sums = loop.carry
            for k in range(0, CHUNK, 4):
                left = [self._four(at_rows, 4 * i * WEIGHT_PITCH + k) for i in range(ROWS)]
                for term in range(4):
                    offsets = ((k + term) * pitch + g * 4 * LANES for g in range(groups))
                    right = [x for offset in offsets for x in self._four(at_values, offset)]
                    pairs = [(a[term], b) for a in left for b in right]
                    sums = [e.fma(a, b, s) for (a, b), s in zip(pairs, sums, strict=True)]
            loop.next(*sums)
        return loop.result

    # -- results ---------------------------------------------------------------------------------

    def _store(self, places: Places, carried: list[Value]) -> None:
        """The weighted sums over the sums of weights."""
        e, walk, width = self.e, self.walk, self.width // LANES
        for i, local in enumerate(self._rows(places)):
            row = places.add(local, self.first)
            total = carried[ROWS + i]
            if walk.safe:
                empty = e.binary("fcmp oeq", total, e.const("float", 0), "empty")
                total = e.select(empty, e.const("float", 1), total, "total")
            start = places.add(places.mul(self.env[self.batch], walk.rows[0]), row)
            line = places.mul(start, walk.width)
            mine = carried[2 * ROWS + i * width : 2 * ROWS + (i + 1) * width]
            with e.when(places.below(row, walk.rows[0]), "row"):
                for g in range(width // 4):
                    four = [e.binary("fdiv", x, total) for x in mine[4 * g : 4 * g + 4]]
                    self._store_four(places.fork(), line, g, four)

    def _store_four(self, places: Places, line: Value, group: int, four: list[Value]) -> None:
        """Neighbouring results, at once where the width allows it."""
        e, walk = self.e, self.walk
        pointer = Value(f"%b{self.kernel.buffers[-1].slot}", "ptr")
        column = places.add(places.mul(self.x, 4), group * 4 * LANES)
        if walk.width % 4 == 0:
            with e.when(places.below(column, walk.width), "column"):
                at = element(e, "float", pointer, places.fork().add(line, column))
                e.store(joined(e, four), at, 16 if self.aligned else 4)
            return
        for k, value in enumerate(four):
            here = places.add(column, k)
            with e.when(places.below(here, walk.width), "column"):
                e.store(value, element(e, "float", pointer, places.fork().add(line, here)), 4)
