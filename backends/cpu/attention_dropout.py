"""Dropout of attention shares inside the kernel: random words again from their counters.

A word depends on the key of the draw and the number of its element alone, so the mask is never
stored: forward and backward kernels compute it where the shares of a few keys are in registers.
Element numbers stay below 2^32, which leaves the upper counter word 0.
"""

from __future__ import annotations

from ..llvm import Emitter, Value, vector_type
from ..threefry import key_words, threefry_rounds
from .attention_softmax import ramp_from, shuffled
from .contract_index import Index, dot, value


class Dropout:
    """Which shares stay: one vector of counters per block of queries, a row of words per key."""

    def __init__(self, e: Emitter, attrs: tuple, key: Value, lanes: int):
        self.e, self.lanes = e, lanes
        self.least, self.gain, self.row_stride, *self.strides = attrs
        seed, offset = (e.load("i64", e.gep("i64", key, i), 8) for i in range(2))
        self.keys = key_words(e, seed, offset)
        self.first: Index = 0
        self.counters: Value | None = None

    def enter(self, batch: list[Index]) -> None:
        """The shares from here on are of one head."""
        self.first = dot(self.e, batch, self.strides)

    def begin(self, query: Index) -> None:
        """The shares from here on are of the block of queries from `query` on."""
        e = self.e
        rows = ramp_from(e, query, self.lanes)
        rows = e.binary("mul", rows, e.const(rows.type, _signed(self.row_stride)))
        self.counters = e.binary("add", rows, self._spread(self.first, self.lanes))

    def stays(self, key: Index, keys: int) -> Value:
        """Whether the shares of `keys` keys from `key` on stay, one row of queries after another.
        """
        e, count = self.e, self.lanes * keys
        assert self.counters is not None, "begin() comes first"
        rows = shuffled(e, self.counters, [*range(self.lanes)] * keys)
        steps = ", ".join(f"i32 {i // self.lanes}" for i in range(count))
        counters = e.binary("add", rows, Value(f"<{steps}>", rows.type))
        counters = e.binary("add", counters, self._spread(key, count))
        key0, key1, key2 = (e.splat(k, count) for k in self.keys)
        words = threefry_rounds(e, (key0, key1, key2), counters, e.const(rows.type, 0))
        return e.binary("icmp uge", words, e.const(words.type, _signed(self.least)))

    def _spread(self, index: Index, count: int) -> Value:
        if isinstance(index, int):
            return self.e.const(vector_type("i32", count), _signed(index))
        return self.e.splat(self.e.convert("trunc", value(index), "i32"), count)


def _signed(word: int) -> int:
    """An i32 of the same 32 bits."""
    return (word + 2**31) % 2**32 - 2**31
