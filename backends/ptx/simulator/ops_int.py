"""Integer arithmetic and bits, and the opcodes that integers share with floats."""

from __future__ import annotations

import numpy as np

from .decode import SIGNED, UNSIGNED, Decoder, Run, np_type, opcode
from .ops_float import (
    float_binary,
    float_div,
    float_extreme,
    float_fma,
    float_sign,
    is_float,
)  # fmt: skip
from .rounding import pack2, unpack2
from .state import State
from .syntax import type_bits

INTEGERS = ("u16", "u32", "u64", "s16", "s32", "s64")


def wider(type_: str) -> str:
    return type_[0] + str(2 * type_bits(type_))


def binary(d: Decoder, type_: str, rule: object) -> Run:
    put, a, b = d.put(0, type_), d.get(1, type_), d.get(2, type_)
    return lambda s: put(s, rule(a(s), b(s)))  # type: ignore[operator]


@opcode("add", "sub")
def decode_add(d: Decoder) -> Run:
    name = d.op.opcode
    if is_float(d):
        return float_binary(d, name)
    type_ = d.type(*INTEGERS, "u16x2", "s16x2")
    rule = np.add if name == "add" else np.subtract
    if type_.endswith("x2"):
        kind = np.dtype(np.uint16)
        return binary(d, type_, lambda a, b: pack2(rule(unpack2(a, kind), unpack2(b, kind))))
    if d.has("cc"):
        return carry_out(d, type_)
    if d.has("sat"):
        return binary(d, type_, lambda a, b: np.clip(
            rule(a.astype(np.int64), b), -(2**31), 2**31 - 1).astype(np.int32))  # fmt: skip
    return binary(d, type_, rule)


CARRY = "carry"


def carry_out(d: Decoder, type_: str) -> Run:
    """add.cc and sub.cc keep the carry beside the registers."""
    unsigned = "u" + type_[1:]
    put, a, b = d.put(0, unsigned), d.get(1, unsigned), d.get(2, unsigned)
    add = d.op.opcode == "add"

    def run(s: State) -> None:
        x, y = a(s), b(s)
        result = x + y if add else x - y
        s.specials[CARRY] = result < x if add else x < y
        put(s, result)

    return run


@opcode("addc", "subc")
def decode_addc(d: Decoder) -> Run:
    unsigned = "u" + d.type(*INTEGERS)[1:]
    put, a, b = d.put(0, unsigned), d.get(1, unsigned), d.get(2, unsigned)
    more, add = d.has("cc"), d.op.opcode == "addc"

    def run(s: State) -> None:
        x, y, carry = a(s), b(s), s.specials[CARRY]
        bit = carry.astype(x.dtype)
        result = x + y + bit if add else x - y - bit
        if more:
            over = (result < x) | (carry & (result == x))
            under = (x < y) | (carry & (x == y))
            s.specials[CARRY] = over if add else under
        put(s, result)

    return run


def wide_product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The whole product, in twice the width."""
    target = (SIGNED if a.dtype.kind == "i" else UNSIGNED)[16 * a.dtype.itemsize]
    return np.multiply(a.astype(target), b.astype(target))


def high_product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The upper half of the product."""
    if a.dtype.itemsize < 8:
        bits = 8 * a.dtype.itemsize
        return (wide_product(a, b) >> bits).astype(a.dtype)
    x, y = a.view(np.uint64), b.view(np.uint64)
    low, shift = np.uint64(0xFFFFFFFF), np.uint64(32)
    xl, xh, yl, yh = x & low, x >> shift, y & low, y >> shift
    middle = xh * yl + ((xl * yl) >> shift)
    other = xl * yh + (middle & low)
    high = xh * yh + (middle >> shift) + (other >> shift)
    if a.dtype.kind == "i":
        high = high - np.where(a < 0, y, np.uint64(0)) - np.where(b < 0, x, np.uint64(0))
    return high.view(a.dtype)


@opcode("mul")
def decode_mul(d: Decoder) -> Run:
    if is_float(d):
        return float_binary(d, "mul")
    type_ = d.type(*INTEGERS)
    part = d.need("lo", "hi", "wide")
    rule = {"lo": np.multiply, "hi": high_product, "wide": wide_product}[part]
    put = d.put(0, wider(type_) if part == "wide" else type_)
    a, b = d.get(1, type_), d.get(2, type_)
    return lambda s: put(s, rule(a(s), b(s)))


@opcode("mad")
def decode_mad(d: Decoder) -> Run:
    if is_float(d):
        return float_fma(d)
    type_ = d.type(*INTEGERS)
    part = d.need("lo", "hi", "wide")
    rule = {"lo": np.multiply, "hi": high_product, "wide": wide_product}[part]
    result = wider(type_) if part == "wide" else type_
    put, a, b, c = d.put(0, result), d.get(1, type_), d.get(2, type_), d.get(3, result)
    if d.has("cc"):
        raise d.error("carries of mad are not supported.")
    return lambda s: put(s, rule(a(s), b(s)) + c(s))


@opcode("mul24", "mad24")
def decode_mul24(d: Decoder) -> Run:
    type_ = d.type("u32", "s32")
    shift = {"lo": 0, "hi": 16}[d.need("lo", "hi")]
    mad = d.op.opcode == "mad24"
    put, a, b = d.put(0, type_), d.get(1, type_), d.get(2, type_)
    c = d.get(3, type_) if mad else None
    wide = np.int64 if type_[0] == "s" else np.uint64

    def cut(x: np.ndarray) -> np.ndarray:
        return ((x << np.uint32(8)) >> x.dtype.type(8)).astype(wide)

    def run(s: State) -> None:
        product = (cut(a(s)) * cut(b(s)) >> wide(shift)).astype(np_type(type_))
        put(s, product + c(s) if c else product)

    return run


def quotient(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a / b toward zero; all ones where b is 0, as the hardware gives."""
    zero = b == 0
    safe = np.where(zero, b.dtype.type(1), b)
    q = np.floor_divide(a, safe)
    if a.dtype.kind == "i":
        rest = a - q * safe
        q = q + ((rest != 0) & ((a < 0) != (safe < 0))).astype(a.dtype)
    return np.where(zero, ~np.zeros((), a.dtype), q)


def remainder(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a % b with the sign of a; a where b is 0."""
    zero = b == 0
    safe = np.where(zero, b.dtype.type(1), b)
    return np.where(zero, a, a - quotient(a, safe) * safe)


@opcode("div")
def decode_div(d: Decoder) -> Run:
    return float_div(d) if is_float(d) else binary(d, d.type(*INTEGERS), quotient)


@opcode("rem")
def decode_rem(d: Decoder) -> Run:
    return binary(d, d.type(*INTEGERS), remainder)


@opcode("min", "max")
def decode_extreme(d: Decoder) -> Run:
    name = d.op.opcode
    if is_float(d):
        return float_extreme(d, name)
    rule = np.minimum if name == "min" else np.maximum
    type_ = d.type(*INTEGERS, "u16x2", "s16x2")
    relu = d.has("relu")
    if type_.endswith("x2"):
        kind = np.dtype(np.uint16 if type_[0] == "u" else np.int16)
        return binary(d, type_, lambda a, b: pack2(rule(unpack2(a, kind), unpack2(b, kind))))
    if relu:
        return binary(d, type_, lambda a, b: np.maximum(rule(a, b), a.dtype.type(0)))
    return binary(d, type_, rule)


@opcode("abs", "neg")
def decode_sign(d: Decoder) -> Run:
    if is_float(d):
        return float_sign(d, d.op.opcode)
    type_ = d.type("s16", "s32", "s64")
    rule = np.abs if d.op.opcode == "abs" else np.negative
    put, a = d.put(0, type_), d.get(1, type_)
    return lambda s: put(s, rule(a(s)))


@opcode("sad")
def decode_sad(d: Decoder) -> Run:
    type_ = d.type(*INTEGERS)
    put, a, b, c = d.put(0, type_), d.get(1, type_), d.get(2, type_), d.get(3, type_)
    return lambda s: put(s, c(s) + (np.maximum(a(s), b(s)) - np.minimum(a(s), b(s))))


# -- bits ------------------------------------------------------------------------------------------


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
    table = int(d.get(4, "u32")(None)[0, 0])  # type: ignore[arg-type]

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

