"""Bits: logic, shifts, counting, fields, permuted bytes, dot products of bytes."""

from __future__ import annotations

import numpy as np

from .decode import UNSIGNED, Decoder, Run, np_type, opcode
from .ops_int import INTEGERS, binary
from .state import State
from .syntax import Number, type_bits


@opcode("and", "or", "xor")
def decode_logic(d: Decoder) -> Run:
    rule = {"and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor}[d.op.opcode]
    return binary(d, d.type("pred", "b16", "b32", "b64"), rule)


@opcode("not", "cnot")
def decode_not(d: Decoder) -> Run:
    type_ = d.type("pred", "b16", "b32", "b64")
    put, a = d.put(0, type_), d.get(1, type_)
    if d.op.opcode == "not":
        return lambda s: put(s, ~a(s))
    return lambda s: put(s, (a(s) == 0).astype(np_type(type_)))


@opcode("lop3")
def decode_lop3(d: Decoder) -> Run:
    d.type("b32")
    put, a, b, c = d.put(0, "b32"), d.get(1, "b32"), d.get(2, "b32"), d.get(3, "b32")
    number = d.operand(4)
    if not isinstance(number, Number):
        raise d.error("expected a number that says which function.")
    table = int(number.value)

    def run(s: State) -> None:
        x, y, z = a(s), b(s), c(s)
        result = np.zeros((1, 1), np.uint32)
        for row in range(8):
            if table >> row & 1:
                term = (x if row & 4 else ~x) & (y if row & 2 else ~y) & (z if row & 1 else ~z)
                result = result | term
        put(s, result)

    return run


@opcode("shl", "shr")
def decode_shift(d: Decoder) -> Run:
    type_ = d.type("b16", "b32", "b64", *INTEGERS)
    bits = type_bits(type_)
    put, a, n = d.put(0, type_), d.get(1, type_), d.get(2, "u32")
    kind = np_type(type_)
    last = bits - 1

    def run(s: State) -> None:
        amount = n(s)
        value = a(s)
        inside = np.minimum(amount, last).astype(kind)
        if left:
            result = value << inside
        else:
            result = value >> inside
        if kind.kind == "u" or left:
            result = np.where(amount > last, kind.type(0), result)
        put(s, result)

    left = d.op.opcode == "shl"
    return run


@opcode("shf")
def decode_funnel(d: Decoder) -> Run:
    d.type("b32")
    left = d.need("l", "r") == "l"
    wrap = d.need("wrap", "clamp") == "wrap"
    put, a, b, c = d.put(0, "b32"), d.get(1, "b32"), d.get(2, "b32"), d.get(3, "u32")

    def run(s: State) -> None:
        n = c(s) & np.uint32(31) if wrap else np.minimum(c(s), np.uint32(32))
        n = n.astype(np.uint64)
        both = (b(s).astype(np.uint64) << np.uint64(32)) | a(s)
        # 64-bit shifts by up to 32 never lose the bits that are kept.
        result = ((both << n) >> np.uint64(32)) if left else (both >> n)
        put(s, (result & np.uint64(0xFFFFFFFF)).astype(np.uint32))

    return run


@opcode("popc", "clz", "brev", "bfind", "fns")
def decode_count(d: Decoder) -> Run:
    name = d.op.opcode
    if name == "fns":
        raise d.error("is not supported.")
    type_ = d.type("b32", "b64", "u32", "s32", "u64", "s64")
    bits, shift = type_bits(type_), d.has("shiftamt")
    if name == "brev":
        put, a = d.put(0, type_), d.get(1, type_)
        return lambda s: put(s, reverse_bits(a(s), bits))
    put, a = d.put(0, "u32"), d.get(1, type_)
    if name == "popc":
        return lambda s: put(s, count_bits(a(s)).astype(np.uint32))
    if name == "clz":
        return lambda s: put(s, (bits - bit_length(a(s))).astype(np.uint32))

    def find(s: State) -> None:
        x = a(s)
        if x.dtype.kind == "i":
            x = np.where(x < 0, ~x, x)
        length = bit_length(x.view(UNSIGNED[bits]))
        at = bits - length if shift else length - 1
        put(s, np.where(length == 0, -1, at).astype(np.int32).view(np.uint32))

    return find


def bit_length(x: np.ndarray) -> np.ndarray:
    x = x.copy()
    for step in (1, 2, 4, 8, 16, 32):
        if step < 8 * x.dtype.itemsize:
            x |= x >> x.dtype.type(step)
    return count_bits(x)


BYTE_BITS = np.array([bin(i).count("1") for i in range(256)], np.int64)


def count_bits(x: np.ndarray) -> np.ndarray:
    """How many bits are set."""
    raw = np.ascontiguousarray(x).view(np.uint8).reshape(*x.shape, x.dtype.itemsize)
    return BYTE_BITS[raw].sum(-1)


def reverse_bits(x: np.ndarray, bits: int) -> np.ndarray:
    kind = UNSIGNED[bits].type
    ones = (1 << bits) - 1
    step = bits // 2
    mask = ones
    while step:
        mask = (mask ^ (mask << step)) & ones
        x = ((x >> kind(step)) & kind(mask)) | ((x & kind(mask)) << kind(step))
        step //= 2
    return x


@opcode("bfe")
def decode_bfe(d: Decoder) -> Run:
    type_ = d.type("u32", "s32", "u64", "s64")
    bits = type_bits(type_)
    put, a, b, c = d.put(0, type_), d.get(1, type_), d.get(2, "u32"), d.get(3, "u32")
    kind, unsigned = np_type(type_), UNSIGNED[bits]

    def run(s: State) -> None:
        pos = (b(s) & np.uint32(255)).astype(np.int64)
        length = (c(s) & np.uint32(255)).astype(np.int64)
        x = a(s).view(unsigned)
        inside = np.minimum(pos, bits - 1).astype(unsigned)
        field = np.where(pos >= bits, unsigned.type(0), x >> inside)
        keep = low_bits(length, bits, unsigned)
        field = field & keep
        if kind.kind == "i":
            top = np.minimum(pos + length - 1, bits - 1)
            sign = (x >> np.maximum(top, 0).astype(unsigned)) & unsigned.type(1)
            have = np.maximum(np.minimum(length, bits - pos), 0)
            fill = np.where((sign == 1) & (length > 0), ~low_bits(have, bits, unsigned),
                            unsigned.type(0))  # fmt: skip
            field = field | fill
        put(s, field.view(kind))

    return run


def low_bits(count: np.ndarray, bits: int, kind: np.dtype) -> np.ndarray:
    """A mask of the lowest `count` bits."""
    few = np.minimum(count, bits - 1).astype(kind)
    mask = (kind.type(1) << few) - kind.type(1)
    return np.where(count >= bits, ~kind.type(0), mask)


@opcode("bfi")
def decode_bfi(d: Decoder) -> Run:
    type_ = d.type("b32", "b64")
    bits, kind = type_bits(type_), np_type(type_)
    put, a, b = d.put(0, type_), d.get(1, type_), d.get(2, type_)
    c, n = d.get(3, "u32"), d.get(4, "u32")

    def run(s: State) -> None:
        pos = (c(s) & np.uint32(255)).astype(np.int64)
        length = (n(s) & np.uint32(255)).astype(np.int64)
        inside = np.minimum(pos, bits - 1).astype(kind)
        mask = low_bits(length, bits, kind) << inside
        mask = np.where(pos >= bits, kind.type(0), mask)
        put(s, (b(s) & ~mask) | ((a(s) << inside) & mask))

    return run


@opcode("bmsk", "szext")
def decode_bmsk(d: Decoder) -> Run:
    raise d.error("is not supported.")


@opcode("prmt")
def decode_prmt(d: Decoder) -> Run:
    d.type("b32")
    if d.mods:
        raise d.error("only the default mode of prmt is supported.")
    put, a, b, c = d.put(0, "b32"), d.get(1, "b32"), d.get(2, "b32"), d.get(3, "b32")

    def run(s: State) -> None:
        both = (b(s).astype(np.uint64) << np.uint64(32)) | a(s)
        chosen, result = c(s), np.zeros((1, 1), np.uint32)
        for i in range(4):
            pick = (chosen >> np.uint32(4 * i)) & np.uint32(15)
            byte = (both >> ((pick & np.uint32(7)) * np.uint32(8)).astype(np.uint64))
            byte = (byte & np.uint64(255)).astype(np.uint32)
            sign = np.where(byte >> np.uint32(7) != 0, np.uint32(255), np.uint32(0))
            byte = np.where(pick & np.uint32(8) != 0, sign, byte)
            result = result | (byte << np.uint32(8 * i))
        put(s, result)

    return run


@opcode("dp4a", "dp2a")
def decode_dp4a(d: Decoder) -> Run:
    second, first = d.type("u32", "s32"), d.type("u32", "s32")
    if d.op.opcode == "dp2a":
        raise d.error("is not supported.")
    signed = "s" in first + second
    result = "s32" if signed else "u32"
    put, a, b, c = d.put(0, result), d.get(1, first), d.get(2, second), d.get(3, result)

    def run(s: State) -> None:
        x, y = bytes_of(a(s)), bytes_of(b(s))
        total = (x * y).sum(-1).astype(np.int32).view(np_type(result))
        put(s, total + c(s))

    return run


def bytes_of(x: np.ndarray) -> np.ndarray:
    kind = np.int8 if x.dtype.kind == "i" else np.uint8
    return np.ascontiguousarray(x).view(kind).reshape(*x.shape, 4).astype(np.int64)

