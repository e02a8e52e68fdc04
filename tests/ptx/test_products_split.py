"""Long sums in parts: the same numbers, more results at a time, a fixed order."""

from __future__ import annotations

import numpy as np
import pytest
from nncomp.backends.ptx.gemm.split import parts_of, split_products
from nncomp.ir.graph import Graph, input_node
from nncomp.ir.interpret import interpret
from nncomp.ir.ops import matmul
from nncomp.ir.types import TensorType, bfloat16, float32
from product_running import close, conv_case

CASES = {
    "matmul": ([(32, 4096), (4096, 32)], matmul),
    "one row": ([(1, 1024), (1024, 96)], matmul),
    "batched": ([(2, 32, 4096), (2, 4096, 32)], matmul),
    "conv": conv_case("conv", 256, 32, 9, 3, images=1, stride=2, padding=1),
    "conv_transpose": conv_case("conv_transpose", 32, 256, 9, 3, images=1, stride=2, padding=1),
    "conv_weight": conv_case("conv_weight", 16, 32, 17, 3, images=16, stride=2, padding=1),
    "conv_weight groups": conv_case("conv_weight", 16, 32, 17, 3, 16, padding=1, groups=2),
}


def graph_of(shapes, function, dtype=float32) -> Graph:
    inputs = [input_node(f"x{i}", TensorType(tuple(s), dtype)) for i, s in enumerate(shapes)]
    return Graph("case", inputs, [function(*inputs)])


@pytest.mark.parametrize("dtype", [float32, bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("name", CASES)
def test_parts_add_up(name, dtype):
    graph = graph_of(*CASES[name], dtype)
    split = split_products(graph)
    assert any(n.name == "sum" for n in split.nodes)
    assert split.outputs[0].type == graph.outputs[0].type
    rng = np.random.default_rng(0)
    data = [rng.standard_normal(x.shape).astype(x.dtype.numpy) for x in graph.inputs]
    (wanted,), (got,) = interpret(graph, *data), interpret(split, *data)
    assert close(got, wanted) < (2e-6 if dtype is float32 else 8e-3)


@pytest.mark.parametrize(
    "shapes",
    [[(1024, 4096), (4096, 1024)], [(32, 200), (200, 32)], [(1, 4096), (4096, 4096)]],
    ids=["many results", "short sums", "blocks enough"],
)
def test_left_alone(shapes):
    graph = graph_of(shapes, matmul)
    assert split_products(graph) is graph


def test_parts_divide_the_axis():
    assert parts_of(1, 4096, 4096) == 16
    assert parts_of(1, 4099, 4099) == 1  # a prime
    assert parts_of(200, 4096, 4096) == 1
