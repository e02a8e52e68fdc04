"""Threefry-2x32-20 as LLVM text: the same bits as nncomp.ir.threefry, scalar or vector."""

from __future__ import annotations

from nncomp.ir.threefry import PARITY, ROTATIONS

from .llvm import Emitter, Value


def emit_threefry(e: Emitter, seed: Value, offset: Value, index: Value) -> Value:
    """First output word (i32) for a 64-bit element index; all arguments are i64 or vectors of it.
    """
    return threefry_rounds(e, key_words(e, seed, offset), *_words(e, index))


def _words(e: Emitter, x: Value) -> tuple[Value, Value]:
    """Lower and upper half."""
    high = e.binary("lshr", x, e.const(x.type, 32))
    return e.convert("trunc", x, "i32"), e.convert("trunc", high, "i32")


def key_words(e: Emitter, seed: Value, offset: Value) -> tuple[Value, Value, Value]:
    """The key words (i32) of a draw, and the third that is made of them."""
    seed_low, seed_high = _words(e, seed)
    offset_low, offset_high = _words(e, offset)
    key0, key1 = e.binary("xor", seed_low, offset_high), e.binary("xor", seed_high, offset_low)
    parity = e.const(key0.type, PARITY)
    return key0, key1, e.binary("xor", e.binary("xor", key0, key1), parity)


def threefry_rounds(e: Emitter, keys: tuple[Value, Value, Value], x0: Value, x1: Value) -> Value:
    """First output word for the counter (x0, x1); all are i32 or vectors of it."""
    x0, x1 = e.binary("add", x0, keys[0]), e.binary("add", x1, keys[1])
    for group in range(5):
        for r in ROTATIONS[group % 2]:
            x0 = e.binary("add", x0, x1)
            x1 = e.intrinsic("fshl", x1, x1, e.const(x1.type, r))
            x1 = e.binary("xor", x1, x0)
        x0 = e.binary("add", x0, keys[(group + 1) % 3])
        x1 = e.binary("add", x1, keys[(group + 2) % 3])
        x1 = e.binary("add", x1, e.const(x1.type, group + 1))
    return x0
