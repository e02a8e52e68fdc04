"""Integer arithmetic, and the opcodes that integers share with floats."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .decode import SIGNED, UNSIGNED, Decoder, Run, np_type, opcode
from .ops_float import (
    Rule,
    float_binary,
    float_div,
    float_extreme,
    float_fma,
    float_sign,
    is_float,
)  # fmt: skip
from .rounding import pack2, unpack2
from .state import Fault, State
from .syntax import type_bits

INTEGERS = ("u16", "u32", "u64", "s16", "s32", "s64")


def wider(type_: str) -> str:
    return type_[0] + str(2 * type_bits(type_))


def binary(d: Decoder, type_: str, rule: Rule) -> Run:
    put, a, b = d.put(0, type_), d.get(1, type_), d.get(2, type_)
    return lambda s: put(s, rule(a(s), b(s)))


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
        if CARRY not in s.specials:
            raise Fault("uses a carry that nothing set")
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


PRODUCTS: dict[str, Callable[..., np.ndarray]] = {
    "lo": np.multiply, "hi": high_product, "wide": wide_product,
}  # fmt: skip


@opcode("mul")
def decode_mul(d: Decoder) -> Run:
    if is_float(d):
        return float_binary(d, "mul")
    type_ = d.type(*INTEGERS)
    part = d.need("lo", "hi", "wide")
    rule = PRODUCTS[part]
    put = d.put(0, wider(type_) if part == "wide" else type_)
    a, b = d.get(1, type_), d.get(2, type_)
    return lambda s: put(s, rule(a(s), b(s)))


@opcode("mad")
def decode_mad(d: Decoder) -> Run:
    if is_float(d):
        return float_fma(d)
    type_ = d.type(*INTEGERS)
    part = d.need("lo", "hi", "wide")
    rule = PRODUCTS[part]
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
