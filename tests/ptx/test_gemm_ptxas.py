"""NVIDIA's assembler takes the product kernels, and keeps all their values in registers."""

from __future__ import annotations

import pytest
from nncomp.backends.ptx import ptxas
from nncomp.backends.ptx.gemm.plan import choose_tile, memory_dtype
from nncomp.backends.ptx.gemm.product import find_product
from nncomp.backends.ptx.lint import lint
from nncomp.ir.ops import add, erf, matmul, mul
from nncomp.ir.types import bfloat16, float16, float32, float64
from product_running import OneKernel, conv_case, linear, ptx_of
from test_gemm_attention import attention_of

SQUARE = [(4096, 4096)] * 2
LINEAR = [(4096, 4096), (4096, 4096), (4096,)]
SMALL = [(256, 768), (768, 768), (768,)]


def gelu(x, w, b):
    y = linear(x, w, b)
    return mul(y, add(erf(y), y))


def convolution(kind, dtype=float32, **g):
    shapes, function = conv_case(kind, 128, 128, 28, 3, images=32, padding=1, **g)
    return function, shapes, dtype


def attention(depth, **options):
    types, function = attention_of(8, 12, 1024, 1024, depth, depth, **options)
    return function, types, options.get("dtype", float32)


# name: (function, shapes, dtype), precision, registers at most on sm_80
CASES = {
    "matmul float32": ((matmul, SQUARE, float32), "strict", 128),
    "linear float32": ((linear, LINEAR, float32), "strict", 128),
    "linear gelu float32": ((gelu, LINEAR, float32), "strict", 128),
    "linear float32 small": ((linear, SMALL, float32), "strict", 96),
    "matmul float64": ((matmul, SQUARE, float64), "strict", 128),
    "matmul tf32": ((matmul, SQUARE, float32), "tf32", 255),
    "matmul tf32x3": ((matmul, SQUARE, float32), "tf32x3", 255),
    "linear tf32x3": ((linear, LINEAR, float32), "tf32x3", 255),
    "matmul bfloat16": ((matmul, SQUARE, bfloat16), "strict", 255),
    "linear bfloat16": ((linear, LINEAR, bfloat16), "strict", 255),
    "matmul float16": ((matmul, SQUARE, float16), "strict", 255),
    "linear bfloat16 small": ((linear, SMALL, bfloat16), "strict", 160),
    "conv float32": (convolution("conv"), "strict", 160),
    "conv stride float32": (convolution("conv", stride=2), "strict", 160),
    "conv_transpose float32": (convolution("conv_transpose", stride=2), "strict", 160),
    "conv_weight float32": (convolution("conv_weight"), "strict", 160),
    "conv tf32": (convolution("conv"), "tf32", 255),
    "conv bfloat16": (convolution("conv", bfloat16), "strict", 168),
    "conv_transpose bfloat16": (convolution("conv_transpose", bfloat16), "strict", 168),
    "conv_weight bfloat16": (convolution("conv_weight", bfloat16), "strict", 168),
    "attention 64": (attention(64), "strict", 200),
    "attention 64 causal": (attention(64, causal=True), "strict", 200),
    "attention 128 causal": (attention(128, causal=True), "strict", 255),
    "attention 64 bfloat16": (attention(64, dtype=bfloat16), "strict", 200),
    "attention 128 float16": (attention(128, dtype=float16), "strict", 255),
}


@pytest.mark.parametrize("arch", ["sm_80", "sm_90", "sm_100"])
@pytest.mark.parametrize("name", CASES)
def test_registers_and_no_spills(name, arch):
    if ptxas.find() is None:
        pytest.skip("ptxas is not installed")
    (function, shapes, dtype), precision, budget = CASES[name]
    case = OneKernel(function, shapes, dtype)
    (usage,) = ptxas.assemble(ptx_of(case.code(precision)), arch).kernels.values()
    assert usage.spill_stores == usage.spill_loads == usage.stack == 0
    assert usage.registers <= (budget if arch == "sm_80" else 255)


@pytest.mark.parametrize("name", CASES)
def test_lint(name):
    (function, shapes, dtype), precision, _ = CASES[name]
    text = ptx_of(OneKernel(function, shapes, dtype).code(precision))
    allowed = ["registers"]  # ptxas needs fewer than are alive in the text
    allowed += ["double"] * (dtype is float64) + ["approx"] * (dtype.itemsize == 2)
    assert [str(f) for f in lint(text, allow=allowed)] == []


def table() -> str:
    """The rows of docs/gpu.md: tile, shared memory and registers of each case."""
    rows = ["| kernel | tile | threads | shared bytes | registers sm_80 | sm_90 | sm_100 |"]
    rows.append("|---|---|---|---|---|---|---|")
    for name, ((function, shapes, dtype), precision, _) in CASES.items():
        case = OneKernel(function, shapes, dtype)
        code = case.code(precision)
        text = ptx_of(code)
        made = [ptxas.assemble(text, arch) for arch in ("sm_80", "sm_90", "sm_100")]
        usages = [next(iter(m.kernels.values())) for m in made]
        (launch,) = code.launches
        product = find_product(case.kernel) if case.kernel.kind == "map" else None
        tile = choose_tile(product, memory_dtype(product), precision, True) if product else None
        size = f"{tile.rows}x{tile.columns}x{tile.depth}" if tile else "64 queries x 64 keys"
        shared = launch.shared or usages[0].shared
        registers = " | ".join(str(u.registers) for u in usages)
        rows.append(f"| {name} | {size} | {launch.block[0]} | {shared} | {registers} |")
    return "\n".join(rows)


if __name__ == "__main__":
    print(table())
