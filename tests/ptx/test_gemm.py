"""Products on the PTX simulator: every tile, layout and precision against numpy."""

from __future__ import annotations

import numpy as np
import pytest
from nncomp.backends.ptx.gemm.plan import (
    MMA,
    MMA_STAGED,
    SIMT,
    SIMT_DOUBLE,
    memory_dtype,
)
from nncomp.backends.ptx.gemm.product import find_product
from nncomp.backends.ptx.gemm.product_kernel import ProductKernel
from nncomp.ir.ops import add, cast, exp, le, matmul, maximum, mul, permute, where
from nncomp.ir.types import TensorType, bfloat16, float16, float32, float64
from product_running import OneKernel, close, linear, simulate, turned

ALLOWED = {"float32": 2e-6, "float64": 1e-14, "float16": 2e-3, "bfloat16": 1e-2}
TILES = {
    "float32": [tile for tile, _ in SIMT],
    "float64": [tile for tile, _ in SIMT_DOUBLE],
    "bfloat16": [tile for tile, _ in (*MMA, *MMA_STAGED)],
}


def check(case: OneKernel, precision: str = "strict", allowed: float = 0, aligned: bool = True):
    data = case.data()
    code = case.code(precision, aligned)
    assert code is not None
    got, _ = simulate(case, code, data)
    dtype = got.dtype.name
    assert close(got, case.expected(data)) <= (allowed or ALLOWED[dtype])


@pytest.mark.parametrize(
    "name, number",
    [(name, k) for name, tiles in TILES.items() for k in range(len(tiles))],
)
def test_every_tile(name, number):
    dtype = {"float32": float32, "float64": float64, "bfloat16": bfloat16}[name]
    tile = TILES[name][number]
    shape = tile.rows + 8, tile.depth * 2 + 8, tile.columns + 8
    case = OneKernel(matmul, [shape[:2], shape[1:]], dtype)
    product = find_product(case.kernel)
    data = case.data()
    code = ProductKernel(product, tile, memory_dtype(product), True).code()
    got, _ = simulate(case, code, data)
    assert close(got, case.expected(data)) <= ALLOWED[name]


@pytest.mark.parametrize("dtype", [float32, float64, float16, bfloat16], ids=str)
@pytest.mark.parametrize("left", ["rows", "turned"])
@pytest.mark.parametrize("right", ["rows", "turned"])
@pytest.mark.parametrize("sizes", [(40, 64, 72), (37, 45, 51)], ids=["even", "odd"])
def test_layouts(dtype, left, right, sizes):
    m, k, n = sizes
    a = (m, k) if left == "rows" else (k, m)
    b = (k, n) if right == "rows" else (n, k)

    def function(x, y):
        x = turned(x) if left == "turned" else x
        return matmul(x, turned(y) if right == "turned" else y)

    check(OneKernel(function, [a, b], dtype))


@pytest.mark.parametrize(
    "precision, allowed", [("tf32", 2e-3), ("tf32x3", 2e-6)], ids=["tf32", "tf32x3"]
)
@pytest.mark.parametrize("layout", ["rows", "turned", "odd"])
def test_tensor_cores_for_float32(precision, allowed, layout):
    m, k, n = (37, 45, 51) if layout == "odd" else (40, 64, 72)
    function = (lambda x, y: matmul(x, turned(y))) if layout == "turned" else matmul
    case = OneKernel(function, [(m, k), (n, k) if layout == "turned" else (k, n)])
    check(case, precision, allowed)
    if precision == "tf32":  # it really rounds: the same data is not strict
        data = case.data()
        got, _ = simulate(case, case.code(precision), data)
        assert close(got, case.expected(data)) > 1e-5


def test_batches_and_heads():
    def scores(a):
        return matmul(permute(a, dims=(0, 2, 1, 3)), permute(a, dims=(0, 2, 3, 1)))

    check(OneKernel(scores, [(2, 20, 3, 16)]))
    check(OneKernel(matmul, [(3, 20, 17), (3, 17, 40)]))


def test_epilogue_with_a_row_a_column_and_a_whole_operand():
    def function(x, w, b, r):
        y = add(linear(x, w, b), r)
        return where(le(y, r), mul(y, exp(r)), maximum(y, r))

    check(OneKernel(function, [(40, 32), (36, 32), (36,), (40, 36)]))


def test_half_factors_of_a_float_product_stay_half_until_they_are_multiplied():
    case = OneKernel(
        lambda x, y: matmul(cast(x, dtype=float32), cast(y, dtype=float32)),
        [(40, 64), (64, 40)],
        bfloat16,
    )
    assert memory_dtype(find_product(case.kernel)) is bfloat16
    check(case, allowed=2e-6)


def test_mixed_factors_are_multiplied_in_float():
    types = [TensorType((40, 64), bfloat16), TensorType((64, 40), float32)]
    check(OneKernel(lambda x, y: matmul(cast(x, dtype=float32), y), types))


def test_buffers_without_alignment():
    case = OneKernel(lambda x, y: matmul(x, turned(y)), [(40, 64), (40, 64)])
    check(case, aligned=False)
    check(OneKernel(matmul, [(40, 64), (64, 40)], bfloat16), aligned=False)


def test_not_a_number_and_infinity_stay_where_they_belong():
    case = OneKernel(matmul, [(40, 45), (45, 40)])
    data = case.data()
    data[0][39, 44] = np.inf
    data[1][44, 39] = np.nan
    got, _ = simulate(case, case.code(), data)
    assert np.isnan(got[:, 39]).all() and np.isinf(got[39, :39]).all()
    assert np.isfinite(got[:39, :39]).all()


def test_strict_products_are_summed_in_order():
    """One rounding per term, terms in order: the same bits as a loop of fused multiply-adds."""
    case = OneKernel(matmul, [(40, 50), (50, 40)])
    data = case.data()
    got, _ = simulate(case, case.code(), data)
    a, b = (x.astype(np.float64) for x in data)
    total = np.zeros((40, 40), np.float32)
    for k in range(50):  # float64 holds the product of two float32 exactly
        total = (a[:, k : k + 1] * b[k] + total).astype(np.float32)
    assert np.mean(got == total) > 0.999  # float64 rounds the sum once more, rarely seen


@pytest.mark.parametrize("precision", ["fast", "TF32", ""])
def test_unknown_precision_is_an_error(precision):
    with pytest.raises(ValueError, match="expected one of strict, tf32, tf32x3"):
        OneKernel(matmul, [(40, 50), (50, 40)]).code(precision)
