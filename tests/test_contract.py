"""Contraction kernels against numpy: matmuls, convolutions, gradients, types, tails and splits."""

from __future__ import annotations

import ctypes
import itertools
import math
import re
from functools import cache
from typing import NamedTuple

import llvmlite.binding as llvm
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nncomp.backends.cpu.contract import (
    SIZES,
    Contraction,
    Dim,
    make_plan,
    panel_width,
    wants_packed,
)
from nncomp.backends.cpu.contract_emit import emit_contraction
from nncomp.backends.cpu.contract_units import starts
from nncomp.backends.llvm import Emitter, Value, module_text

DTYPES = {
    "float": np.dtype(np.float32),
    "double": np.dtype(np.float64),
    "half": np.dtype(np.float16),
    "bfloat": np.dtype(ml_dtypes.bfloat16),
}


class Machine(NamedTuple):
    vector_bits: int
    vector_registers: int


AVX512, AVX2, SSE = Machine(512, 32), Machine(256, 16), Machine(128, 16)
NEON = Machine(128, 32)
MACHINES = [AVX512, AVX2, SSE, NEON]


# -- harness ---------------------------------------------------------------------------------


@cache
def _host() -> llvm.TargetMachine:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=2
    )


@cache
def _jit() -> llvm.LLJIT:
    return llvm.create_lljit_compiler(use_jit_link=True)


def kernel_text(plan) -> str:
    """A module with `k(a, b, c, begin, end)`, which stores c row-major over batch, m, n."""
    spec = plan.spec
    extents = [d.extent for d in (*spec.batch, *spec.m)]
    strides = [math.prod(extents[i + 1 :]) * spec.n for i in range(len(extents))]

    def finish(e, sums, batch, m, n, mask):
        (acc,) = sums
        at = n
        for index, stride in zip([*batch, *m], strides, strict=True):
            at = e.binary("add", at, e.binary("mul", index, Value(str(stride), "i64")))
        address = e.gep(plan.scalar, Value("%c", "ptr"), at)
        if mask is None:
            e.store(acc, address, SIZES[plan.scalar])
        else:
            e.masked_store(acc, address, mask, SIZES[plan.scalar])

    e = Emitter()
    a, b = Value("%a", "ptr"), Value("%b", "ptr")
    begin, end = Value("%begin", "i64"), Value("%end", "i64")
    emit_contraction(e, plan, a, b, begin, end, finish)
    e.do("ret void")
    head = "void @k(ptr noalias %a, ptr noalias %b, ptr noalias %c, i64 %begin, i64 %end)"
    return module_text([e.function(head)], [e])


class Kernel:
    """A compiled contraction; calling it runs units begin..end."""

    count = itertools.count()

    def __init__(self, plan, text=None):
        module = llvm.parse_assembly(text or kernel_text(plan))
        module.verify()
        self.name = f"kernel{next(Kernel.count)}"
        library = llvm.JITLibraryBuilder().add_object_img(_host().emit_object(module))
        self.tracker = library.add_current_process().export_symbol("k").link(_jit(), self.name)
        signature = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 3, *[ctypes.c_int64] * 2)
        self.call = signature(self.tracker["k"])

    def __call__(self, a, b, c, begin, end):
        self.call(a.ctypes.data, b.ctypes.data, c.ctypes.data, begin, end)


def walk(spec: Contraction) -> tuple[np.ndarray, np.ndarray]:
    """Offsets of every element the contraction reads, of shapes (batch, m, k) and (batch, k, n)."""

    def offsets(dims, side):
        walked = np.zeros(1, np.int64)
        for dim in dims:
            steps = np.arange(dim.extent) * (dim.a if side == "a" else dim.b)
            walked = np.add.outer(walked, steps).reshape(-1)
        return walked

    n = np.arange(spec.n)
    if spec.panel:
        n = n // spec.panel * spec.panel_stride + n % spec.panel
    parts = {side: (offsets(spec.batch, side), offsets(spec.k, side)) for side in "ab"}
    batch, k = parts["a"]
    a = batch[:, None, None] + offsets(spec.m, "a")[None, :, None] + k[None, None, :]
    batch, k = parts["b"]
    return a, batch[:, None, None] + k[None, :, None] + n[None, None, :]


def padded(spec: Contraction, elements: int) -> int:
    """Elements of b up to the end of its last panel."""
    if not spec.panel:
        return elements
    return elements + spec.panel


def run(spec: Contraction, target: Machine, cuts=(), seed=0) -> tuple[np.ndarray, np.ndarray]:
    """The kernel's result and numpy's, both (batch, m, n) and in double."""
    rng = np.random.default_rng(seed)
    at_a, at_b = walk(spec)

    def operand(type, offsets, size):
        data = rng.standard_normal(size).astype(DTYPES[type])
        return data, data.astype(np.float64)[offsets]

    a, wide_a = operand(spec.a_type, at_a, at_a.max(initial=0) + 1)
    b, wide_b = operand(spec.b_type, at_b, padded(spec, at_b.max(initial=0) + 1))
    plan = make_plan(spec, target)
    guard = 64
    size = at_a.shape[0] * at_a.shape[1] * spec.n
    whole = np.full(size + 2 * guard, np.nan, DTYPES[plan.scalar])
    c = whole[guard : guard + size]
    kernel = Kernel(plan)
    bounds = [0, *sorted(cut % (plan.units + 1) for cut in cuts), plan.units]
    for begin, end in reversed(list(itertools.pairwise(bounds))):
        kernel(a, b, c, begin, end)
    assert np.isnan(whole[:guard]).all() and np.isnan(whole[guard + size :]).all()
    return c.reshape(at_a.shape[0], at_a.shape[1], spec.n).astype(np.float64), wide_a @ wide_b


def check(spec: Contraction, target: Machine, cuts=()) -> None:
    got, expected = run(spec, target, cuts)
    eps = 1e-14 if spec.scalar == "double" else 2e-6
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=eps, atol=eps * 4 * math.sqrt(spec.depth + 1))


def matmul(m, n, k, batch=(), panel=0, a_type="float", b_type="float", transposed=False):
    """c = a @ b with contiguous operands, or with a stored transposed."""
    wide = -(-n // panel) * panel if panel else n
    dims, a, b = [], m * k, k * wide
    for extent in reversed(batch):
        dims.insert(0, Dim(extent, a, b))
        a, b = a * extent, b * extent
    row, step = (1, m) if transposed else (k, 1)
    return Contraction(
        tuple(dims), (Dim(m, row),), n, (Dim(k, step, panel or n),),
        panel, k * panel, a_type, b_type,
    )  # fmt: skip


def conv(images, size, channels, out, taps=3, stride=1, panel=0, groups=1):
    """A convolution of padded NHWC images giving size x size pixels."""
    wide = (size - 1) * stride + taps
    per = channels // groups
    width = panel or out
    image, line = wide * wide * channels, wide * channels
    depth = taps * taps * per
    panels = -(-out // panel) if panel else 1
    return Contraction(
        (Dim(groups, per, depth * width * panels),),
        (Dim(images, image), Dim(size, stride * line), Dim(size, stride * channels)),
        out,
        (
            Dim(taps, line, taps * per * width),
            Dim(taps, channels, per * width),
            Dim(per, 1, width),
        ),
        panel,
        depth * panel,
    )


def conv_weight_gradient(images, size, channels, out, taps=3, stride=1):
    """dW[kh, kw, c, o] from padded NHWC images and dY, pixels being k."""
    wide = (size - 1) * stride + taps
    line = wide * channels
    return Contraction(
        (),
        (Dim(taps, line), Dim(taps, channels), Dim(channels, 1)),
        out,
        (
            Dim(images, wide * line, size * size * out),
            Dim(size, stride * line, size * out),
            Dim(size, stride * channels, out),
        ),
    )


# -- results ---------------------------------------------------------------------------------

MATMULS = [
    (1, 1, 1), (1, 64, 1), (5, 3, 7), (16, 16, 16), (64, 64, 64), (13, 17, 19), (14, 32, 8),
    (15, 33, 9), (29, 40, 31), (49, 96, 33), (128, 48, 16), (3, 200, 20), (1, 333, 50),
    (2, 130, 11), (7, 65, 5), (8, 512, 3), (100, 2, 40), (61, 47, 130),
]  # fmt: skip


@pytest.mark.parametrize("target", MACHINES)
@pytest.mark.parametrize("shape", MATMULS)
def test_matmul(shape, target):
    check(matmul(*shape), target, cuts=(1, 5))


@pytest.mark.parametrize("target", MACHINES)
@pytest.mark.parametrize("shape", MATMULS)
def test_matmul_packed(shape, target):
    m, n, k = shape
    check(matmul(m, n, k, panel=panel_width(target, "float", n)), target, cuts=(2,))


@pytest.mark.parametrize("target", MACHINES[:3])
@pytest.mark.parametrize("panel", [0, 4, 24, 32, 48])
def test_batched_and_transposed(panel, target):
    check(matmul(17, 70, 12, batch=(2, 3), panel=panel), target, cuts=(1, 4))
    check(matmul(30, 25, 9, batch=(3,), panel=panel, transposed=True), target)


def test_batch_may_share_an_operand():
    spec = matmul(9, 20, 6)
    for batch in (Dim(4, 0, 0), Dim(4, 9 * 6, 0), Dim(4, 0, 6 * 20)):
        check(Contraction((batch,), spec.m, spec.n, spec.k), AVX512)


CONVS = [
    (1, 7, 5, 20), (2, 7, 8, 40), (1, 14, 4, 32), (3, 5, 3, 17), (2, 1, 6, 33), (5, 2, 3, 16),
    (1, 28, 3, 24), (2, 3, 4, 64), (1, 17, 2, 8),
]  # fmt: skip


@pytest.mark.parametrize("target", MACHINES[:3])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("shape", CONVS)
def test_conv(shape, stride, target):
    check(conv(*shape, stride=stride), target, cuts=(3,))
    check(conv(*shape, stride=stride, panel=panel_width(target, "float", shape[3])), target)


@pytest.mark.parametrize("target", MACHINES[:3])
def test_conv_of_other_kinds(target):
    check(conv(1, 10, 12, 30, taps=1), target)
    check(conv(2, 9, 12, 30, taps=1, stride=2), target)
    check(conv(1, 12, 3, 16, taps=7, stride=2, panel=16), target)
    check(conv(2, 6, 12, 10, groups=3, panel=16), target, cuts=(1, 2))


@pytest.mark.parametrize("target", MACHINES[:3])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("shape", [(1, 14, 6, 20), (2, 7, 5, 64), (3, 4, 16, 3)])
def test_conv_weight_gradient(shape, stride, target):
    check(conv_weight_gradient(*shape, stride=stride), target, cuts=(1,))


@pytest.mark.parametrize("target", MACHINES[:3])
@pytest.mark.parametrize("panel", [0, 16])
@pytest.mark.parametrize("types", list(itertools.product(DTYPES, DTYPES)))
def test_types(types, panel, target):
    check(matmul(15, 37, 10, panel=panel, a_type=types[0], b_type=types[1]), target)
    check(matmul(2, 5, 3, panel=panel, a_type=types[0], b_type=types[1]), target)


@pytest.mark.parametrize("target", MACHINES[:2])
def test_empty(target):
    for spec in (matmul(0, 5, 3), matmul(5, 0, 3), matmul(4, 5, 2, batch=(0,))):
        plan = make_plan(spec, target)
        assert plan.units == 0
        run(spec, target)
    got, _ = run(matmul(20, 37, 0), target)
    assert got.shape == (1, 20, 37) and (got == 0).all()


def test_zero_rank():
    check(Contraction((), (), 40, ()), AVX512)
    check(Contraction((), (), 3, (Dim(6, 1, 3),)), AVX512)


@pytest.mark.parametrize("spec", [matmul(70, 200, 64), conv(1, 14, 32, 64, panel=32)])
def test_bits_do_not_depend_on_the_split(spec):
    units = make_plan(spec, AVX512).units
    assert units > 3
    whole, _ = run(spec, AVX512)
    split, _ = run(spec, AVX512, cuts=range(units))
    assert (whole == split).all()


dims = st.integers(1, 9)
strides = st.integers(0, 12)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.builds(Dim, st.integers(1, 3), strides, strides), max_size=2),
    st.lists(st.builds(Dim, st.integers(1, 20), strides), max_size=3),
    st.integers(1, 70),
    st.lists(st.builds(Dim, dims, strides, strides), max_size=3),
    st.sampled_from([(0, 0), (4, 100), (8, 8), (16, 31), (32, 200)]),
    st.sampled_from(MACHINES),
    st.tuples(st.sampled_from(list(DTYPES)), st.sampled_from(list(DTYPES))),
    st.lists(st.integers(0, 1000), max_size=3),
)
def test_any_strides(batch, m, n, k, panel, target, types, cuts):
    check(Contraction(tuple(batch), tuple(m), n, tuple(k), *panel, *types), target, cuts)


# -- plans and code --------------------------------------------------------------------------


def inner_loops(text: str) -> list[list[str]]:
    """The instructions of each innermost loop that multiplies, from x86 or aarch64 assembly."""
    jump = re.compile(r"\s+(?:j\w+|b(?:\.\w+)?)\s+(\.L\w+)")
    lines = text.splitlines()
    labels = {line.split(":")[0]: i for i, line in enumerate(lines) if re.match(r"\.L\w+:", line)}
    loops = []
    for i, line in enumerate(lines):
        found = jump.match(line)
        if found and labels.get(found[1], i) < i:
            body = lines[labels[found[1]] : i + 1]
            code = [x.strip() for x in body if x.startswith("\t") and not x.startswith("\t.")]
            inner = not any(jump.match(x) for x in body[:-1])
            if inner and any(re.match("vfmadd|fmla|mulps", x) for x in code):
                loops.append(code)
    return loops


def assembly(plan, triple: str, cpu: str) -> str:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    machine = llvm.Target.from_triple(triple).create_target_machine(cpu=cpu, opt=2)
    return machine.emit_assembly(llvm.parse_assembly(kernel_text(plan)))


CPUS = [
    ("x86_64", "x86-64-v4", AVX512),
    ("x86_64", "x86-64-v3", AVX2),
    ("x86_64", "x86-64", SSE),
    ("aarch64", "neoverse-n1", NEON),
    ("aarch64", "apple-m1", NEON),
]


@pytest.mark.parametrize("arch,cpu,target", CPUS)
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("size", [512, 1024])
def test_inner_loop_has_no_spills(arch, cpu, target, packed, size):
    panel = panel_width(target, "float", size) if packed else 0
    plan = make_plan(matmul(size, size, size, panel=panel), target)
    loops = inner_loops(assembly(plan, f"{arch}-unknown-linux-gnu", cpu))
    assert len(loops) == len(plan.row_runs) * len(plan.column_runs)
    for loop in loops:
        multiplies = sum(bool(re.match("vfmadd|fmla|mulps", line)) for line in loop)
        assert multiplies >= 10
        assert not any("(%rsp" in line or "[sp" in line for line in loop)
        if cpu in ("x86-64-v4", "x86-64-v3"):  # loads of a and b, and little else
            assert len(loop) <= multiplies * 5 // 3 + 8


def shares(plan, threads: int) -> list[int]:
    """How many results each thread computes; no units are written, only counted."""
    sides = []
    for runs, lines, block in (
        (plan.row_runs, plan.lines, plan.row_block),
        (plan.column_runs, 1, plan.column_block),
    ):
        tiles = [run.live for run in runs for _ in range(run.count * lines)]
        ends = [*starts(len(tiles), block), len(tiles)]
        sides.append([sum(tiles[a:b]) for a, b in itertools.pairwise(ends)])
    rows, columns = sides
    pairs = [(r, c) for r in rows for c in columns]
    if not plan.rows_outer:
        pairs = [(r, c) for c in columns for r in rows]
    assert len(pairs) == plan.units
    ends = [plan.units * t // threads for t in range(threads + 1)]
    return [sum(r * c for r, c in pairs[a:b]) for a, b in itertools.pairwise(ends)]


@pytest.mark.parametrize("target", [AVX512, AVX2, NEON])
@pytest.mark.parametrize(
    "m, n, k",
    [(784, 128, 512), (32, 2048, 512), (3136, 64, 256), (49, 2048, 512), (2048, 2048, 512),
     (1, 2048, 512), (4, 1024, 1024), (8, 768, 768), (128, 3072, 768)],
)  # fmt: skip
def test_two_threads_get_equal_shares(m, n, k, target):
    plan = make_plan(matmul(m, n, k, panel=panel_width(target, "float", n)), target)
    assert max(shares(plan, 2)) <= 1.02 * m * n / 2


def test_few_rows_are_one_tile_where_b_comes_from_far():
    """Two tiles would fetch each panel twice, faster than which they cannot be."""
    for n, k in ((2048, 512), (1024, 1024), (4096, 4096)):
        plan = make_plan(matmul(4, n, k, panel=32), AVX512)
        assert plan.row_tiles == 1


@pytest.mark.parametrize("target", MACHINES)
def test_units_run_backwards_too(target):
    spec = matmul(40, 70, 50, panel=panel_width(target, "float", 70))
    plan = make_plan(spec, target)
    r = np.random.default_rng(0)
    a = r.standard_normal(40 * 50).astype(np.float32)
    b = r.standard_normal(-(-70 // spec.panel) * spec.panel_stride).astype(np.float32)
    kernel, forwards, backwards = Kernel(plan), *np.zeros((2, 40 * 70), np.float32)
    kernel(a, b, forwards, 0, plan.units)
    middle = plan.units // 2
    kernel(a, b, backwards, plan.units, middle)
    assert 0 < np.count_nonzero(backwards) < backwards.size
    kernel(a, b, backwards, middle, 0)
    assert (forwards == backwards).all() and forwards.all()


@pytest.mark.parametrize("target", (AVX512, SSE))
@pytest.mark.parametrize("k", (7, 64, 90))
@pytest.mark.parametrize("m, n", ((37, 70), (5, 16), (64, 96)))
def test_every_result_is_asked_for_before_it_is_there(m, n, k, target):
    plan, counts = make_plan(matmul(m, n, k), target), np.zeros((m, n), np.int64)
    counter, seen = Value("%b", "ptr"), []

    def fetch(e, batch, rows, column):
        row = e.binary("mul", rows[0], Value(str(n), "i64"))
        place = e.gep("i64", counter, e.binary("add", row, column))
        e.store(e.binary("add", e.load("i64", place, 8), Value("1", "i64")), place, 8)

    def finish(e, sums, batch, rows, column, mask):
        (acc,) = sums
        row = e.binary("mul", rows[0], Value(str(n), "i64"))
        place = e.gep("i64", Value("%c", "ptr"), e.binary("add", row, column))
        asked = e.load("i64", e.gep("i64", counter, e.binary("add", row, column)), 8)
        e.store(asked, place, 8)
        seen.append(acc.lanes)

    e, ends = Emitter(), (Value("%begin", "i64"), Value("%end", "i64"))
    zeros = Value("%a", "ptr")  # long enough to be both operands
    emit_contraction(e, plan, zeros, zeros, *ends, finish, fetch)
    e.do("ret void")
    head = "void @k(ptr %a, ptr %b, ptr %c, i64 %begin, i64 %end)"
    found = np.zeros((m, n), np.int64)
    kernel = Kernel(plan, module_text([e.function(head)], [e]))
    kernel(np.zeros(max(m, n) * k, np.float32), counts, found, 0, plan.units)
    starts = found[:, : n // plan.lanes * plan.lanes : plan.lanes]
    assert seen and (starts > 0).all()
    assert (found == counts).all()


@pytest.mark.parametrize("pieces", ((6, 32), (3, 128), (4, 512)))
def test_rows_in_short_pieces_far_apart(pieces):
    count, width = pieces
    far = 40 * width + 1024
    k = (Dim(count, far, width * 33), Dim(width, 1, 33))
    check(Contraction((), (Dim(37, width),), 33, k), AVX512)


@pytest.mark.parametrize("n, narrow", [(24, "ymm"), (40, "ymm"), (36, "xmm"), (32, "")])
def test_the_last_columns_take_a_narrower_vector(n, narrow):
    spec = matmul(28, n, 96, panel=panel_width(AVX512, "float", n))
    check(spec, AVX512)
    loops = inner_loops(assembly(make_plan(spec, AVX512), "x86_64-unknown-linux-gnu", "x86-64-v4"))
    for loop in loops:
        multiplied = {m[0] for line in loop if (m := re.search("[xyz]mm", line)) and "vfm" in line}
        assert multiplied == {"zmm", narrow} - {""}
        assert not any(re.match(r"vbroadcastss\s+%xmm", line) for line in loop)


def test_pack_choice():
    assert panel_width(AVX512, "float", 1000) == 32
    assert panel_width(AVX512, "float", 48) == 48
    assert panel_width(AVX512, "float", 10) == 16
    assert panel_width(AVX512, "double", 1000) == 16
    assert panel_width(AVX2, "bfloat", 1000) == 16
    assert wants_packed(matmul(512, 1024, 4096), AVX512)
    assert not wants_packed(matmul(4, 1024, 4096), AVX512)
    assert not wants_packed(matmul(512, 512, 512), AVX512)
    assert wants_packed(matmul(2048, 512, 2048), AVX512)
    assert wants_packed(matmul(196, 768, 3072), AVX512)
    assert wants_packed(matmul(196, 3072, 768), AVX512)
    assert not wants_packed(matmul(96, 3072, 768), AVX512)
    assert not wants_packed(matmul(2048, 512, 512), AVX512)
    assert wants_packed(matmul(512, 512, 2048), AVX512)
    assert not wants_packed(matmul(512, 256, 2048), AVX512)
    assert not wants_packed(matmul(512, 1024, 4096, panel=32), AVX512)


def test_errors():
    with pytest.raises(ValueError, match="a_type"):
        make_plan(matmul(2, 3, 4, a_type="i64"), AVX512)
    with pytest.raises(ValueError, match="negative"):
        make_plan(matmul(2, -3, 4), AVX512)
    with pytest.raises(ValueError, match="panel"):
        make_plan(Contraction((), (Dim(4, 4),), 40, (Dim(4, 1, 32),), panel=32), AVX512)
