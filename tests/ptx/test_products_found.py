"""Which kernels are sums of products, and how their loops are sorted."""

from __future__ import annotations

import pytest
from nncomp.backends.ptx.gemm.plan import choose_tile, memory_dtype
from nncomp.backends.ptx.gemm.product import find_product
from nncomp.ir.graph import Graph, input_node
from nncomp.ir.ops import add, exp, matmul, mul, permute, reshape, sub, sum
from nncomp.ir.passes.fuse import fuse
from nncomp.ir.types import TensorType, bfloat16, float32, int32
from product_running import PRODUCTS, OneKernel, conv_case, linear, turned


def extents(case: OneKernel) -> tuple[int, ...]:
    p = find_product(case.kernel)
    return tuple(v.extent for v in (p.batch, p.rows, p.columns, p.depth))


def test_linear_reads_the_weight_where_it_lies():
    case = OneKernel(linear, [(8, 64), (256, 64), (256,)])
    product = find_product(case.kernel)
    assert extents(case) == (1, 8, 256, 64)
    assert product.a.steps == (64, 1)
    assert product.b.steps == (64, 1)


def test_heads_are_batch():
    def scores(a):
        return matmul(permute(a, dims=(0, 2, 1, 3)), permute(a, dims=(0, 2, 3, 1)))

    assert extents(OneKernel(scores, [(4, 9, 8, 64)])) == (32, 9, 9, 64)


def test_merged_rows_are_one_walk():
    case = OneKernel(lambda x, w: matmul(reshape(x, shape=(24, 16)), w), [(2, 12, 16), (16, 40)])
    assert extents(case) == (1, 24, 40, 16)
    assert find_product(case.kernel).a.steps == (16, 1)


def test_convolution_is_a_product_of_channels_and_pixels():
    shapes, f = conv_case("conv", 8, 12, 17, 3, stride=2, padding=1)
    case = OneKernel(f, shapes)
    assert extents(case) == (1, 12, 162, 72)  # rows: channels, since pixels are neighbours
    product = find_product(case.kernel)
    assert product.a.steps == (72, 1)
    assert product.b.guard is not None and product.b.near == "side"


def test_groups_are_batch():
    shapes, f = conv_case("conv", 8, 12, 9, 3, padding=1, groups=2)
    assert extents(OneKernel(f, shapes)) == (2, 6, 162, 36)


def test_stride_leaves_no_gaps_in_the_gradient():
    shapes, f = conv_case("conv_transpose", 8, 12, 9, 4, stride=2, padding=1)
    case = OneKernel(f, shapes)
    product = find_product(case.kernel)
    assert product.depth.extent == 12 * 2 * 2  # of 4 x 4 terms a quarter
    assert product.a.guard is None or product.b.guard is None  # weights need no test


def test_gradient_of_the_weight_sums_over_images_and_places():
    shapes, f = conv_case("conv_weight", 8, 12, 9, 3, stride=2, padding=1)
    assert extents(OneKernel(f, shapes)) == (1, 12, 72, 50)


@pytest.mark.parametrize(
    "function",
    [
        lambda a, b: sum(mul(a, a), axes=(1,)),
        lambda a, b: exp(sub(a, b)),
        lambda a, b: sum(add(a, b), axes=(0,)),
    ],
    ids=["squares", "elementwise", "plain sum"],
)
def test_other_kernels_are_left_alone(function):
    found = find_product(OneKernel(function, [(32, 32), (32, 32)]).kernel)
    assert found is None or not find_product_code(function)


def find_product_code(function) -> bool:
    return OneKernel(function, [(32, 32), (32, 32)]).code() is not None


def test_integers_and_small_products_have_no_tiles():
    assert OneKernel(matmul, [(64, 64), (64, 64)], int32).code() is None
    assert OneKernel(matmul, [(1, 64), (64, 1)]).code() is None


def test_two_products_are_two_kernels():
    types = [TensorType(s, float32) for s in ((32, 32), (32, 48), (32, 48))]
    x, v, w = (input_node(f"x{i}", t) for i, t in enumerate(types))
    graph = Graph("gated", [x, v, w], [mul(matmul(x, v), matmul(x, w))])
    kernels = [n for n in fuse(graph, alone=PRODUCTS).nodes if n.name == "fused"]
    assert len(kernels) == 2
    assert len([n for n in fuse(graph).nodes if n.name == "fused"]) == 1


def test_operands_are_stored_and_epilogues_fused():
    types = [TensorType(s, float32) for s in ((32, 32), (32, 48), (32, 48))]
    x, w, b = (input_node(f"x{i}", t) for i, t in enumerate(types))
    graph = Graph("block", [x, w, b], [exp(add(matmul(exp(x), w), b))])
    kernels = [n for n in fuse(graph, alone=PRODUCTS).nodes if n.name == "fused"]
    assert [len(n.attrs["body"].nodes) for n in kernels] == [1, 3]


@pytest.mark.parametrize(
    "shapes, dtype, precision, name",
    [
        (((4096, 512), (512, 4096)), float32, "strict", "SimtTile"),
        (((4096, 512), (512, 4096)), float32, "tf32", "MmaTile"),
        (((4096, 512), (512, 4096)), bfloat16, "strict", "MmaTile"),
        (((4096, 511), (511, 4095)), bfloat16, "strict", "MmaTile"),
    ],
    ids=["float32", "tf32", "bfloat16", "bfloat16 odd"],
)
def test_large_products_get_large_tiles(shapes, dtype, precision, name):
    product = find_product(OneKernel(matmul, shapes, dtype).kernel)
    tile = choose_tile(product, memory_dtype(product), precision, True)
    assert type(tile).__name__ == name
    assert (tile.rows, tile.columns) == (128, 128)


def test_few_results_get_small_tiles():
    product = find_product(OneKernel(lambda x, w: matmul(x, turned(w)), [(64, 512)] * 2).kernel)
    tile = choose_tile(product, float32, "strict", True)
    assert tile.rows * tile.columns < 64 * 64
