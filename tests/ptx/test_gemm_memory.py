"""What the product kernels do to shared memory: no races, no bank conflicts, and no mistake passes.

The simulator looks for threads that touch the same memory with no barrier between, and counts how
often lanes of a warp meet in a bank. Deleting what keeps threads apart must be noticed.
"""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from nncomp.backends.ptx.gemm.plan import MMA, MMA_STAGED, SIMT, SIMT_DOUBLE, memory_dtype
from nncomp.backends.ptx.gemm.product import find_product
from nncomp.backends.ptx.gemm.product_kernel import ProductKernel
from nncomp.backends.ptx.simulator import SimulationError
from nncomp.ir.ops import matmul
from nncomp.ir.types import bfloat16, float32, float64
from product_running import OneKernel, close, conv_case, ptx_of, simulate, turned
from test_gemm_attention import attention_of

SETS = {
    "float32": (float32, [t for t, _ in SIMT]),
    "float64": (float64, [t for t, _ in SIMT_DOUBLE]),
    "bfloat16": (bfloat16, [t for t, _ in MMA]),
    "staged": (bfloat16, [t for t, _ in MMA_STAGED]),
    "tf32": (float32, [replace(t, depth=32, mode="tf32") for t, _ in MMA]),
}


def shared_conflicts(report) -> list[str]:
    return [str(a) for a in report.accesses if a.space == "shared" and a.conflicts]


def look(case: OneKernel, code, conflicts: bool = True) -> None:
    data = case.data()
    got, _ = simulate(case, code, data, race=True)
    assert close(got, case.expected(data)) < 1e-2
    _, report = simulate(case, code, data, count=True)
    assert any(a.space == "shared" for a in report.accesses)
    assert not conflicts or not shared_conflicts(report)


@pytest.mark.parametrize("layout", ["rows", "turned"])
@pytest.mark.parametrize(
    "name, number", [(name, k) for name, (_, tiles) in SETS.items() for k in range(len(tiles))]
)
def test_tiles(name, number, layout):
    dtype, tiles = SETS[name]
    tile = tiles[number]
    m, k, n = tile.rows, 2 * tile.depth, tile.columns
    if name == "staged":  # neither side can be copied in vectors
        m, k, n = m + 1, k + 1, n + 1
    if layout == "rows":
        case = OneKernel(matmul, [(m, k), (k, n)], dtype)
    else:
        case = OneKernel(lambda a, b: matmul(turned(a), turned(b)), [(k, m), (n, k)], dtype)
    product = find_product(case.kernel)
    look(case, ProductKernel(product, tile, memory_dtype(product), True).code())


@pytest.mark.parametrize("kind", ["conv", "conv_transpose", "conv_weight"])
def test_convolutions(kind):
    """Gathered elements may meet in a bank where lines of the image end; nothing races."""
    shapes, function = conv_case(kind, 32, 32, 9, 3, stride=2, padding=1)
    case = OneKernel(function, shapes)
    look(case, case.code(), conflicts=False)


@pytest.mark.parametrize("options", [{}, {"causal": True}], ids=["plain", "causal"])
@pytest.mark.parametrize("depth", [16, 48, 64])
@pytest.mark.parametrize("dtype", [float32, bfloat16], ids=["float32", "bfloat16"])
def test_attention(dtype, options, depth):
    types, function = attention_of(1, 2, 128, 128, depth, 64, dtype=dtype, **options)
    case = OneKernel(function, types)
    look(case, case.code())


# -- mistakes that must be noticed -----------------------------------------------------------------


def cases() -> dict[str, tuple[OneKernel, object]]:
    types, function = attention_of(1, 1, 128, 192, 32, 32)
    simt = OneKernel(matmul, [(64, 80), (80, 64)])  # the last tile lies where results go
    mma = OneKernel(matmul, [(64, 256), (256, 64)], bfloat16)
    attention = OneKernel(function, types)
    return {"simt": simt, "mma": mma, "attention": attention}


def noticed(case: OneKernel, ptx: str) -> bool:
    """Whether the simulator reports the text, or its result is wrong."""
    data = case.data()
    try:
        got, _ = simulate(case, case.code(), data, ptx=ptx, race=True)
    except SimulationError:
        return True
    return not close(got, case.expected(data)) < 1e-2


def nth_removed(text: str, pattern: str, n: int) -> str:
    spots = list(re.finditer(pattern, text))
    return text[: spots[n].start()] + text[spots[n].end() :]


@pytest.mark.parametrize("name, barriers", [("simt", 4), ("mma", 4), ("attention", 3)])
def test_every_barrier_is_needed(name, barriers):
    case = cases()[name]
    ptx = ptx_of(case.code())
    assert not noticed(case, ptx)
    pattern = r"\n\s*bar\.sync\s+0;"
    count = len(re.findall(pattern, ptx))
    assert count >= barriers - 1
    missed = [n for n in range(count) if not noticed(case, nth_removed(ptx, pattern, n))]
    assert missed == []


@pytest.mark.parametrize("name", ["simt", "mma", "attention"])
def test_waiting_for_copies_is_needed(name):
    case = cases()[name]
    ptx = ptx_of(case.code())
    changed = re.sub(r"cp\.async\.wait_group\s+\d+;", "cp.async.wait_group 7;", ptx)
    assert changed != ptx
    assert noticed(case, changed)


@pytest.mark.parametrize("name", ["simt", "mma"])
@pytest.mark.parametrize(
    "access",
    [r"ld\.shared\.v4\.b32|ldmatrix\.sync", r"st\.shared", r"st\.global"],
    ids=["read", "write", "result"],
)
def test_a_shifted_address_is_noticed(name, access):
    case = cases()[name]
    ptx = ptx_of(case.code())
    line = next(x for x in ptx.splitlines() if re.search(access, x))
    address = re.search(r"\[(%rd?\d+)(\+\d+)?\]", line)
    base, offset = address.group(1), int((address.group(2) or "+0")[1:])
    shifted = line.replace(address.group(0), f"[{base}+{offset + 16}]")
    assert noticed(case, ptx.replace(line, shifted, 1))


def test_swapped_fragments_are_noticed():
    case = cases()["mma"]
    ptx = ptx_of(case.code())
    found = re.search(r"(mma\.sync\S+\s+\{[^}]*\},\s+\{)([^,}]+), ([^,}]+),", ptx)
    swapped = ptx.replace(found.group(0), f"{found.group(1)}{found.group(3)}, {found.group(2)},", 1)
    assert noticed(case, swapped)
