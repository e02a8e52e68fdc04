"""mma.sync, ldmatrix, stmatrix: fragments spread by the formulas of the PTX ISA, against numpy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import ml_dtypes
import numpy as np
import pytest
from nncomp.backends.ptx import ptxas
from nncomp.backends.ptx.simulator import Memory, load

Place = Callable[[int, int, int], tuple[int, int]]  # group, thread in group, element: row, column


@dataclass(frozen=True)
class Shape:
    """One instruction: sizes, types, elements per lane of a, b, c, and where they lie."""

    name: str
    types: tuple[str, str, str]  # of the accumulators, of a, of b
    counts: tuple[int, int, int]
    a: Place
    b: Place
    held: type  # numpy type of the factors

    @property
    def sizes(self) -> tuple[int, int, int]:
        m, rest = self.name[1:].split("n")
        n, k = rest.split("k")
        return int(m), int(n), int(k)


def c_place(g: int, q: int, i: int) -> tuple[int, int]:
    return g + 8 * (i >= 2), 2 * q + (i & 1)


SHAPES = [
    Shape("m16n8k16", ("f32", "f16", "f16"), (8, 4, 4),
          lambda g, q, i: (g + 8 * (i in (2, 3, 6, 7)), 2 * q + (i & 1) + 8 * (i >= 4)),
          lambda g, q, i: (2 * q + (i & 1) + 8 * (i >= 2), g), np.float16),
    Shape("m16n8k16", ("f32", "bf16", "bf16"), (8, 4, 4),
          lambda g, q, i: (g + 8 * (i in (2, 3, 6, 7)), 2 * q + (i & 1) + 8 * (i >= 4)),
          lambda g, q, i: (2 * q + (i & 1) + 8 * (i >= 2), g), ml_dtypes.bfloat16),
    Shape("m16n8k8", ("f32", "bf16", "bf16"), (4, 2, 4),
          lambda g, q, i: (g + 8 * (i >= 2), 2 * q + (i & 1)),
          lambda g, q, i: (2 * q + i, g), ml_dtypes.bfloat16),
    Shape("m16n8k8", ("f32", "tf32", "tf32"), (4, 2, 4),
          lambda g, q, i: (g + 8 * (i in (1, 3)), q + 4 * (i >= 2)),
          lambda g, q, i: (q + 4 * i, g), np.float32),
    Shape("m16n8k4", ("f32", "tf32", "tf32"), (2, 1, 4),
          lambda g, q, i: (g + 8 * i, q), lambda g, q, i: (q, g), np.float32),
    Shape("m16n8k16", ("s32", "s8", "u8"), (8, 4, 4),
          lambda g, q, i: (g + 8 * (i >= 4), 4 * q + (i & 3)),
          lambda g, q, i: (4 * q + i, g), np.int8),
    Shape("m16n8k32", ("s32", "s8", "s8"), (16, 8, 4),
          lambda g, q, i: (g + 8 * (i // 4 % 2), 4 * q + (i & 3) + 16 * (i >= 8)),
          lambda g, q, i: (4 * q + (i & 3) + 16 * (i >= 4), g), np.int8),
    Shape("m8n8k4", ("f64", "f64", "f64"), (1, 1, 2),
          lambda g, q, i: (g, q), lambda g, q, i: (q, g), np.float64),
]  # fmt: skip
IDS = [f"{s.name}-{s.types[1]}-{s.types[2]}" for s in SHAPES]


def spread(matrix: np.ndarray, place: Place, count: int) -> np.ndarray:
    """The elements that each lane holds, shape (32, count)."""
    lanes = np.zeros((32, count), matrix.dtype)
    for lane in range(32):
        for i in range(count):
            lanes[lane, i] = matrix[place(lane // 4, lane % 4, i)]
    return lanes


def text(shape: Shape) -> str:
    """A kernel of one warp: loads fragments, multiplies once, stores the accumulators."""
    wide = shape.types[0] == "f64"
    bits = 64 if wide else 32
    size = np.dtype(shape.held).itemsize
    counts = [max(1, shape.counts[i] * size * 8 // bits) for i in (0, 1)] + [shape.counts[2]]
    lines = [".version 7.0", ".target sm_80", ".address_size 64",
             ".visible .entry k(.param .b64 pa, .param .b64 pb, .param .b64 pc)", "{",
             f".reg .b{bits} %a<9>, %b<9>, %c<9>; .reg .b64 %q<9>; .reg .b32 %t;",
             "mov.u32 %t, %tid.x;"]  # fmt: skip
    groups = []
    for name, count in zip("abc", counts, strict=True):
        lines += [f"ld.param.b64 %q1, [p{name}];", f"mul.wide.u32 %q2, %t, {count * bits // 8};",
                  "add.s64 %q1, %q1, %q2;"]  # fmt: skip
        lines += [f"ld.global.b{bits} %{name}{i}, [%q1+{i * bits // 8}];" for i in range(count)]
        groups.append("{" + ", ".join(f"%{name}{i}" for i in range(count)) + "}")
    c, a, b = shape.types
    lines.append(f"mma.sync.aligned.{shape.name}.row.col.{c}.{a}.{b}.{c} "
                 f"{groups[2]}, {groups[0]}, {groups[1]}, {groups[2]};")  # fmt: skip
    lines += [f"st.global.b{bits} [%q1+{i * bits // 8}], %c{i};" for i in range(counts[2])]
    return "\n".join([*lines, "ret;", "}"]) + "\n"


def factor(rng: np.random.Generator, rows: int, cols: int, kind: type) -> np.ndarray:
    return rng.integers(-8, 9, (rows, cols)).astype(kind)


@pytest.mark.parametrize("shape", SHAPES, ids=IDS)
def test_product_of_fragments(shape):
    rng = np.random.default_rng(3)
    m, n, k = shape.sizes
    a, b = factor(rng, m, k, shape.held), factor(rng, k, n, shape.held)
    if shape.types[2] == "u8":
        b = np.abs(b)
    kind = {"f32": np.float32, "s32": np.int32, "f64": np.float64}[shape.types[0]]
    c = rng.integers(-50, 50, (m, n)).astype(kind)
    memory = Memory()
    pa = memory.put(spread(a, shape.a, shape.counts[0]))
    pb = memory.put(spread(b, shape.b, shape.counts[1]))
    pc = memory.put(spread(c, c_place, shape.counts[2]))
    load(text(shape)).launch("k", 1, 32, [pa, pb, pc], memory=memory, race=True)
    found = memory.get(pc, kind, (32, shape.counts[2]))
    wanted = (a.astype(np.float64) @ b.astype(np.float64) + c).astype(kind)
    np.testing.assert_array_equal(found, spread(wanted, c_place, shape.counts[2]))


@pytest.mark.skipif(ptxas.find() is None, reason="ptxas is not installed")
@pytest.mark.parametrize("shape", SHAPES, ids=IDS)
def test_ptxas_takes_the_instruction(shape):
    assert ptxas.assemble(text(shape)).kernels["k"].registers > 0


def rows_text(opcode: str, count: int, trans: str) -> str:
    """A warp moves `count` 8 x 8 matrices between registers and rows of 16 bytes in memory."""
    group = "{" + ", ".join(f"%r{i}" for i in range(count)) + "}"
    name = f"{opcode}.sync.aligned.m8n8.x{count}{trans}.shared.b16"
    step = [128 * i for i in range(count)]
    copy_in = "\n".join(
        f"ld.global.b32 %t1, [%q1+{o}];\nst.shared.b32 [%t0+{o}], %t1;" for o in step
    )
    copy_out = "\n".join(
        f"ld.shared.b32 %t1, [%t0+{o}];\nst.global.b32 [%q2+{o}], %t1;" for o in step
    )
    load_all = "\n".join(f"ld.global.b32 %r{i}, [%q1+{o}];" for i, o in enumerate(step))
    store_all = "\n".join(f"st.global.b32 [%q2+{o}], %r{i};" for i, o in enumerate(step))
    loads = opcode == "ldmatrix"
    first = f"{copy_in}\nbar.warp.sync -1;\n{name} {group}, [%t2];" if loads else (
        f"{load_all}\n{name} [%t2], {group};\nbar.warp.sync -1;")  # fmt: skip
    return f""".version 8.0
.target sm_90
.address_size 64
.shared .align 16 .b8 s[512];
.visible .entry k(.param .b64 x, .param .b64 y)
{{
.reg .b32 %r<4>, %t<9>; .reg .b64 %q<9>;
ld.param.b64 %q1, [x];
ld.param.b64 %q2, [y];
mov.u32 %t8, %tid.x;
mul.wide.u32 %q3, %t8, 4;
add.s64 %q1, %q1, %q3;
add.s64 %q2, %q2, %q3;
mov.b32 %t0, s;
shl.b32 %t2, %t8, 4;
and.b32 %t2, %t2, {16 * 8 * count - 1};
add.s32 %t2, %t2, %t0;
shl.b32 %t3, %t8, 2;
add.s32 %t0, %t0, %t3;
{first}
{store_all if loads else copy_out}
ret;
}}
"""


@pytest.mark.parametrize("trans", ["", ".trans"])
@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("opcode", ["ldmatrix", "stmatrix"])
def test_rows_and_fragments(opcode, count, trans):
    squares = np.arange(64 * count, dtype=np.uint16).reshape(count, 8, 8)
    held = np.zeros((count, 32, 2), np.uint16)
    for lane in range(32):
        for i in range(2):
            row, col = lane // 4, 2 * (lane % 4) + i
            held[:, lane, i] = squares[:, col, row] if trans else squares[:, row, col]
    before, after = (squares, held) if opcode == "ldmatrix" else (held, squares)
    memory = Memory()
    x, y = memory.put(before), memory.alloc(128 * count)
    source = rows_text(opcode, count, trans)
    load(source).launch("k", 1, 32, [x, y], memory=memory, race=True)
    np.testing.assert_array_equal(memory.get(y, np.uint16, after.shape), after)
    if ptxas.find() is not None:
        assert ptxas.assemble(source, "sm_90").kernels["k"].shared == 512
