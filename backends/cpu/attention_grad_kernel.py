"""Code for the gradients of attention, one head after the other.

    define void @k(ptr %b0, .., i64 %begin, i64 %end)    ; units: heads

Nothing but q, k, v and g, the gradient of the result, is read: for each block of queries the shares
P are computed again, then with D the sum of P * (g v^T) per query the gradients of the scores are
S = P * (g v^T - D) (T. Dao, FlashAttention-2, 2023, section 3.1, backward pass, with D from the
scores at hand). The block's gradient is S k; S^T q and P^T g are added to those of the keys and
values, so a head stays on one thread and the order of its sums is fixed.
"""

from __future__ import annotations

from typing import NamedTuple

from nncomp.ir.loops import Kernel

from ..lanes import Lanes
from ..llvm import Emitter, Value
from .attention_kernel import AttentionKernel, Mix
from .attention_plan import FLOAT, AttentionPlan, make_attention_plan, make_gradient_plan
from .contract_index import Index, add, dot, each, low, mul, unravel, value
from .target import Target

KINDS = ("attention", "attention_grad")


def write_attention(e: Emitter, kernel: Kernel, target: Target, has_fma: bool) -> AttentionPlan:
    """Write the function of an attention kernel or of its gradients; returns its plan."""
    forward = kernel.kind == "attention"
    plan = (make_attention_plan if forward else make_gradient_plan)(kernel.extra.geometry, target)
    (AttentionKernel if forward else AttentionGradKernel)(e, kernel, plan, has_fma).write()
    return plan


class Sum(NamedTuple):
    """out[key] += gain * sum over queries of shares[key][query] * rows[query]."""

    shares: Value
    rows: Value
    stride: int  # from row to row
    out: Value
    out_stride: int
    width: int
    gain: float


class AttentionGradKernel(AttentionKernel):
    """Writes the kernel of one `attention_grad`."""

    extra = 1

    def __init__(self, e: Emitter, kernel: Kernel, plan: AttentionPlan, has_fma: bool):
        super().__init__(e, kernel, plan, has_fma)
        self.g = Value(f"%b{kernel.buffers[3].slot}", "ptr")
        geometry = kernel.extra.geometry
        self.given, self.made = geometry["given"], geometry["made"]
        self.gains = geometry["gains"]

    def write(self) -> None:
        e, plan, w = self.e, self.plan, self.walk
        self.make_scratch()
        self.gradients = self.scratch(w.width * plan.block, "gradients")
        self.slopes = self.scratch(w.keys[0] * plan.block, "slopes")
        begin, end = Value("%begin", "i64"), Value("%end", "i64")
        with e.loop(begin, end, hint="unit") as loop:
            self._head(unravel(e, loop.index, [d[0] for d in w.batch]))

    def _head(self, batch: list[Index]) -> None:
        e, w = self.e, self.walk
        q, k, v, *mask = self.operands(batch)
        g = self._at(self.g, batch, self.given)
        dq, dk, dv = (self._at(self.result, batch, place) for place in self.made)
        for out, place, width in ((dk, 1, w.depth[0]), (dv, 2, w.width)):
            self._clear(out, self.made[place][1], width)

        def block(number: Index) -> None:
            first = mul(e, number, self.plan.block)
            limit = self.shares(q, k, mask, first)
            self._slopes(v, g, first, limit)
            self.mix(Mix(self.slopes, k, w.keys[1], dq, self.made[0][1], w.depth[0]), first)
            dims = (w.rows[1], dk, self.made[1][1], w.depth[0], self.gains[1])
            self._add_rows(Sum(self.slopes, q, *dims), first, limit)
            dims = (self.given[1], dv, self.made[2][1], w.width, 1.0)
            self._add_rows(Sum(self.scores, g, *dims), first, limit)

        each(e, 0, self.plan.blocks, block, "block")

    def _at(self, base: Value, batch: list[Index], place) -> Value:
        start, _, *strides = place
        return self.e.gep("float", base, value(add(self.e, dot(self.e, batch, strides), start)))

    def _clear(self, out: Value, stride: int, width: int) -> None:
        """Zeros for every key: later blocks add to them, and some see only the first keys."""
        e, zero = self.e, self.e.const(self.vector, 0)

        def row(key: Index) -> None:
            to = e.gep("float", out, value(mul(e, key, stride)))
            for at, live in self.spans(width):
                self.put(zero, e.gep("float", to, at), live)

        each(e, 0, self.walk.keys[0], row, "key")

    # -- gradients of the scores -------------------------------------------------------------------

    def _slopes(self, v: Value, g: Value, first: Index, limit: Index) -> None:
        """Shares and slopes of a block: P in the place of exp(score - top), S beside them."""
        e, plan, w = self.e, self.plan, self.walk
        one = e.const(self.vector, 1.0)
        self.transposed(g, first, self.given[1], w.width, self.gradients, "float", one)
        totals = [e.const(self.vector, 0)] * plan.query_vectors
        whole = self._divided(limit, plan.key_rows)
        with e.loop(0, value(whole), carry=totals, hint="keys") as loop:
            start = mul(e, loop.index, plan.key_rows)
            loop.next(*self._slope_tile(v, start, plan.key_rows, loop.carry))
        totals = loop.result
        rest = w.keys[0] % plan.key_rows
        if rest:  # keys beyond the last whole tile, for blocks that see them
            last = w.keys[0] - rest
            sees = self._divided(limit, w.keys[0])
            with e.loop(0, value(sees), carry=totals, hint="keys") as loop:
                loop.next(*self._slope_tile(v, last, rest, loop.carry))
            totals = loop.result
        self._settle(totals, limit)

    def _slope_tile(self, v: Value, start: Index, live: int, totals: list[Value]) -> list[Value]:
        """g v^T of `live` keys into `slopes`, and its sums with exp(score - top)."""
        e, plan, stride = self.e, self.plan, self.walk.keys[2]
        corner = e.gep("float", v, value(mul(e, start, stride)))
        totals = list(totals)
        products = self.products(corner, stride, (self.walk.width, 1), self.gradients, live)
        for at, product in enumerate(products):
            i, part = divmod(at, plan.query_vectors)
            place = mul(e, add(e, start, i), plan.block)
            place = value(add(e, place, part * plan.lanes))
            share = e.load(self.vector, e.gep("float", self.scores, place), FLOAT * plan.lanes)
            if self.dropout:
                product = self.m.select(self._is_dropped(share), 0.0, product)
                share = e.intrinsic("fabs", share)
            e.store(product, e.gep("float", self.slopes, place), FLOAT * plan.lanes)
            totals[part] = e.intrinsic("fmuladd", share, product, totals[part])
        return totals

    def _settle(self, totals: list[Value], limit: Index) -> None:
        """P = factor * exp(score - top) and S = P * (g v^T - factor * total) for the keys seen."""
        e, plan = self.e, self.plan
        parts = []
        for at, total in enumerate(totals):
            place = e.gep("float", self.factors, at * plan.lanes)
            factor = e.load(self.vector, place, FLOAT * plan.lanes)
            plain = self._without_gain(factor)
            parts.append((factor, self.m.mul(plain, total)))
            e.store(e.const(self.vector, self.gains[0]), place, FLOAT * plan.lanes)

        def row(key: Index) -> None:
            for at, (factor, total) in enumerate(parts):
                place = value(add(e, mul(e, key, plan.block), at * plan.lanes))
                shares, slopes = (e.gep("float", x, place) for x in (self.scores, self.slopes))
                share = e.load(self.vector, shares, FLOAT * plan.lanes)
                slope = e.load(self.vector, slopes, FLOAT * plan.lanes)
                gone = self._is_dropped(share) if self.dropout else None
                share = self.m.mul(e.intrinsic("fabs", share) if gone else share, factor)
                used = self.m.select(gone, 0.0, share) if gone else share
                e.store(used, shares, FLOAT * plan.lanes)
                e.store(self.m.mul(share, self.m.sub(slope, total)), slopes, FLOAT * plan.lanes)

        each(e, 0, limit, row, "key")

    # -- dropout: until they are settled, shares that it takes are negative ------------------------

    def kept(self, m: Lanes, share: Value, number: Index) -> Value:
        """Row `number` of shares, with a sign where dropout takes one."""
        if not self.dropout:
            return share
        keys = share.lanes // self.plan.block
        sign = m.select(self.dropout.stays(mul(self.e, number, keys), keys), 1.0, -1.0)
        return self.e.intrinsic("copysign", share, sign)

    def _is_dropped(self, share: Value) -> Value:
        bits = self.e.convert("bitcast", share, "i32")
        return self.e.binary("icmp slt", bits, self.e.const(bits.type, 0))

    def _without_gain(self, factor: Value) -> Value:
        """The inverse sum that `factor` is `gain` times."""
        return self.m.mul(factor, self.m.c(1 / self.dropout.gain)) if self.dropout else factor

    # -- gradients of keys and values --------------------------------------------------------------

    def _add_rows(self, x: Sum, first: Index, limit: Index) -> None:
        """`x` for the keys that the block of queries sees."""
        e, plan = self.e, self.plan
        live = low(e, plan.block, add(e, mul(e, first, -1), self.walk.rows[0]))
        rows = e.gep("float", x.rows, value(mul(e, first, x.stride)))
        step = plan.result_vectors * plan.lanes
        for column in range(0, x.width, step):
            part = x._replace(
                rows=e.gep("float", rows, column), out=e.gep("float", x.out, column),
                width=min(step, x.width - column),
            )  # fmt: skip
            self._add_columns(part, live, limit)

    def _add_columns(self, x: Sum, live: Index, limit: Index) -> None:
        """As many columns as a tile has, for all keys up to `limit`."""
        e, tile = self.e, self.plan.result_rows
        whole = self._divided(limit, tile)
        each(e, 0, whole, lambda n: self._add_tile(x, mul(e, n, tile), tile, live))
        if self.walk.keys[0] % tile:
            each(e, mul(e, whole, tile), limit, lambda n: self._add_tile(x, n, 1, live), "key")

    def _add_tile(self, x: Sum, key: Index, tile: int, live: Index) -> None:
        """`tile` keys from `key` on: sums over the `live` queries in registers."""
        e, plan = self.e, self.plan
        spans = self.spans(x.width)
        zero = e.const(self.vector, 0)
        shares = e.gep("float", x.shares, value(mul(e, key, plan.block)))
        with e.loop(0, value(live), carry=[shares, x.rows, *[zero] * tile * len(spans)]) as loop:
            a, b, *sums = loop.carry
            right = [self.values(b, at, count) for at, count in spans]
            for i in range(tile):
                left = e.load("float", e.gep("float", a, i * plan.block), FLOAT)
                left = e.splat(left, plan.lanes)
                for j, vector in enumerate(right):
                    at = i * len(right) + j
                    sums[at] = e.intrinsic("fmuladd", left, vector, sums[at])
            loop.next(e.gep("float", a, 1), e.gep("float", b, x.stride), *sums)
        gain = Lanes(e, zero, self.m.has_fma).c(x.gain)
        for i in range(tile):
            to = e.gep("float", x.out, value(mul(e, add(e, key, i), x.out_stride)))
            for j, (at, count) in enumerate(spans):
                total = loop.result[2 + i * len(spans) + j]
                address = e.gep("float", to, at)
                old = self.values(to, at, count)
                self.put(e.intrinsic("fmuladd", gain, total, old), address, count)
