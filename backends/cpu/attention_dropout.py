"""Dropout of attention shares inside the kernel: random words again from their counters.

A word depends on the key of the draw and the number of its element alone, so the mask is never
stored: forward and backward kernels compute it, a vector of queries for each key. Element numbers
stay below 2^32, which leaves the upper counter word 0.

The 70 integer instructions of a vector of words wait for one another, and a product of matrices
leaves the units that run them idle. So where vectors of bits have registers, the words of a tile of
scores are computed beside its multiply-adds, a group of rounds at each depth, and a bit for each
waits in scratch. Rotations come from a table, which keeps the groups apart: in one long block LLVM
would move all rounds together.
"""

from __future__ import annotations

from itertools import chain

from ..llvm import Emitter, Value, vector_type
from ..threefry import GROUPS, four_rounds, group_table, key_words, threefry_rounds
from .attention_plan import AttentionPlan
from .attention_softmax import ramp_from, shuffled
from .contract_index import Index, add, dot, mul, value

LINE = 6  # words of the table for one group

class Dropout:
    """Which shares stay: one vector of counters per block of queries, a row of words per key."""

    def __init__(self, e: Emitter, plan: AttentionPlan, key: Value):
        self.e, self.plan, self.lanes = e, plan, plan.block
        self.least, self.gain, self.row_stride, *self.strides = plan.walk.drop
        seed, offset = (e.load("i64", e.gep("i64", key, i), 8) for i in range(2))
        self.keys = key_words(e, seed, offset)
        self.first: Index = 0
        self.counters: Value | None = None
        if plan.drops_beside:
            self.waiting = self._scratch(self.lanes, "i32", "counters")
            self.bits = self._scratch((plan.walk.keys[0] + 64) * self.lanes // 8, "i8", "bits")
            self.table = self._scratch(GROUPS * LINE, "i32", "groups")
            for i, word in enumerate(chain(*group_table(e, self.keys))):
                e.store(word, e.gep("i32", self.table, i), 4)

    def _scratch(self, count: int, type: str, name: str) -> Value:
        return self.e.emit("ptr", f"alloca [{count} x {type}], align 64", name)

    def enter(self, batch: list[Index]) -> None:
        """The shares from here on are of one head."""
        self.first = dot(self.e, batch, self.strides)

    def begin(self, query: Index) -> None:
        """The shares from here on are of the block of queries from `query` on."""
        e = self.e
        rows = ramp_from(e, query, self.lanes)
        rows = e.binary("mul", rows, e.const(rows.type, _signed(self.row_stride)))
        self.counters = e.binary("add", rows, self._spread(self.first, self.lanes))
        if self.plan.drops_beside:
            e.store(self.counters, self.waiting, 64)

    def stays(self, key: Index, keys: int) -> Value:
        """Whether the shares of `keys` keys from `key` on stay, one row of queries after another.
        """
        e, count = self.e, self.lanes * keys
        assert self.counters is not None, "begin() comes first"
        if self.plan.drops_beside:
            place = e.gep("i8", self.bits, value(mul(e, key, self.lanes // 8)))
            return e.load(vector_type("i1", count), place, self.lanes // 8)
        rows = shuffled(e, self.counters, [*range(self.lanes)] * keys)
        steps = ", ".join(f"i32 {i // self.lanes}" for i in range(count))
        counters = e.binary("add", rows, Value(f"<{steps}>", rows.type))
        counters = e.binary("add", counters, self._spread(key, count))
        key0, key1, key2 = (e.splat(k, count) for k in self.keys)
        words = threefry_rounds(e, (key0, key1, key2), counters, e.const(rows.type, 0))
        return e.binary("icmp uge", words, e.const(words.type, _signed(self.least)))

    # -- words beside products ---------------------------------------------------------------------

    def started(self, start: Index, turn: Index, count: int) -> list[Value]:
        """Both words of `count` vectors of one turn of the tile from key `start` on.

        Vectors go through the queries of the first key, then those of the next one.
        """
        e, plan, words = self.e, self.plan, []
        key0, key1, _ = (e.splat(k, plan.lanes) for k in self.keys)
        for i in range(count):
            key: Index = add(e, mul(e, turn, count), i)
            part: Index = 0
            if plan.query_vectors > 1:
                both = e.const("i64", plan.query_vectors)
                key, part = (e.binary(op, value(key), both) for op in ("udiv", "urem"))
            place = e.gep("i32", self.waiting, value(mul(e, part, plan.lanes)))
            counters = e.load(vector_type("i32", plan.lanes), place, 4 * plan.lanes)
            counters = e.binary("add", counters, self._spread(add(e, start, key), plan.lanes))
            words += [e.binary("add", counters, key0), key1]
        return words

    def advanced(self, group: Index, words: list[Value]) -> list[Value]:
        """The words after one more group of rounds."""
        e, made = self.e, []
        line = e.gep("i32", self.table, value(mul(e, group, LINE)))
        loaded = (e.load("i32", e.gep("i32", line, i), 4) for i in range(LINE))
        *rotations, first, second = (e.splat(x, self.plan.lanes) for x in loaded)
        for x0, x1 in zip(words[::2], words[1::2], strict=True):
            made += four_rounds(e, x0, x1, rotations, (first, second))
        return made

    def finish(self, start: Index, turn: Index, words: list[Value]) -> None:
        """Keep a bit for each of the finished words; those beyond the tile are written again."""
        e, plan, count = self.e, self.plan, len(words) // 2
        first = add(e, mul(e, start, plan.query_vectors), mul(e, turn, count))
        for i, word in enumerate(words[::2]):
            stay = e.binary("icmp uge", word, e.const(word.type, _signed(self.least)))
            place = value(mul(e, add(e, first, i), plan.lanes // 8))
            e.store(stay, e.gep("i8", self.bits, place), plan.lanes // 8)

    def _spread(self, index: Index, count: int) -> Value:
        if isinstance(index, int):
            return self.e.const(vector_type("i32", count), _signed(index))
        return self.e.splat(self.e.convert("trunc", value(index), "i32"), count)


def _signed(word: int) -> int:
    """An i32 of the same 32 bits."""
    return (word + 2**31) % 2**32 - 2**31
