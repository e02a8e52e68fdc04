"""Gradients of attention in three launches, without ever storing scores.

With P the weights, g the gradient of the result and dP = g v^T, the gradient of the scores is
dS = P (dP - D) with D the sum of P dP over each row (FlashAttention, Dao et al. 2022, appendix B).

1. rows: the largest score, 1 / sum of powers and D of every query, into the workspace;
2. dq = dS k, a block per 64 queries;
3. dv = P^T g and dk = dS^T q, a block per 64 keys, keys taking the place of rows.

Each computes the scores it needs again, in float32, and adds up in a fixed order: no atomics.
"""

from __future__ import annotations

from dataclasses import dataclass

from nncomp.ir.index import Index, Var, unravel
from nncomp.ir.loops import Kernel, Load

from ...llvm import Value
from ...scalar import emit_scalar
from ..kernel import Code, Launch
from .attention import BLOCK, LOWEST, THREADS, Geometry
from .attention_simt import KEYS, LANES, ROWS, WEIGHT_PITCH, SimtAttention, dots, weighted
from .copies import Shape, TileCopy, vector_length
from .places import Places, number
from .product import Operand
from .words import barrier, commit, dynamic_array, element, wait

LARGEST = 64  # depth and width for which two results fit into the registers of a thread
STATISTICS = 3  # numbers kept of each query


@dataclass(frozen=True)
class Gradients:
    """What `attention_grad` has beyond the attributes of `attention`."""

    given: tuple[int, ...]
    made: tuple[tuple[int, ...], ...]
    gains: tuple[float, float]

    @staticmethod
    def fits(attrs: dict) -> bool:
        """Whether the kernels below can do it, by the attributes of `attention`."""
        return max(attrs["depth"][0], attrs["width"]) <= LARGEST and Geometry(**attrs).fits

    @staticmethod
    def workspace(attrs: dict) -> int:
        """Floats that the launches hand on."""
        total = attrs["rows"][0] * STATISTICS
        for extent, *_ in attrs["batch"]:
            total *= extent
        return total


def gradient_code(kernel: Kernel, aligned: bool) -> Code:
    """One module with the three kernels, and their launches in order."""
    parts = [part(kernel, aligned) for part in (RowStatistics, QueryGradient, KeyGradient)]
    codes = [part.code() for part in parts]
    texts = [code.text for code in codes]
    return Code(_one_module(texts), tuple(launch for code in codes for launch in code.launches))


def _one_module(texts: list[str]) -> str:
    """The modules as one: what several declare is declared once."""
    seen: set[str] = set()
    lines = []
    for line in "\n".join(texts).split("\n"):
        if line.startswith(("declare ", "@", "attributes ")):
            if line in seen:
                continue
            seen.add(line)
        lines.append(line)
    return "\n".join(lines)


class GradientPart(SimtAttention):
    """What the three have in common: tiles of q, k, v and g, scores and their gradient.

    `fixed` says which operands lie still while the block walks over the others.
    """

    suffix = ""
    fixed: tuple[int, ...] = (0, 3)  # of q, k, v, g
    mask_number = 4
    scratches = 0  # tiles of weights

    def __init__(self, kernel: Kernel, aligned: bool):
        geometry = dict(kernel.extra.geometry)
        self.more = Gradients(*(geometry.pop(n) for n in ("given", "made", "gains")))
        for name in ("shape", "workspace"):
            geometry.pop(name)
        self.has_mask = len(kernel.buffers) == 7
        self.set_up(kernel, Geometry(**geometry), aligned)

    def tile_shapes(self):
        width = -(-self.walk.width // (4 * LANES)) * 4 * LANES
        depth = -(-self.walk.depth[0] // (4 * LANES)) * 4 * LANES
        self.width, self.depth = width, depth
        deep, wide = (Shape(BLOCK, n, "depth", n + 4) for n in (depth, width))
        return deep, deep, wide, wide

    @property
    def scratch(self) -> int:
        return self.scratches * BLOCK * WEIGHT_PITCH

    def strides(self):
        walk = self.walk
        return (
            {self.row: walk.rows[1], self.deep: 1},
            {self.key: walk.keys[1], self.deep: walk.depth[1]},
            {self.key: walk.keys[2], self.wide: 1},
            {self.row: self.more.given[1], self.wide: 1},
        )

    def offset(self, operand: int, strides: dict[Var, int]) -> Index:
        """As for attention, and of g; the mask is the operand behind it."""
        if operand != 3:
            return super().offset(operand - (operand > 3), strides)
        return self.placed(self.more.given, strides)

    def placed(self, place: tuple[int, ...], strides: dict[Var, int]) -> Index:
        """Of a gradient at (start, row stride, *batch strides)."""
        start, _, *outer = place
        at = unravel(Index.of(self.batch), tuple(e for e, *_ in self.walk.batch))
        total = Index((), start)
        for i, step in zip(at, outer, strict=True):
            total = total + i * step
        for var, step in strides.items():
            total = total + Index.of(var) * step
        return total

    def make_copies(self) -> list[TileCopy]:
        copies = []
        for place, (strides, shape) in enumerate(zip(self.strides(), self.shapes, strict=True)):
            side, depth = strides
            load = Load(self.kernel.buffers[place], self.offset(place, strides), None)
            operand = Operand(load, load, None, side, depth, "depth")
            vector = vector_length(operand, "depth", self.aligned)
            copies.append(
                TileCopy(self.e, operand, shape, self.dtype, THREADS, vector, self._load)
            )
        return copies

    # -- code ------------------------------------------------------------------------------------

    @property
    def lines(self) -> Var:
        """What blocks are cut from."""
        return self.row

    def code(self) -> Code:
        e, name = self.e, f"{self.kernel.name}{self.suffix}"
        memory = dynamic_array(e, f"{self.kernel.name}_tiles")
        sizes = [*(s.elements for s in self.shapes), self.scratch]
        starts = [sum(sizes[:k]) for k in range(len(sizes))]
        *self.areas, self.rest = (element(e, "float", memory, number(n)) for n in starts)
        places = Places(e)
        thread, block = e.special("tid.x"), e.special("ctaid.x")
        blocks = -(-self.lines.extent // BLOCK)
        self.number = places.rem(block, blocks)
        self.env = {self.batch: places.div(block, blocks)}
        self.first = places.mul(self.number, BLOCK)
        self.begin(places, thread)
        self.body(places, thread)
        parameters = [f"ptr align 16 %b{b.slot}" for b in self.kernel.buffers]
        text = e.kernel(name, parameters, THREADS)
        grid = (blocks * self.batch.extent, 1, 1)
        return Code(text, (Launch(name, grid, (THREADS, 1, 1), sum(sizes) * 4),))

    def body(self, places: Places, thread: Value) -> None:
        raise NotImplementedError

    def bring(self, places: Places, thread: Value, which: tuple[int, ...], first: Value) -> None:
        """Copy the tiles of these operands that begin at line `first`."""
        for k in which:
            self.copies[k].begin(places, thread, first, self.env)
            self._bring(places, k, self.areas[k], number(0))
        commit(self.e)

    def turns(self, places: Places, thread: Value, carry: list[Value], turn) -> list[Value]:
        """`turn(places, first, carry)` for every tile of what does not lie still."""
        e = self.e
        moving = tuple(k for k in range(4) if k not in self.fixed)
        others = self.key if self.lines is self.row else self.row
        count = -(-others.extent // BLOCK)
        begin, end = number(0), number(count)
        if self.walk.causal:  # keys up to the last row; rows from the first key on
            if others is self.key:
                end = places.least(places.add(self.number, 1), count)
            else:
                begin = places.least(self.number, count)
        self.bring(places, thread, self.fixed, self.first)
        with e.loop(begin, end, carry=carry, hint="turn") as loop:
            inner = places.fork()
            barrier(e)
            first = inner.mul(loop.index, BLOCK)
            self.bring(inner, thread, moving, first)
            wait(e, 0)
            barrier(e)
            loop.next(*turn(inner, first, loop.carry))
        return loop.result

    # -- scores ----------------------------------------------------------------------------------

    def pair(self, places: Places, left: int, right: int) -> list[Value]:
        """Products of all lines of two tiles: 4 lines of the left one by 8 of the right one."""
        pitch, depth = self.shapes[left].pitch, self.shapes[left].depth
        lines, columns = self.lines_of(places, left, right, pitch)
        return dots(self.e, lines, columns, pitch, depth)

    def lines_of(self, places: Places, left: int, right: int, pitch: int):
        lines = element(self.e, "float", self.areas[left], places.mul(self.y, pitch))
        return lines, element(self.e, "float", self.areas[right], places.mul(self.x, pitch))

    def seen_scores(self, places: Places, scores: list[Value], first: Value) -> list[Value]:
        """Scores times the scale, -inf where hidden or where there is no such line or column."""
        e, walk = self.e, self.walk
        scale, lowest = e.const("float", walk.scale), e.const("float", LOWEST)
        others = self.key if self.lines is self.row else self.row
        found = []
        for k, score in enumerate(scores):
            i, j = divmod(k, KEYS)
            line = places.add(self.rows(places)[i], self.first)
            column = places.add(self.keys(places)[j], first)
            row, key = (line, column) if others is self.key else (column, line)
            score = e.binary("fmul", score, scale)
            seen = places.below(column, others.extent)
            if others.extent % BLOCK == 0:
                seen = Value("true", "i1")
            if walk.causal:
                seen = places.both(seen, e.binary("icmp ule", key, row, "seen"))
            if self.has_mask:
                score, seen = self.with_mask(places, score, seen, row, key)
            found.append(score if seen.ref == "true" else e.select(seen, score, lowest, "score"))
        return found

    def put(self, places: Places, which: int, values: list[Value]) -> None:
        """Store 4 by 8 values to a tile of weights."""
        start = number(which * BLOCK * WEIGHT_PITCH)
        base = element(self.e, "float", self.rest, start)
        for k, value in enumerate(values):
            i, j = divmod(k, KEYS)
            line = places.mul(self.rows(places)[i], WEIGHT_PITCH)
            at = element(self.e, "float", base, places.add(line, self.keys(places)[j]))
            self.e.store(value, at, 4)

    def add_up(self, places: Places, which: int, tile: int, sums: list[Value]) -> list[Value]:
        """The sums with a tile of weights times an operand's tile added."""
        start = places.add(places.mul(self.y, WEIGHT_PITCH), which * BLOCK * WEIGHT_PITCH)
        lines = element(self.e, "float", self.rest, start)
        values = element(self.e, "float", self.areas[tile], places.mul(self.x, 4))
        shape = self.shapes[tile]
        return weighted(self.e, lines, values, shape.pitch, shape.depth // (4 * LANES), sums)

    # -- the workspace -----------------------------------------------------------------------------

    def statistics(self, places: Places, row: Value) -> list[Value]:
        """Where the numbers of a query lie."""
        pointer = Value(f"%b{self.kernel.buffers[-1].slot}", "ptr")
        at = places.add(places.mul(self.env[self.batch], self.walk.rows[0]), row)
        at = places.mul(at, STATISTICS)
        count = range(STATISTICS)
        return [element(self.e, "float", pointer, places.add(at, k)) for k in count]

    def read_statistics(self, places: Places, row: Value) -> list[Value]:
        row = places.least(row, self.walk.rows[0] - 1)
        return [self.e.load("float", at, 4) for at in self.statistics(places, row)]

    def weight(self, score: Value, known: list[Value]) -> Value:
        """P of a score, with its query's numbers."""
        power = self.power(self.e.binary("fsub", score, known[0]))
        return self.e.binary("fmul", power, known[1])

    def slope(self, weight: Value, pulled: Value, known: list[Value]) -> Value:
        """dS; 0 where the weight is, whatever is read there."""
        e = self.e
        value = e.binary("fmul", weight, e.binary("fsub", pulled, known[2]))
        zero = e.const("float", 0)
        return e.select(e.binary("fcmp oeq", weight, zero, "none"), zero, value, "slope")

    def store_lines(self, places: Places, which: int, sums: list[Value], gain: float) -> None:
        """Write the gradient number `which` of this thread's lines."""
        e, place = self.e, self.more.made[which]
        inner = self.wide if which == 2 else self.deep
        offset = self.placed(place, {self.lines: place[1]})
        pointer = Value(f"%b{self.kernel.buffers[-2].slot}", "ptr")
        count = len(sums) // ROWS
        for i, local in enumerate(self.rows(places)):
            line = places.add(local, self.first)
            with e.when(places.below(line, self.lines.extent), "line"):
                here = places.fork()
                start = here.index(offset, {**self.env, self.lines: line})
                mine = sums[i * count : (i + 1) * count]
                mine = [e.binary("fmul", x, e.const("float", gain)) for x in mine]
                self._store_line(here, pointer, start, inner.extent, mine)

    def _store_line(self, places: Places, pointer: Value, start: Value, extent: int, mine) -> None:
        e = self.e
        for k, value in enumerate(mine):
            group, within = divmod(k, 4)
            column = places.add(places.mul(self.x, 4), group * 4 * LANES + within)
            with e.when(places.below(column, extent), "column"):
                at = element(e, "float", pointer, places.fork().add(start, column))
                e.store(value, at, 4)


class RowStatistics(GradientPart):
    """Launch 1."""

    suffix = "_rows"

    def body(self, places: Places, thread: Value) -> None:
        e = self.e
        zero, lowest = e.const("float", 0), e.const("float", LOWEST)
        start = [lowest] * ROWS + [zero] * (2 * ROWS)
        carried = self.turns(places, thread, start, self._turn)
        for i, local in enumerate(self.rows(places)):
            row = places.add(local, self.first)
            top, total, drag = carried[i], carried[ROWS + i], carried[2 * ROWS + i]
            for mask in self.partners:
                total = e.binary("fadd", total, e.shuffle_xor(total, mask))
                drag = e.binary("fadd", drag, e.shuffle_xor(drag, mask))
            if self.walk.safe:
                empty = e.binary("fcmp oeq", total, zero, "empty")
                total = e.select(empty, e.const("float", 1), total, "total")
            share = e.binary("fdiv", e.const("float", 1), total)
            numbers = self._base(top), share, e.binary("fmul", drag, share)
            first_lane = places.both(
                places.below(row, self.walk.rows[0]), places.below(self.x, 1)
            )
            with e.when(first_lane, "lane"):
                spots = self.statistics(places.fork(), row)
                for value, at in zip(numbers, spots, strict=True):
                    e.store(value, at, 4)

    def _base(self, top: Value) -> Value:
        none = self.e.binary("fcmp oeq", top, self.e.const("float", LOWEST), "none")
        return self.e.select(none, self.e.const("float", 0), top, "base")

    def _turn(self, places: Places, first: Value, carry: list[Value]) -> list[Value]:
        e = self.e
        scores = self.seen_scores(places, self.pair(places, 0, 1), first)
        pulled = self.pair(places, 3, 2)
        tops: list[Value] = []
        totals: list[Value] = []
        drags: list[Value] = []
        for i in range(ROWS):
            old = top = carry[i]
            mine = scores[i * KEYS : (i + 1) * KEYS]
            for score in mine:
                top = emit_scalar(e, "maximum", [top, score], "float32")
            for mask in self.partners:
                top = emit_scalar(e, "maximum", [top, e.shuffle_xor(top, mask)], "float32")
            base = self._base(top)
            factor = self.power(e.binary("fsub", old, base))
            total, drag = (
                e.binary("fmul", carry[k * ROWS + i], factor) for k in (1, 2)
            )
            for j, score in enumerate(mine):
                power = self.power(e.binary("fsub", score, base))
                total = e.binary("fadd", total, power)
                drag = e.binary("fadd", drag, self.drag_of(power, pulled[i * KEYS + j]))
            tops, totals, drags = [*tops, top], [*totals, total], [*drags, drag]
        return [*tops, *totals, *drags]

    def drag_of(self, power: Value, pulled: Value) -> Value:
        """P dP before the division; 0 where there is no weight."""
        e, zero = self.e, self.e.const("float", 0)
        none = e.binary("fcmp oeq", power, zero, "none")
        return e.select(none, zero, e.binary("fmul", power, pulled), "drag")


class QueryGradient(GradientPart):
    """Launch 2."""

    suffix = "_queries"
    scratches = 1

    def body(self, places: Places, thread: Value) -> None:
        lines = [places.add(local, self.first) for local in self.rows(places)]
        known = [self.read_statistics(places, line) for line in lines]

        def turn(inner: Places, first: Value, carry: list[Value]) -> list[Value]:
            scores = self.seen_scores(inner, self.pair(inner, 0, 1), first)
            pulled = self.pair(inner, 3, 2)
            slopes = []
            for k, (score, pull) in enumerate(zip(scores, pulled, strict=True)):
                mine = known[k // KEYS]
                slopes.append(self.slope(self.weight(score, mine), pull, mine))
            self.put(inner, 0, slopes)
            barrier(self.e)
            return self.add_up(inner, 0, 1, carry)

        zero = self.e.const("float", 0)
        count = ROWS * self.depth // LANES
        sums = self.turns(places, thread, [zero] * count, turn)
        self.store_lines(places, 0, sums, self.more.gains[0])


class KeyGradient(GradientPart):
    """Launch 3: lines are keys, columns queries."""

    suffix = "_keys"
    fixed = (1, 2)
    scratches = 2

    @property
    def lines(self) -> Var:
        return self.key

    def body(self, places: Places, thread: Value) -> None:
        deep, wide = (ROWS * n // LANES for n in (self.depth, self.width))

        def turn(inner: Places, first: Value, carry: list[Value]) -> list[Value]:
            columns = [inner.add(column, first) for column in self.keys(inner)]
            known = [self.read_statistics(inner, column) for column in columns]
            scores = self.seen_scores(inner, self.pair(inner, 1, 0), first)
            pulled = self.pair(inner, 2, 3)
            weights = [self.weight(s, known[k % KEYS]) for k, s in enumerate(scores)]
            slopes = [
                self.slope(w, p, known[k % KEYS])
                for k, (w, p) in enumerate(zip(weights, pulled, strict=True))
            ]
            self.put(inner, 0, slopes)
            self.put(inner, 1, weights)
            barrier(self.e)
            dk = self.add_up(inner, 0, 0, carry[:deep])
            return [*dk, *self.add_up(inner, 1, 3, carry[deep:])]

        start = [self.e.const("float", 0)] * (deep + wide)
        sums = self.turns(places, thread, start, turn)
        self.store_lines(places, 1, sums[:deep], self.more.gains[1])
        self.store_lines(places, 2, sums[deep:], 1.0)



