"""Code for attention kernels: scores, softmax and weighted values of a block of queries.

    define void @k(ptr %b0, .., i64 %begin, i64 %end)    ; units: blocks of queries of every head

A unit keeps its queries, transposed and scaled, and its scores in scratch. Scores are powers of
two (the scale holds log2 e), which saves a step of every exponential. With a causal mask tiles of
keys behind the block are left out, and each tile of results stops at its own last key.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from nncomp.ir.loops import Kernel
from nncomp.ir.op import OpError
from nncomp.ir.types import float32

from ..lanes import Lanes
from ..llvm import Emitter, Value, vector_type
from ..reductions import prefix_mask
from ..transpose_kernel import transpose
from .attention_dropout import Dropout
from .attention_plan import FLOAT, AttentionPlan
from .attention_softmax import exp2_below, ramp_from, shuffled
from .contract_index import Index, add, dot, each, low, mul, unravel, value

LOG2E = math.log2(math.e)
NEVER = float("-inf")


class Mix(NamedTuple):
    """out[query] = sum over keys of shares[key][query] * rows[key], `width` columns of it."""

    shares: Value
    rows: Value
    stride: int  # from row to row
    out: Value
    out_stride: int
    width: int


class AttentionKernel:
    """Writes one attention kernel; units of work are the plan's."""

    extra = 0  # operands between v and the mask

    def __init__(self, e: Emitter, kernel: Kernel, plan: AttentionPlan, has_fma: bool):
        if kernel.buffers[0].type.dtype is not float32:
            raise OpError(f"attention: has a kernel for float32, got {kernel.buffers[0].type}")
        self.e, self.plan, self.walk = e, plan, plan.walk
        *operands, self.result = (Value(f"%b{b.slot}", "ptr") for b in kernel.buffers)
        self.q, self.k, self.v, *rest = operands
        key = rest.pop() if self.walk.drop else None
        self.masks = rest[self.extra :]
        self.mask_is_bool = kernel.buffers[3 + self.extra].type.dtype.kind == "b"
        self.vector = vector_type("float", plan.lanes)
        self.m = Lanes(e, e.const(self.vector, 0), has_fma)
        self.dropout = key and Dropout(e, self.walk.drop, key, plan.block)

    @property
    def mask_per_row(self) -> bool:
        """Whether the mask differs from query to query: it is then transposed into the scores."""
        return bool(self.masks) and self.walk.rows[2] != 0 and self.walk.rows[0] > 1

    def write(self) -> None:
        e, plan, w = self.e, self.plan, self.walk
        self.make_scratch()
        begin, end = Value("%begin", "i64"), Value("%end", "i64")
        with e.loop(begin, end, hint="unit") as loop:
            *batch, block = unravel(e, loop.index, [*(d[0] for d in w.batch), plan.blocks])
            self._unit(batch, self._spread_block(block))

    def make_scratch(self) -> None:
        """Memory for what a block of queries has: itself, its scores, a factor per query."""
        plan, w = self.plan, self.walk
        self.queries = self.scratch(w.depth[0] * plan.block, "queries")
        self.scores = self.scratch(w.keys[0] * plan.block, "scores")
        self.factors = self.scratch(plan.block, "factors")

    def scratch(self, count: int, name: str) -> Value:
        return self.e.emit("ptr", f"alloca [{count} x float], align 64", name)

    def _spread_block(self, block: Index) -> Index:
        """Causal blocks, from both ends in turn: shares of neighbours are then of equal work."""
        if not self.walk.causal or isinstance(block, int):
            return block
        e = self.e
        half = e.binary("lshr", block, e.const("i64", 1))
        late = e.binary("sub", e.const("i64", self.plan.blocks - 1), half)
        odd = e.binary("icmp ne", e.binary("and", block, e.const("i64", 1)), e.const("i64", 0))
        return e.select(odd, late, half, "block")

    def _unit(self, batch: list[Index], block: Index) -> None:
        e, w = self.e, self.walk
        q, k, v, *mask = self.operands(batch)
        extents = [d[0] for d in w.batch]
        strides = [math.prod(extents[i + 1 :]) * w.rows[0] * w.width for i in range(len(extents))]
        out = e.gep("float", self.result, value(dot(e, batch, strides)))
        first = mul(e, block, self.plan.block)
        self.shares(q, k, mask, first)
        self.mix(Mix(self.scores, v, w.keys[2], out, w.width, w.width), first)

    def operands(self, batch: list[Index]) -> list[Value]:
        """Where q, k, v and the mask of one head begin."""
        e, w = self.e, self.walk
        pointers = []
        for number, base in enumerate((self.q, self.k, self.v, *self.masks)):
            type = "i8" if number == 3 and self.mask_is_bool else "float"
            offset = add(e, dot(e, batch, [d[1 + number] for d in w.batch]), w.starts[number])
            pointers.append(e.gep(type, base, value(offset)))
        if self.dropout:
            self.dropout.enter(batch)
        return pointers

    def shares(self, q: Value, k: Value, mask: list[Value], first: Index) -> Index:
        """exp(score - top) of the queries from `first` on, and the inverse sums as factors.

        Returns the number of keys that they see.
        """
        e, w = self.e, self.walk
        scale = e.const(self.vector, w.scale * LOG2E)
        self.transposed(q, first, w.rows[1], w.depth[0], self.queries, "float", scale)
        if self.mask_per_row:
            type = "i8" if self.mask_is_bool else "float"
            scale = e.const(self.vector, LOG2E)
            self.transposed(mask[0], first, w.rows[2], w.keys[0], self.scores, type, scale)
        limit = w.keys[0]
        if w.causal:
            limit = low(e, add(e, first, self.plan.block), limit)
        tops = self._all_scores(k, mask, first, limit)
        if self.dropout:
            self.dropout.begin(first)
        self._powers(tops, limit)
        return limit

    # -- copies into scratch -----------------------------------------------------------------------

    def transposed(self, source, first: Index, stride: int, columns: int, target, type, scale):
        """target[column][query] = scale * source[query][column], for a block of queries."""
        e, plan = self.e, self.plan
        lanes = plan.lanes

        def strip(number: Index) -> None:
            rows = add(e, first, mul(e, number, lanes))
            to = e.gep("float", target, value(mul(e, number, lanes)))
            whole = columns // lanes
            each(e, 0, whole, lambda i: self._tile(source, rows, stride, i, lanes, to, type, scale))
            if columns % lanes:
                self._tile(source, rows, stride, whole, columns % lanes, to, type, scale)

        each(e, 0, plan.query_vectors, strip, "strip")

    def _tile(self, source, rows, stride: int, tile: Index, live: int, target, type, scale) -> None:
        """One square tile; queries past the last one repeat it."""
        e, plan = self.e, self.plan
        lanes, count = plan.lanes, self.walk.rows[0]
        column = mul(e, tile, lanes)
        vectors = []
        for i in range(lanes):
            row = add(e, rows, i)
            row = low(e, row, count - 1) if count % plan.block else row
            address = e.gep(type, source, value(add(e, mul(e, row, stride), column)))
            vectors.append(self._loaded(address, type, live, scale))
        for j, vector in enumerate(transpose(e, vectors)[:live]):
            at = mul(e, add(e, column, j), plan.block)
            e.store(vector, e.gep("float", target, value(at)), FLOAT * lanes)

    def _loaded(self, address: Value, type: str, live: int, scale: Value) -> Value:
        """A vector of a query or of a mask; False is -inf."""
        e, lanes = self.e, self.plan.lanes
        vector = vector_type(type, lanes)
        align = 1 if type == "i8" else FLOAT
        if live < lanes:
            mask = prefix_mask(live, lanes)
            loaded = e.masked_load(vector, address, mask, align, e.const(vector, 0))
        else:
            loaded = e.load(vector, address, align)
        if type == "i8":
            return self.m.select(e.binary("icmp ne", loaded, e.const(vector, 0)), 0.0, NEVER)
        return e.binary("fmul", loaded, scale)

    # -- scores ------------------------------------------------------------------------------------

    def _all_scores(self, k: Value, mask: list[Value], first: Index, limit: Index) -> list[Value]:
        """Scores of the keys up to `limit`, and the largest one of each query."""
        e, rows, keys = self.e, self.plan.key_rows, self.walk.keys[0]
        whole = keys // rows
        tops = [e.const(self.vector, NEVER)] * self.plan.query_vectors

        def tiles(begin: Index, end: Index, live: int, tops, at=None):
            with e.loop(value(begin), value(end), carry=tops, hint="keys") as loop:
                start = mul(e, loop.index, rows)
                loop.next(*self._score_tile(k, mask, start, live, loop.carry, at))
            return loop.result

        if not self.walk.causal:
            tops = tiles(0, whole, rows, tops)
            return tiles(whole, whole + 1, keys % rows, tops) if keys % rows else tops
        plain = low(e, self._divided(add(e, first, 1), rows), whole)
        needed = low(e, self._divided(add(e, limit, rows - 1), rows), whole)
        tops = tiles(0, plain, rows, tops)
        tops = tiles(plain, needed, rows, tops, first)
        if keys % rows:
            last = self._divided(add(e, limit, rows - 1), rows)
            tops = tiles(whole, last, keys % rows, tops, first)
        return tops

    def _divided(self, index: Index, by: int) -> Index:
        if isinstance(index, int):
            return index // by
        return self.e.binary("udiv", index, self.e.const("i64", by))

    def _score_tile(self, k, mask, start: Index, live: int, tops, first: Index | None):
        """`live` keys from `start` on, masked by their place where `first` is given."""
        e, plan, w = self.e, self.plan, self.walk
        corner = e.gep("float", k, value(mul(e, start, w.keys[1])))
        tops = list(tops)
        sums = self.products(corner, w.keys[1], w.depth, self.queries, live)
        for at, score in enumerate(sums):
            i, g = divmod(at, plan.query_vectors)
            key = add(e, start, i)
            place = add(e, mul(e, key, plan.block), g * plan.lanes)
            address = e.gep("float", self.scores, value(place))
            score = self._masked(score, mask, key, address)
            if first is not None:
                query = ramp_from(e, add(e, first, g * plan.lanes), plan.lanes)
                known = e.splat(e.convert("trunc", value(key), "i32"), plan.lanes)
                score = self.m.select(e.binary("icmp sle", known, query), score, NEVER)
            e.store(score, address, FLOAT * plan.lanes)
            tops[g] = self.m.select(self.m.compare("ogt", score, tops[g]), score, tops[g])
        return tops

    def products(self, corner: Value, stride: int, depth: tuple[int, int], right: Value, live: int):
        """`live` rows from `corner` on, each times the block of queries in `right`."""
        e, plan, count = self.e, self.plan, self.plan.query_vectors
        zero = e.const(self.vector, 0)
        with e.loop(0, depth[0], carry=[corner, right, *[zero] * live * count]) as loop:
            a, b, *sums = loop.carry
            vectors = [e.load(self.vector, e.gep("float", b, g * plan.lanes), 4 * plan.lanes)
                       for g in range(count)]  # fmt: skip
            for i in range(live):
                left = e.load("float", e.gep("float", a, i * stride), FLOAT)
                left = e.splat(left, plan.lanes)
                for g in range(count):
                    at = i * count + g
                    sums[at] = e.intrinsic("fmuladd", left, vectors[g], sums[at])
            loop.next(e.gep("float", a, depth[1]), e.gep("float", b, plan.block), *sums)
        return loop.result[2:]

    def _masked(self, score: Value, mask: list[Value], key: Index, address: Value) -> Value:
        """The score of a key under the mask, which per row waits where the score will be."""
        e = self.e
        if not mask:
            return score
        if self.mask_per_row:
            term = e.load(self.vector, address, FLOAT * self.plan.lanes)
            if self.mask_is_bool:
                return self.m.select(self.m.compare("oeq", term, 0.0), score, NEVER)
            return self.m.add(score, term)
        place = value(mul(e, key, self.walk.keys[3]))
        if self.mask_is_bool:
            there = e.load("i8", e.gep("i8", mask[0], place), 1)
            there = e.binary("icmp ne", there, e.const("i8", 0))
            return e.select(there, score, e.const(self.vector, NEVER))
        term = e.splat(e.load("float", e.gep("float", mask[0], place), FLOAT), self.plan.lanes)
        return self.m.fma(term, self.m.c(LOG2E), score)

    # -- softmax and results -----------------------------------------------------------------------

    def _powers(self, tops: list[Value], limit: Index) -> None:
        """Scores become powers of two; their sums' inverses are the factors of the results.

        Two rows at once as one long vector, whose instructions interleave: one exponential after
        the other would wait for itself.
        """
        e, plan = self.e, self.plan
        row, pair = (vector_type("float", n * plan.block) for n in (1, 2))
        for g, top in enumerate(tops):
            e.store(top, e.gep("float", self.factors, g * plan.lanes), FLOAT * plan.lanes)
        top = e.load(row, self.factors, 64)
        m = Lanes(e, top, self.m.has_fma)
        if self.walk.safe:
            top = m.select(m.compare("oeq", top, NEVER), 0.0, top)
        pairs, zero = self._divided(limit, 2), e.const(pair, 0)
        both = shuffled(e, top, [*range(plan.block)] * 2)
        with e.loop(0, value(pairs), carry=[zero], hint="keys") as loop:
            total = self._power_row(loop.index, both, loop.carry[0])
            loop.next(total)
        halves = (range(plan.block), range(plan.block, 2 * plan.block))
        total = m.add(*(shuffled(e, loop.result[0], [*half]) for half in halves))
        last = mul(e, pairs, 2)
        with e.loop(value(last), value(limit), carry=[total], hint="key") as loop:
            loop.next(self._power_row(loop.index, top, loop.carry[0]))
        total = loop.result[0]
        if self.walk.safe:
            total = m.select(m.compare("oeq", total, 0.0), 1.0, total)
        gain = self.dropout.gain if self.dropout else 1.0
        e.store(m.div(m.c(gain), total), self.factors, 64)

    def _power_row(self, number: Index, top: Value, total: Value) -> Value:
        """The scores of row `number`, in rows as long as `top`, made powers and added to `total`.
        """
        e, m = self.e, Lanes(self.e, top, self.m.has_fma)
        address = e.gep("float", self.scores, value(mul(e, number, top.lanes)))
        align = FLOAT * min(self.plan.block, 16)
        share = exp2_below(m, m.sub(e.load(top.type, address, align), top))
        e.store(self.kept(m, share, number), address, align)
        return m.add(total, share)

    def kept(self, m: Lanes, share: Value, number: Index) -> Value:
        """Row `number` of shares, in rows as long as `share`, with 0 where dropout takes one."""
        if not self.dropout:
            return share
        keys = share.lanes // self.plan.block
        return m.select(self.dropout.stays(mul(self.e, number, keys), keys), share, 0.0)

    def mix(self, x: Mix, first: Index) -> None:
        """out[query] = factor * sum over keys of share * row[key]."""
        e, plan, w = self.e, self.plan, self.walk
        live = low(e, plan.block, add(e, mul(e, first, -1), w.rows[0]))
        tiles = self._divided(add(e, live, plan.result_rows - 1), plan.result_rows)
        step = plan.result_vectors * plan.lanes
        whole, rest = divmod(x.width, step)

        def strip(number: Index, columns: int = step) -> None:
            column = mul(e, number, step)
            b = e.gep("float", x.rows, value(column))
            to = e.gep("float", x.out, value(column))
            part = x._replace(rows=b, out=to, width=columns)
            each(e, 0, tiles, lambda t: self._result_tile(part, first, t), "rows")

        each(e, 0, whole, strip, "columns")
        if rest:
            strip(whole, rest)

    def spans(self, columns: int) -> list[tuple[int, int]]:
        """(begin, live lanes) of the vectors of so many columns."""
        lanes = self.plan.lanes
        return [(at, min(lanes, columns - at)) for at in range(0, columns, lanes)]

    def _result_tile(self, x: Mix, first: Index, tile: Index) -> None:
        e, plan, w = self.e, self.plan, self.walk
        rows, lanes = plan.result_rows, plan.lanes
        row = mul(e, tile, rows)
        shares = e.gep("float", x.shares, value(row))
        spans = self.spans(x.width)
        limit = w.keys[0]
        if w.causal:
            limit = low(e, add(e, add(e, first, row), rows), limit)
        zero = e.const(self.vector, 0)
        with e.loop(0, value(limit), carry=[shares, x.rows, *[zero] * rows * len(spans)]) as loop:
            a, b, *sums = loop.carry
            right = [self.values(b, at, live) for at, live in spans]
            for i in range(rows):
                left = e.splat(e.load("float", e.gep("float", a, i), FLOAT), lanes)
                for j, vector in enumerate(right):
                    at = i * len(right) + j
                    sums[at] = e.intrinsic("fmuladd", left, vector, sums[at])
            loop.next(e.gep("float", a, plan.block), e.gep("float", b, x.stride), *sums)
        for i in range(rows):
            self._store_row(x, add(e, row, i), first, spans, loop.result[2 + i * len(spans) :])

    def values(self, b: Value, at: int, live: int) -> Value:
        e, address = self.e, self.e.gep("float", b, at)
        if live == self.plan.lanes:
            return e.load(self.vector, address, FLOAT)
        zero = e.const(self.vector, 0)
        return e.masked_load(self.vector, address, prefix_mask(live, self.plan.lanes), FLOAT, zero)

    def _store_row(self, x: Mix, row: Index, first: Index, spans, sums: list[Value]) -> None:
        """One row of results, if there is a query for it."""
        e, plan, w = self.e, self.plan, self.walk
        factor = e.load("float", e.gep("float", self.factors, value(row)), FLOAT)
        factor = e.splat(factor, plan.lanes)
        query = add(e, first, row)

        def store() -> None:
            to = e.gep("float", x.out, value(mul(e, query, x.out_stride)))
            for (at, live), total in zip(spans, sums, strict=False):
                self.put(self.m.mul(total, factor), e.gep("float", to, at), live)

        if w.rows[0] % plan.result_rows == 0:
            store()
            return
        with e.when(e.binary("icmp slt", value(query), e.const("i64", w.rows[0]))):
            store()


    def put(self, result: Value, address: Value, live: int) -> None:
        """Store the first `live` lanes."""
        if live == self.plan.lanes:
            self.e.store(result, address, FLOAT)
        else:
            self.e.masked_store(result, address, prefix_mask(live, self.plan.lanes), FLOAT)
