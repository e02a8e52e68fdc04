"""ldmatrix, stmatrix and mma.sync: small matrices spread over the lanes of a warp.

A Fragment says which element of the matrix each register of each lane holds (PTX ISA, "Warp-level
matrix instructions"). Products are summed exactly in float64 and rounded once: the hardware's order
is not specified, so results of both agree to a tolerance only.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from .decode import Decoder, Get, Run, opcode
from .ops_warp import by_warp, of_lanes
from .rounding import F16, bf16_to_f32
from .spaces import Access
from .state import SHARED_WINDOW, WARP, State

LANE = np.arange(WARP)
GROUP, QUAD = LANE // 4, LANE % 4


class Fragment:
    """Where registers lie in a matrix: `rows`, `cols` of shape (32, registers, parts)."""

    def __init__(self, shape: tuple[int, int], rows: np.ndarray, cols: np.ndarray):
        self.shape, self.parts = shape, rows.shape[2]
        flat = (rows * shape[1] + cols).reshape(-1)
        self.order = np.argsort(flat)  # element of the matrix -> position in the registers
        self.places = flat.reshape(rows.shape)  # and back
        assert len(np.unique(flat)) == shape[0] * shape[1] == flat.size

    def matrix(self, registers: list[np.ndarray]) -> np.ndarray:
        """(warps, rows, cols) from registers of shape (blocks, warps, 32, parts)."""
        joined = np.stack(registers, -2)  # blocks, warps, lane, register, part
        count = joined.shape[0] * joined.shape[1]
        return joined.reshape(count, -1)[:, self.order].reshape(count, *self.shape)

    def registers(self, matrix: np.ndarray) -> np.ndarray:
        """The inverse: (warps, 32, registers, parts)."""
        return matrix.reshape(len(matrix), -1)[:, self.places]


def fragment_a(m: int, k: int, bits: int) -> Fragment:
    """The left factor: 16 rows in two halves, k in pieces of 4 registers' width."""
    if bits == 64:
        return Fragment((m, k), GROUP[:, None, None], QUAD[:, None, None])
    parts = 32 // bits
    pieces = k // (4 * parts)
    rows = np.stack([GROUP + 8 * (r % 2) for r in range(2 * pieces)], 1)[:, :, None]
    cols = np.stack([QUAD * parts + 4 * parts * (r // 2) for r in range(2 * pieces)], 1)
    cols = cols[:, :, None] + np.arange(parts)
    return Fragment((m, k), np.broadcast_to(rows, cols.shape), cols)


def fragment_b(k: int, n: int, bits: int) -> Fragment:
    """The right factor: a lane's group is its column."""
    if bits == 64:
        return Fragment((k, n), QUAD[:, None, None], GROUP[:, None, None])
    parts = 32 // bits
    pieces = k // (4 * parts)
    rows = np.stack([QUAD * parts + 4 * parts * r for r in range(pieces)], 1)
    rows = rows[:, :, None] + np.arange(parts)
    return Fragment((k, n), rows, np.broadcast_to(GROUP[:, None, None], rows.shape))


def fragment_c(m: int, n: int, parts: int) -> Fragment:
    """Accumulators: two neighbours of row `group`, then of row `group` + 8."""
    halves = m // 8
    rows = np.repeat(np.stack([GROUP + 8 * h for h in range(halves)], 1)[:, :, None], 2, axis=2)
    cols = np.broadcast_to((QUAD * 2)[:, None, None] + np.arange(2), rows.shape)
    shape = (WARP, 2 * halves // parts, parts)
    return Fragment((m, n), rows.reshape(shape), cols.reshape(shape))


@cache
def fragments(m: int, n: int, k: int, bits: int, packed: bool) -> tuple:
    return (fragment_a(m, k, bits), fragment_b(k, n, bits),
            fragment_c(m, n, 2 if packed else 1))  # fmt: skip


SHAPES = {
    "f16": ("m16n8k16", "m16n8k8"),
    "bf16": ("m16n8k16", "m16n8k8"),
    "tf32": ("m16n8k8", "m16n8k4"),
    "s8": ("m16n8k32", "m16n8k16"),
    "u8": ("m16n8k32", "m16n8k16"),
    "f64": ("m8n8k4",),
}
BITS = {"f16": 16, "bf16": 16, "tf32": 32, "s8": 8, "u8": 8, "f64": 64}


def opened(x: np.ndarray, type_: str) -> np.ndarray:
    """Registers (blocks, warps, 32) as their elements in float64 (int64 for bytes)."""
    if type_ == "f64":
        return x[..., None]
    if type_ == "tf32":
        return (x & np.uint32(0xFFFFE000)).view(np.float32).astype(np.float64)[..., None]
    if type_ in ("s8", "u8"):
        numbers = np.ascontiguousarray(x).view(np.int8 if type_ == "s8" else np.uint8)
        return numbers.reshape(*x.shape, 4).astype(np.int64)
    raw = np.ascontiguousarray(x).view(np.uint16).reshape(*x.shape, 2)
    if type_ == "bf16":
        return bf16_to_f32(raw).astype(np.float64)
    return raw.view(np.float16).astype(np.float64)


@opcode("mma")
def decode_mma(d: Decoder) -> Run:
    d.need("sync")
    d.need("aligned")
    c_type, b_type, a_type, d_type = (d.mods.pop() for _ in range(4))
    shape = d.need(*SHAPES.get(a_type, ("a known type",)))
    d.need("row")
    d.need("col")
    saturates = d.has("satfinite")
    m, n, k = (int(x) for x in shape[1:].replace("n", " ").replace("k", " ").split())
    packed = d_type == "f16"
    accumulators = {"f64": ("f64",), "s8": ("s32",), "u8": ("s32",), "f16": ("f32", "f16")}
    if d_type != c_type or d_type not in accumulators.get(a_type, ("f32",)):
        raise d.error(f"accumulators .{d_type} and .{c_type} do not go with .{a_type}.")
    if a_type != b_type and not {a_type, b_type} <= {"s8", "u8"}:
        raise d.error("factors of different types.")
    frag_a, frag_b, frag_c = fragments(m, n, k, BITS[a_type], packed)
    held = {"f64": "f64", "s32": "s32", "f32": "f32", "f16": "b32"}[d_type]
    factor = "f64" if a_type == "f64" else "b32"
    gets: list[list[Get]] = []
    for at, type_, frag in ((1, factor, frag_a), (2, factor, frag_b), (3, held, frag_c)):
        items = d.items(at)
        if len(items) != frag.places.shape[1]:
            raise d.error(f"operand {at} needs {frag.places.shape[1]} registers.")
        gets.append([d.getter(item, type_) for item in items])
    puts = [d.putter(item, held) for item in d.items(0)]

    def run(s: State) -> None:
        a = frag_a.matrix([opened(by_warp(s, g(s)), a_type) for g in gets[0]])
        b = frag_b.matrix([opened(by_warp(s, g(s)), b_type) for g in gets[1]])
        if packed:
            c = frag_c.matrix([opened(by_warp(s, g(s)), "f16") for g in gets[2]])
        else:
            c = frag_c.matrix([by_warp(s, g(s))[..., None] for g in gets[2]])
        total = product(a, b, c, saturates)
        found = frag_c.registers(total)
        for i, put in enumerate(puts):
            put(s, of_lanes(s, closed(found[:, :, i, :], d_type)))

    return run


def product(a: np.ndarray, b: np.ndarray, c: np.ndarray, saturates: bool) -> np.ndarray:
    total = np.matmul(a, b) + c
    if saturates and total.dtype.kind == "i":
        total = np.clip(total, -(2**31), 2**31 - 1)
    return total


def closed(x: np.ndarray, type_: str) -> np.ndarray:
    """Elements (warps, 32, parts) rounded to what a register holds."""
    if type_ == "f16":
        return np.ascontiguousarray(x.astype(F16)).view(np.uint32)[..., 0]
    kind = {"f32": np.float32, "f64": np.float64, "s32": np.int32}[type_]
    return np.ascontiguousarray(x[..., 0]).astype(kind)


# -- ldmatrix, stmatrix ----------------------------------------------------------------------------


def matrix_access(d: Decoder, address_at: int, items_at: int) -> tuple:
    d.need("sync")
    d.need("aligned")
    d.need("m8n8")
    d.type("b16")
    count = int(d.need("x1", "x2", "x4")[1:])
    transposed = d.has("trans")
    space = d.pick("shared", "shared::cta")
    _, address = d.address(address_at)
    if len(d.items(items_at)) != count:
        raise d.error(f"{count} registers are expected.")
    return count, transposed, address, "shared" if space else "generic"


def row_access(s: State, address: np.ndarray, count: int) -> tuple[Access, np.ndarray]:
    """The 16-byte rows that the first 8 lanes of each matrix point to, and which lanes."""
    chosen = (np.arange(s.width) % WARP < 8 * count)[None, :] & s.full(s.mask)
    access = Access(s, "shared", np.broadcast_to(address, s.shape), chosen, 16)
    access.aligned(s, access.index, 16)
    return access, chosen


def row_address(s: State, get: Get, space: str) -> np.ndarray:
    address = get(s)
    if space == "generic":
        address = address - np.uint64(SHARED_WINDOW)
    return address


@opcode("ldmatrix")
def decode_ldmatrix(d: Decoder) -> Run:
    count, transposed, get, space = matrix_access(d, 1, 0)
    puts = [d.putter(item, "b32") for item in d.items(0)]
    parts = np.arange(2)
    first, second = GROUP[:, None], 2 * QUAD[:, None] + parts
    row, col = (second, first) if transposed else (first, second)

    def run(s: State) -> None:
        address = row_address(s, get, space)
        access, chosen = row_access(s, address, count)
        if s.observer is not None:
            s.observer.read(s, "shared", address, chosen, 16)
        parts16 = access.read(s, 2, 8)
        rows = np.stack([by_warp(s, p) for p in parts16], -1)  # blocks, warps, lane, 8
        for i, put in enumerate(puts):
            square = rows[:, :, 8 * i : 8 * i + 8, :]
            halves = np.ascontiguousarray(square[:, :, row, col])
            put(s, of_lanes(s, halves.view(np.uint32)[..., 0]))

    return run


@opcode("stmatrix")
def decode_stmatrix(d: Decoder) -> Run:
    count, transposed, get, space = matrix_access(d, 0, 1)
    gets = [d.getter(item, "b32") for item in d.items(1)]

    def run(s: State) -> None:
        address = row_address(s, get, space)
        access, chosen = row_access(s, address, count)
        rows = np.zeros((s.blocks, s.warps, WARP, 8), np.uint16)
        for i, value in enumerate(gets):
            halves = np.ascontiguousarray(by_warp(s, value(s))).view(np.uint16)
            square = halves.reshape(s.blocks, s.warps, 8, 8)
            rows[:, :, 8 * i : 8 * i + 8, :] = square.swapaxes(2, 3) if transposed else square
        values = [of_lanes(s, rows[..., j]) for j in range(8)]
        if s.observer is not None:
            s.observer.write(
                s, "shared", address, chosen, 16, values)
        access.write(s, values)

    return run
