"""Integer and bit instructions of the simulator against Python's integers."""

from __future__ import annotations

import math
import operator

import numpy as np
import pytest
from instruction_harness import run

EDGES = [0, 1, 2, 31, 32, 33, 63, 64, 255, 256, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x12345678]


def words(bits: int, seed: int, small: bool = False) -> np.ndarray:
    """Unsigned numbers with edges; `small` ones fit into a byte and a bit more."""
    rng = np.random.default_rng(seed)
    kind = np.dtype(f"uint{bits}")
    some = rng.integers(0, 2**bits, 120, kind, endpoint=False) if bits < 64 else rng.integers(
        0, 2**64 - 1, 120, kind, endpoint=True)  # fmt: skip
    if small:
        some = some % kind.type(300)
    edges = [e & (2**bits - 1) for e in EDGES]
    return rng.permutation(np.r_[some, np.array(edges, kind), ~np.array(edges, kind)])


def signed(value: int, bits: int) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def check(code: str, inputs: list[np.ndarray], rule, bits: int = 32) -> None:
    """The instruction gives, in each element, what the rule gives for Python integers."""
    found = run(code, inputs, np.dtype(f"uint{bits}"))
    rows = zip(*(a.tolist() for a in inputs), strict=True)
    expected = [rule(*row) & ((1 << bits) - 1) for row in rows]
    np.testing.assert_array_equal(found, np.array(expected, found.dtype))


def quotient(a: int, b: int) -> int:
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1) if b else -1


SIGNED_RULES = {
    "add": operator.add,
    "sub": operator.sub,
    "mul.lo": operator.mul,
    "min": min,
    "max": max,
    "div": quotient,
    "rem": lambda a, b: a - quotient(a, b) * b if b else a,
}


@pytest.mark.parametrize("type_", ["u16", "s16", "u32", "s32", "u64", "s64"])
@pytest.mark.parametrize("op", [*SIGNED_RULES, "mul.hi", "mad.hi", "sad"])
def test_arithmetic(op, type_):
    bits = int(type_[1:])
    a, b = words(bits, 1), words(bits, 2)
    value = (lambda x: signed(x, bits)) if type_[0] == "s" else (lambda x: x)
    if op in SIGNED_RULES:
        rule = SIGNED_RULES[op]
        check(f"{op}.{type_} %out, %a0, %a1;", [a, b], lambda x, y: rule(value(x), value(y)), bits)
    elif op == "mul.hi":
        check(f"{op}.{type_} %out, %a0, %a1;", [a, b],
              lambda x, y: value(x) * value(y) >> bits, bits)  # fmt: skip
    elif op == "mad.hi":
        check(f"{op}.{type_} %out, %a0, %a1, %a0;", [a, b],
              lambda x, y: (value(x) * value(y) >> bits) + x, bits)  # fmt: skip
    else:
        check(f"{op}.{type_} %out, %a0, %a1, %a1;", [a, b],
              lambda x, y: abs(value(x) - value(y)) + y, bits)  # fmt: skip


@pytest.mark.parametrize("type_", ["u16", "s16", "u32", "s32"])
def test_wide_products(type_):
    bits = int(type_[1:])
    value = (lambda x: signed(x, bits)) if type_[0] == "s" else (lambda x: x)
    check(f"mul.wide.{type_} %out, %a0, %a1;", [words(bits, 3), words(bits, 4)],
          lambda x, y: value(x) * value(y), 2 * bits)  # fmt: skip


@pytest.mark.parametrize("bits", [16, 32, 64])
def test_shifts_by_any_amount(bits):
    a, n = words(bits, 5), words(32, 6, small=True)
    check(f"shl.b{bits} %out, %a0, %a1;", [a, n], lambda x, k: x << k if k < bits else 0, bits)
    check(f"shr.u{bits} %out, %a0, %a1;", [a, n], lambda x, k: x >> k, bits)
    check(f"shr.s{bits} %out, %a0, %a1;", [a, n], lambda x, k: signed(x, bits) >> k, bits)


@pytest.mark.parametrize("mode", ["l.wrap", "l.clamp", "r.wrap", "r.clamp"])
def test_funnel_shifts(mode):
    def rule(low: int, high: int, n: int) -> int:
        n = n & 31 if mode.endswith("wrap") else min(n, 32)
        both = high << 32 | low
        return (both << n) >> 32 if mode[0] == "l" else both >> n

    inputs = [words(32, 7), words(32, 8), words(32, 9, small=True)]
    check(f"shf.{mode}.b32 %out, %a0, %a1, %a2;", inputs, rule)


@pytest.mark.parametrize("type_", ["u32", "s32", "u64", "s64"])
def test_bit_fields(type_):
    bits = int(type_[1:])

    def extract(x: int, pos: int, length: int) -> int:
        pos, length = pos & 255, length & 255
        field = (x >> pos) & ((1 << length) - 1)
        top = min(pos + length - 1, bits - 1)
        if type_[0] == "s" and length and x >> top & 1:
            field |= -1 << max(min(length, bits - pos), 0)
        return field

    def insert(x: int, y: int, pos: int) -> int:
        mask = ((1 << 9) - 1) << (pos & 255)
        return (y & ~mask) | ((x << (pos & 255)) & mask)

    x, y = words(bits, 10), words(bits, 11)
    pos, length = words(32, 12, small=True), words(32, 13, small=True)
    check(f"bfe.{type_} %out, %a0, %a1, %a2;", [x, pos, length], extract, bits)
    check(f"bfi.b{bits} %out, %a0, %a1, %a2, 9;", [x, y, pos], insert, bits)


def test_permuted_bytes():
    def rule(a: int, b: int, c: int) -> int:
        both = a.to_bytes(4, "little") + b.to_bytes(4, "little")
        result = 0
        for i in range(4):
            pick = c >> 4 * i & 15
            byte = both[pick & 7]
            result |= ((255 if byte >> 7 else 0) if pick & 8 else byte) << 8 * i
        return result

    check("prmt.b32 %out, %a0, %a1, %a2;", [words(32, 14), words(32, 15), words(32, 16)], rule)


@pytest.mark.parametrize("bits", [32, 64])
def test_counting_bits(bits):
    a = [words(bits, 17)]
    check(f"popc.b{bits} %out, %a0;", a, lambda x: bin(x).count("1"))
    check(f"clz.b{bits} %out, %a0;", a, lambda x: bits - x.bit_length())
    check(f"brev.b{bits} %out, %a0;", a, lambda x: int(f"{x:0{bits}b}"[::-1], 2), bits)
    check(f"bfind.u{bits} %out, %a0;", a, lambda x: x.bit_length() - 1)
    check(f"bfind.shiftamt.u{bits} %out, %a0;", a, lambda x: bits - x.bit_length() if x else -1)

    def top(x: int) -> int:
        return (~x if x >> (bits - 1) else x) & ((1 << bits) - 1)

    check(f"bfind.s{bits} %out, %a0;", a, lambda x: top(x).bit_length() - 1)


@pytest.mark.parametrize("table", [0x00, 0x96, 0xE8, 0xCA, 0x7F])
def test_three_operand_logic(table):
    def rule(a: int, b: int, c: int) -> int:
        return sum((table >> ((a >> i & 1) << 2 | (b >> i & 1) << 1 | (c >> i & 1)) & 1) << i
                   for i in range(32))  # fmt: skip

    inputs = [words(32, 18), words(32, 19), words(32, 20)]
    check(f"lop3.b32 %out, %a0, %a1, %a2, {table};", inputs, rule)


def test_carries():
    code = """mov.b64 {%t0, %t1}, %a0; mov.b64 {%t2, %t3}, %a1;
    OP.cc.u32 %t0, %t0, %t2; OPc.u32 %t1, %t1, %t3; mov.b64 %out, {%t0, %t1};"""
    inputs = [words(64, 21), words(64, 22)]
    check(code.replace("OP", "add"), inputs, operator.add, 64)
    check(code.replace("OP", "sub"), inputs, operator.sub, 64)


def test_dot_products_of_bytes():
    def rule(a: int, b: int, c: int) -> int:
        x, y = a.to_bytes(4, "little"), b.to_bytes(4, "little")
        return c + sum(signed(p, 8) * q for p, q in zip(x, y, strict=True))

    inputs = [words(32, 23), words(32, 24), words(32, 25)]
    check("dp4a.s32.u32 %out, %a0, %a1, %a2;", inputs, rule)


FLOATS = np.float32([0.0, -0.0, 1.5, -2.0, np.inf, -np.inf, np.nan, 1e-40])


@pytest.mark.parametrize("name", ["eq", "ne", "lt", "le", "gt", "ge"])
@pytest.mark.parametrize("unordered", [False, True])
def test_float_comparisons_with_nan(name, unordered):
    a, b = np.repeat(FLOATS, len(FLOATS)), np.tile(FLOATS, len(FLOATS))
    rule = getattr(operator, name)
    suffix = "u" if unordered else ""
    code = f"setp.{name}{suffix}.f32 %p0, %a0, %a1; selp.b32 %out, 1, 0, %p0;"
    found = run(code, [a, b], np.uint32)
    for got, x, y in zip(found.tolist(), a.tolist(), b.tolist(), strict=True):
        nan = math.isnan(x) or math.isnan(y)
        assert got == (unordered if nan else rule(x, y))


def test_comparisons_combine_with_predicates():
    a, b = words(32, 26), words(32, 27)
    code = """setp.lt.s32 %p1, %a0, 0; setp.gt.and.u32 %p0|%p2, %a0, %a1, !%p1;
    selp.b32 %t0, 1, 0, %p0; selp.b32 %t1, 2, 0, %p2; or.b32 %out, %t0, %t1;"""

    def rule(x: int, y: int) -> int:
        free = signed(x, 32) >= 0
        return (x > y and free) + 2 * (x <= y and free)

    check(code, [a, b], rule)


def test_choosing_by_sign():
    inputs = [words(32, 28), words(32, 29), words(32, 30)]
    check("slct.b32.s32 %out, %a0, %a1, %a2;", inputs,
          lambda x, y, c: x if signed(c, 32) >= 0 else y)  # fmt: skip


@pytest.mark.parametrize("target", ["u8", "s8", "u16", "s16", "u64", "s64"])
@pytest.mark.parametrize("sat", [False, True])
def test_integer_conversions(target, sat):
    bits = int(target[1:])
    low, high = (0, 2**bits - 1) if target[0] == "u" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    sat = sat and target != "s64"  # which every s32 fits into

    def rule(x: int) -> int:
        value = signed(x, 32)
        value = min(max(value, low), high) if sat else value
        return signed(value, bits) if target[0] == "s" else value & (2**bits - 1)

    name = "cvt.sat" if sat else "cvt"
    check(f"{name}.{target}.s32 %out, %a0;", [words(32, 31)], rule, max(16, bits))
