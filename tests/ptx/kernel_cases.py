"""The kernels of tests/ptx/kernels, each with inputs and what it must compute.

A case takes a loaded module and launch options, runs its kernel and asserts on the results. The
tests run cases as they are, in race mode, and on mutated text.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import ml_dtypes
import numpy as np
from nncomp.backends.ptx.simulator import Memory, Module, Report, load

FOLDER = Path(__file__).parent / "kernels"
CASES: dict[str, tuple[str, Callable]] = {}
BF16 = ml_dtypes.bfloat16


@cache
def text(name: str) -> str:
    """The PTX of one .cu file."""
    return (FOLDER / f"{name}.ptx").read_text()


@cache
def module(name: str) -> Module:
    return load(text(name))


def case(file: str) -> Callable:
    def register(function: Callable) -> Callable:
        CASES[function.__name__] = (file, function)
        return function

    return register


def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def close(found: np.ndarray, expected: np.ndarray, tolerance: float = 1e-5) -> None:
    assert np.isfinite(found.astype(np.float64)).all()
    np.testing.assert_allclose(found.astype(np.float64), expected, tolerance, tolerance)


def same(found: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_array_equal(found, expected)


# -- basics.cu -------------------------------------------------------------------------------------


@case("basics")
def saxpy(m: Module, **options) -> Report:
    n, x, y = 1000, rng().standard_normal(1000, np.float32), np.arange(1000, dtype=np.float32)
    memory = Memory()
    px, py = memory.put(x, "x"), memory.put(y, "y")
    report = m.launch("saxpy", 3, 128, [n, 2.5, px, py], memory=memory, **options)
    exact = np.float64(np.float32(2.5)) * x + y
    same(memory.get(py, np.float32, n), exact.astype(np.float32))
    return report


@case("basics")
def copy4(m: Module, **options) -> Report:
    x = rng().standard_normal(1024, np.float32)
    memory = Memory()
    px, py = memory.put(x), memory.alloc(x.nbytes)
    report = m.launch("copy4", 2, 128, [px, py], memory=memory, **options)
    same(memory.get(py, np.float32, 1024), x)
    return report


@case("basics")
def collatz(m: Module, **options) -> Report:
    x = rng().integers(1, 1000, 100, np.int32)
    expected = []
    for v in x.tolist():
        count = 0
        while v != 1:
            v, count = (3 * v + 1 if v & 1 else v // 2), count + 1
            if count == 60:
                break
        expected.append(count)
    memory = Memory()
    px, py = memory.put(x), memory.alloc(400)
    report = m.launch("collatz", 2, 64, [px, py, 100], memory=memory, **options)
    same(memory.get(py, np.int32, 100), expected)
    return report


def switched(v: int) -> int:
    r = 0
    for k in range(10):
        rest = (v + k) % 6
        if rest == 0:
            r += v * k
        elif rest == 1:
            r -= k
            if r < -100:
                break
        elif rest == 2:
            r ^= 0x55
        elif rest == 3:
            r = r * 3 + 1
            continue
        elif rest == 4:
            r >>= 1
        else:
            r += 7
        v += r & 3
    return r


@case("basics")
def switches(m: Module, **options) -> Report:
    x = np.arange(90, dtype=np.int32)
    memory = Memory()
    px, py = memory.put(x), memory.alloc(360)
    report = m.launch("switches", 1, 96, [px, py, 90], memory=memory, **options)
    same(memory.get(py, np.int32, 90), [switched(v) for v in x.tolist()])
    return report


@case("basics")
def polynomial(m: Module, **options) -> Report:
    table = [1, -2, 3, -4, 5, -6, 7, -8, 0]
    n, x = 80, rng().uniform(-1, 1, 80).astype(np.float32)
    expected = np.zeros(n)
    for i in range(n):
        for k in range(min(i % 9, 8)):
            expected[i] = expected[i] * x[i] + table[k]
    memory = Memory()
    px, py = memory.put(x), memory.alloc(4 * n)
    # i % 9 == 8 reads all eight entries, never a ninth.
    report = m.launch("polynomial", 1, 96, [px, py, n], memory=memory, **options)
    close(memory.get(py, np.float32, n), expected + ((1 * 0.5 - 2) * 0.5 + 3))
    return report


@case("basics")
def local_sort(m: Module, **options) -> Report:
    x = rng().standard_normal((40, 8), np.float32)
    memory = Memory()
    px, py = memory.put(x), memory.alloc(x.nbytes)
    report = m.launch("local_sort", 2, 20, [px, py], memory=memory, **options)
    same(memory.get(py, np.float32, x.shape), np.sort(x, 1))
    return report


@case("basics")
def by_value(m: Module, **options) -> Report:
    x = rng().standard_normal(60, np.float32)
    memory = Memory()
    px, py = memory.put(x), memory.alloc(240)
    pair = np.float32(2).tobytes() + np.array([10, 20, 30], np.int32).tobytes()
    report = m.launch("by_value", 1, (5, 4, 3), [pair, px, py], memory=memory, **options)
    shift = np.array([10, 20, 30])[np.arange(60) % 5 % 3]
    same(memory.get(py, np.float32, 60), (x.astype(np.float64) * 2 + shift).astype(np.float32))
    return report


def wrap(value: int, bits: int = 32) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def integer_row(x: int, y: int) -> list[int]:
    """What `integers` computes, in Python's unbounded integers."""
    ux, uy = x & 0xFFFFFFFF, y & 0xFFFFFFFF
    quotient = abs(x) // abs(y) * (1 if (x < 0) == (y < 0) else -1) if y else -1
    bits, shift = f"{ux:032b}", y & 31
    both, picks = ux.to_bytes(4, "little") + uy.to_bytes(4, "little"), y & 0x7777
    permuted = [both[picks >> 4 * i & 7] for i in range(4)]
    row = [
        quotient, x - quotient * y if y else x, ux // uy if uy else -1, x * y >> 32, ux * uy >> 32,
        bits.count("1"), 32 - ux.bit_length(), int(bits[::-1], 2),
        ((uy << 32 | ux) << shift) >> 32, int.from_bytes(bytes(permuted), "little"),
        (ux & -ux).bit_length(), x * y >> 13, min(x, y) + max(ux, uy), abs(x) - (x >> 3),
        wrap(x, 16) * wrap(y, 16), abs(x - y) + (ux >> 5),
    ]  # fmt: skip
    return [wrap(v) for v in row]


@case("basics")
def integers(m: Module, **options) -> Report:
    edges = [0, 1, -1, 5, -7, 2**31 - 1, -(2**31) + 1, 0x7531]
    a = np.array(edges * len(edges), np.int32)
    b = np.repeat(np.array(edges, np.int32), len(edges))
    more = rng().integers(-(2**31), 2**31, (2, 60)).astype(np.int32)
    a, b = np.r_[a, more[0]], np.r_[b, more[1]]
    memory = Memory()
    args = [memory.put(a), memory.put(b), memory.alloc(64 * len(a)), len(a)]
    report = m.launch("integers", 1, 128, args, memory=memory, **options)
    expected = [integer_row(x, y) for x, y in zip(a.tolist(), b.tolist(), strict=True)]
    same(memory.get(args[2], np.int32, (len(a), 16)), expected)
    return report


# -- blocks.cu -------------------------------------------------------------------------------------


@case("blocks")
def block_sum(m: Module, **options) -> Report:
    x = rng().integers(-9, 9, 700).astype(np.float32)
    memory = Memory()
    px, out = memory.put(x), memory.alloc(12)
    report = m.launch("block_sum", 3, 256, [px, out, 700], memory=memory, **options)
    same(memory.get(out, np.float32, 3), [x[i : i + 256].sum() for i in (0, 256, 512)])
    return report


@case("blocks")
def warp_then_block(m: Module, **options) -> Report:
    x = rng().integers(-9, 9, (3, 500)).astype(np.float32)
    memory = Memory()
    px, out = memory.put(x), memory.alloc(12)
    report = m.launch("warp_then_block", 3, 128, [px, out, 500], memory=memory, **options)
    same(memory.get(out, np.float32, 3), x.sum(1))
    return report


@case("blocks")
def grid_sum(m: Module, **options) -> Report:
    x = rng().integers(-9, 9, 1000).astype(np.float32)
    memory = Memory()
    args = [memory.put(x), memory.alloc(24), memory.alloc(4), 1000]
    report = m.launch("grid_sum", 6, 32, args, memory=memory, **options)
    same(memory.get(args[2], np.float32, 1), [x.sum()])
    return report


@case("blocks")
def transpose(m: Module, **options) -> Report:
    x = rng().standard_normal((50, 70), np.float32)
    memory = Memory()
    px, py = memory.put(x), memory.alloc(x.nbytes)
    report = m.launch("transpose", (3, 2), (32, 8), [px, py, 50, 70], memory=memory, **options)
    same(memory.get(py, np.float32, (70, 50)), x.T)
    return report


@case("blocks")
def transpose_conflicts(m: Module, **options) -> Report:
    x = rng().standard_normal((32, 32), np.float32)
    memory = Memory()
    px, py = memory.put(x), memory.alloc(x.nbytes)
    report = m.launch("transpose_conflicts", 1, (32, 32), [px, py], memory=memory, **options)
    same(memory.get(py, np.float32, (32, 32)), x.T)
    return report


@case("blocks")
def histogram(m: Module, **options) -> Report:
    x = (rng().standard_normal(3000) * 10 + 128).astype(np.uint8)
    memory = Memory()
    px, bins = memory.put(x), memory.put(np.zeros(256, np.uint32))
    report = m.launch("histogram", 4, 96, [px, bins, 3000], memory=memory, **options)
    same(memory.get(bins, np.uint32, 256), np.bincount(x, minlength=256))
    return report


@case("blocks")
def scan(m: Module, **options) -> Report:
    x = rng().integers(-100, 100, (2, 128), np.int32)
    memory = Memory()
    px, py = memory.put(x), memory.alloc(x.nbytes)
    report = m.launch("scan", 2, 128, [px, py], memory=memory, shared_bytes=1024, **options)
    same(memory.get(py, np.int32, x.shape), x.cumsum(1))
    return report


@case("blocks")
def softmax(m: Module, **options) -> Report:
    x = rng().standard_normal((3, 300), np.float32)
    memory = Memory()
    px, py = memory.put(x), memory.alloc(x.nbytes)
    report = m.launch("softmax", 3, 128, [px, py, 300], memory=memory, **options)
    e = np.exp(x.astype(np.float64) - x.max(1, keepdims=True))
    close(memory.get(py, np.float32, x.shape), e / e.sum(1, keepdims=True))
    return report


@case("blocks")
def gemm(m: Module, **options) -> Report:
    a = rng().standard_normal((20, 37), np.float32)
    b = rng().standard_normal((37, 40), np.float32)
    memory = Memory()
    c = memory.alloc(20 * 40 * 4)
    args = [memory.put(a), memory.put(b), c, 20, 40, 37]
    report = m.launch("gemm", (3, 2), (16, 16), args, memory=memory, **options)
    close(memory.get(c, np.float32, (20, 40)), a.astype(np.float64) @ b, 1e-4)
    return report


@case("blocks")
def warps(m: Module, **options) -> Report:
    x = rng().integers(0, 6, 64, np.int32)
    memory = Memory()
    px, out = memory.put(x), memory.alloc(64 * 40)
    report = m.launch("warps", 1, 64, [px, out], memory=memory, **options)
    lane = np.arange(32)
    for w in (0, 1):
        v = x[32 * w : 32 * w + 32]
        bits = 1 << lane.astype(np.uint64)
        same_bits = [int(bits[v == value].sum()) for value in v]
        odd = lane % 2 == 1
        segment = np.where(lane % 8 < 7, v[np.minimum(lane + 1, 31)], v)
        expected = [
            same_bits, [int(bits[v % 2 == 1].sum())] * 32, [1] * 32, [int((v > 5).any())] * 32,
            np.where(odd, 0xAAAAAAAA, 0), np.where(odd, v[odd].sum(), v[~odd].max()),
            np.where(lane >= 3, v[np.maximum(lane - 3, 0)], v), segment,
            v[(lane + 32 * w) * 7 % 32], [bin(b).count("1") for b in same_bits],
        ]  # fmt: skip
        same(memory.get(out, np.uint32, (64, 10))[32 * w :][:32], np.array(expected).T)
    return report


@case("blocks")
def atomics(m: Module, **options) -> Report:
    x = rng().integers(0, 1 << 20, 192, np.int32)
    start = np.zeros(16 + 192, np.int32)
    start[[1, 4]] = [2**31 - 1, -1]
    memory = Memory()
    ints, floats = memory.put(start), memory.put(np.zeros(4, np.float32))
    report = m.launch("atomics", 3, 64, [ints, floats, memory.put(x)], memory=memory, **options)
    found = memory.get(ints, np.int32, 16 + 192)
    logic = [f.reduce(x) for f in (np.bitwise_xor, np.bitwise_or)]
    same(found[:8], [x.max(), x.min(), *logic, np.bitwise_and.reduce(x | 0xFF), 192, 7, 42])
    same(np.sort(found[16:]), np.arange(192))
    same(memory.get(floats, np.float32, 4), np.bincount(x & 3))
    return report


@case("blocks")
def warp_exchange(m: Module, **options) -> Report:
    x = rng().integers(0, 99, 64, np.int32)
    memory = Memory()
    px, py = memory.put(x), memory.alloc(256)
    report = m.launch("warp_exchange", 1, 64, [px, py], memory=memory, **options)
    # y[t] = s[t] = v of thread t ^ 3 = x[t ^ 2]
    same(memory.get(py, np.int32, 64), x[np.arange(64) ^ 2])
    return report


@case("blocks")
def counting(m: Module, **options) -> Report:
    x = rng().integers(0, 10, (4, 70), np.int32)
    x[1] += 1
    x[2] = np.minimum(x[2], 8)
    memory = Memory()
    out = memory.alloc(48)
    report = m.launch("counting", 4, 70, [memory.put(x), out], memory=memory, **options)
    expected = np.stack([(x > 3).sum(1), (x > 8).any(1), (x > 0).all(1)], 1)
    same(memory.get(out, np.int32, (4, 3)), expected)
    return report


@case("blocks")
def named(m: Module, **options) -> Report:
    x = rng().integers(0, 99, (5, 32), np.int32)
    memory = Memory()
    out = memory.alloc(128)
    report = m.launch("named", 1, 64, [memory.put(x), out, 5], memory=memory, **options)
    same(memory.get(out, np.int32, 32), x.sum(0)[::-1])
    return report


@case("blocks")
def grid_barrier(m: Module, **options) -> Report:
    x = rng().integers(0, 99, 96, np.int32)
    memory = Memory()
    middle, out = memory.alloc(384), memory.alloc(384)
    options["lanes"] = 96  # all blocks together
    args = [memory.put(x), middle, out]
    report = m.launch("grid_barrier", 3, 32, args, memory=memory, **options)
    same(memory.get(out, np.int32, 96), 2 * x[::-1] + 1)
    return report


@case("blocks")
def wide(m: Module, **options) -> Report:
    a, b = rng().integers(-(2**63), 2**63, (2, 64), np.int64)
    b >>= rng().integers(0, 63, 64)
    x = rng().standard_normal(64)
    memory = Memory()
    out, py = memory.alloc(64 * 32), memory.alloc(512)
    args = [memory.put(a), memory.put(b), out, memory.put(x), py]
    report = m.launch("wide", 1, 64, args, memory=memory, **options)
    rows = []
    for p, q in zip(a.tolist(), b.tolist(), strict=True):
        quotient = abs(p) // abs(q) * (1 if (p < 0) == (q < 0) else -1) if q else 0
        bits, zeros = bin(p & (2**64 - 1)).count("1"), 64 - (q & (2**64 - 1)).bit_length()
        rows.append([wrap(v, 64) for v in (p * q, p * q >> 64, quotient)])
        rows[-1].append((p >> (q & 63)) ^ bits ^ zeros)
    same(memory.get(out, np.int64, (64, 4)), rows)
    close(memory.get(py, np.float64, 64), (x * x - 1) / np.sqrt(abs(x) + 1), 1e-15)
    return report


# -- tensor.cu -------------------------------------------------------------------------------------


@case("tensor")
def halves(m: Module, **options) -> Report:
    edges = [0.0, -0.0, 65519.0, 65520.0, 2**-25, 2**-24 * 1.5, 1e-40]
    scales = 10.0 ** rng().integers(-8, 5, 60)
    x = np.r_[rng().standard_normal(60) * scales, edges].astype(np.float32)
    n, memory = len(x), Memory()
    ph, pb, back = memory.alloc(2 * n), memory.alloc(2 * n), memory.alloc(8 * n)
    args = [memory.put(x), ph, pb, back, n]
    report = m.launch("halves", 1, 96, args, memory=memory, **options)
    with np.errstate(over="ignore"):
        half, brain = x.astype(np.float16), x.astype(BF16)
    same(memory.get(ph, np.uint16, n), half.view(np.uint16))
    same(memory.get(pb, np.uint16, n), brain.view(np.uint16))
    wide = np.stack([half.astype(np.float32), brain.astype(np.float32)], 1)
    same(memory.get(back, np.float32, (n, 2)), wide)
    return report


def pairs(kind: object) -> tuple[np.ndarray, np.ndarray]:
    x, y = rng().standard_normal((2, 40, 2)).astype(kind)
    return x, y


@case("tensor")
def half_math(m: Module, **options) -> Report:
    x, y = pairs(np.float16)
    memory = Memory()
    out = memory.alloc(40 * 16)
    args = [memory.put(x), memory.put(y), out, 40]
    report = m.launch("half_math", 1, 64, args, memory=memory, **options)
    a, b = x.astype(np.float64), y.astype(np.float64)
    expected = np.stack([a + b, a * b + b, np.maximum(a, -b), a * b], 1).astype(np.float16)
    same(memory.get(out, np.float16, (40, 4, 2)), expected)
    return report


@case("tensor")
def bfloat_math(m: Module, **options) -> Report:
    x, y = pairs(BF16)
    memory = Memory()
    out = memory.alloc(40 * 8)
    args = [memory.put(x), memory.put(y), out, 40]
    report = m.launch("bfloat_math", 1, 64, args, memory=memory, **options)
    a, b = x.astype(np.float64), y.astype(np.float64)
    expected = np.stack([a * b + a, np.minimum(a, b)], 1).astype(BF16)
    found = memory.get(out, np.uint16, (40, 2, 2))
    same(found, expected.view(np.uint16))
    return report


@case("tensor")
def pipeline(m: Module, **options) -> Report:
    rows = 600
    x = rng().integers(-9, 9, (rows, 4)).astype(np.float32)
    memory = Memory()
    px, out = memory.put(x), memory.alloc(128 * 16)
    report = m.launch("pipeline", 1, 128, [px, out, rows], memory=memory, **options)
    padded = np.r_[x, np.zeros((640 - rows, 4), np.float32)].reshape(5, 128, 4).sum(0)
    same(memory.get(out, np.float32, (128, 4)), np.roll(padded, -1, 0))
    return report


@case("tensor")
def mma_gemm(m: Module, **options) -> Report:
    a = rng().integers(-4, 5, (64, 96)).astype(BF16)
    b = rng().integers(-4, 5, (96, 32)).astype(BF16)
    memory = Memory()
    c = memory.alloc(64 * 32 * 4)
    args = [memory.put(a.view(np.uint16)), memory.put(b.view(np.uint16)), c, 32, 96]
    report = m.launch("mma_gemm", (1, 2), 128, args, memory=memory, **options)
    same(memory.get(c, np.float32, (64, 32)), a.astype(np.float32) @ b.astype(np.float32))
    return report


@case("tensor")
def mma_tf32(m: Module, **options) -> Report:
    a, b = rng().standard_normal((16, 8), np.float32), rng().standard_normal((8, 8), np.float32)
    memory = Memory()
    c = memory.alloc(512)
    report = m.launch("mma_tf32", 1, 32, [memory.put(a), memory.put(b), c], memory=memory,
                      **options)  # fmt: skip
    close(memory.get(c, np.float32, (16, 8)), a.astype(np.float64) @ b, 4e-3)
    return report


@case("tensor")
def mma_f16(m: Module, **options) -> Report:
    a, b = rng().integers(-4, 5, (16, 16)), rng().integers(-4, 5, (16, 8))
    memory = Memory()
    c = memory.alloc(256)
    args = [memory.put(a.astype(np.float16)), memory.put(b.astype(np.float16)), c]
    report = m.launch("mma_f16", 1, 32, args, memory=memory, **options)
    same(memory.get(c, np.float16, (16, 8)), a @ b)
    return report


@case("tensor")
def special(m: Module, **options) -> Report:
    x = np.r_[rng().uniform(-9, 9, 60), [2.0, -2.0, 0.5, 1e5]].astype(np.float32)
    n, memory = len(x), Memory()
    out = memory.alloc(48 * n)
    report = m.launch("special", 1, 96, [memory.put(x), out, n], memory=memory, **options)
    found, v = memory.get(out, np.float32, (n, 12)), x.astype(np.float64)
    v = np.where(v > 80, 80, v)
    with np.errstate(over="ignore"):
        close(found[:-1, 0], np.exp(v)[:-1])
    v = x.astype(np.float64)
    close(found[:, 1], np.log2(abs(v)))
    close(found[:-1, 2], np.sin(v)[:-1], 1e-4)  # on a GPU worse outside of [-pi, pi]
    close(found[:-1, 3], np.cos(v)[:-1], 1e-4)
    same(found[:, 4], (np.float32(1) / x))
    close(found[:, 5], 1 / np.sqrt(abs(v)))
    close(found[:, 8], np.tanh(v), 1e-3)
    root, third = found[:, 6].astype(np.float64), found[:, 7].astype(np.float64)
    above = np.nextafter(found[:, 6], np.float32(np.inf)).astype(np.float64)
    assert ((root * root <= abs(v)) & (above * above > abs(v))).all()
    above = np.nextafter(found[:, 7], np.float32(np.inf)).astype(np.float64)
    assert ((third * 3 <= v) & (above * 3 > v)).all()
    square = v * v + 1
    exact = square.astype(np.float32)
    down = np.where(exact > square, np.nextafter(exact, np.float32(0)), exact)
    same(found[:, 9], down)
    same(found[:, 10], np.nextafter(x, np.float32(np.inf)))
    same(found[:, 11], (np.rint(v) + np.trunc(abs(v))).astype(np.float32))
    return report
