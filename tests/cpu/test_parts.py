"""Products whose columns are read in parts, as the gates of a cell are: one kernel for all."""

from __future__ import annotations

import numpy as np
import pytest
from nncomp.backends import cpu
from nncomp.ir.graph import Graph, input_node
from nncomp.ir.ops import add, matmul, mul, reshape, sigmoid, slice, tanh
from nncomp.ir.types import TensorType, dtype_of_name
from running import check

import nncomp
from nncomp import nn
from nncomp.nn import functional as F


def input_of(*shape, name, dtype="f32"):
    return input_node(name, TensorType(shape, dtype_of_name(dtype)))


def operands(graph, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.uniform(-1, 1, n.shape).astype(n.dtype.numpy) for n in graph.inputs]


def fused(graph):
    return [n for n in cpu.compile(graph).fused_graph.nodes if n.name == "fused"]


def parts_of(x, count):
    """The parts of a matrix along its last axis."""
    *rows, columns = x.shape
    width = columns // count
    none, ones = (0,) * len(rows), (1,) * (len(rows) + 1)
    return [
        slice(x, start=(*none, k * width), stop=(*rows, (k + 1) * width), step=ones)
        for k in range(count)
    ]


def gated(rows, depth, width, count, dtype="f32"):
    x = input_of(rows, depth, name="x", dtype=dtype)
    w = input_of(depth, count * width, name="w", dtype=dtype)
    y = input_of(rows, count * width, name="y", dtype=dtype)
    first, *rest = parts_of(add(matmul(x, w), y), count)
    result = tanh(first)
    for part in rest:
        result = mul(result, sigmoid(part))
    return Graph("g", [x, w, y], [result])


@pytest.mark.parametrize("rows", (1, 4, 37))
@pytest.mark.parametrize("width", (16, 20, 50, 64, 200))
@pytest.mark.parametrize("count", (2, 3, 5))
def test_widths_and_rows(rows, width, count):
    """Also widths that end within a vector, where the right operand is read as it lies."""
    graph = gated(rows, 24, width, count)
    (kernel,) = fused(graph)
    assert kernel.attrs["kind"] == "contract"
    check(graph, operands(graph))


@pytest.mark.parametrize("dtype", ("f64", "f16", "bf16"))
def test_other_types(dtype):
    graph = gated(7, 40, 64, 3, dtype)
    check(graph, operands(graph))


def test_a_part_that_is_not_read_or_overlaps():
    """Then the product is stored, and read as it is needed."""
    x, w = input_of(5, 24, name="x"), input_of(24, 96, name="w")
    whole = matmul(x, w)
    first, second, _ = parts_of(whole, 3)
    between = slice(whole, start=(0, 16), stop=(5, 48), step=(1, 1))
    for graph in (
        Graph("g", [x, w], [mul(first, second)]),
        Graph("g", [x, w], [mul(first, between)]),
    ):
        assert len(fused(graph)) == 2
        check(graph, operands(graph))


def test_a_product_that_others_read_too_is_stored():
    x, w = input_of(5, 24, name="x"), input_of(24, 64, name="w")
    whole = matmul(x, w)
    first, second = parts_of(whole, 2)
    graph = Graph("g", [x, w], [mul(first, second), whole])
    assert len(fused(graph)) == 2
    check(graph, operands(graph))


def test_further_results_of_the_epilogue():
    x, w = input_of(9, 24, name="x"), input_of(24, 128, name="w")
    first, second = map(sigmoid, parts_of(matmul(x, w), 2))
    graph = Graph("g", [x, w], [mul(first, second), first, second])
    (kernel,) = fused(graph)
    assert len(kernel.attrs["body"].outputs) == 3
    check(graph, operands(graph))


def test_rows_of_several_axes():
    x, w = input_of(3, 5, 24, name="x"), input_of(24, 64, name="w")
    whole = reshape(matmul(reshape(x, shape=(15, 24)), w), shape=(3, 5, 64))
    first, second = parts_of(whole, 2)
    graph = Graph("g", [x, w], [mul(tanh(first), second)])
    check(graph, operands(graph))


@pytest.mark.parametrize("kind", (nn.LSTM, nn.GRU))
@pytest.mark.parametrize("hidden", (12, 32, 96))
def test_a_turn_of_a_recurrent_layer(kind, hidden):
    """One kernel where panels of the packed weight hold columns of one gate."""
    nncomp.manual_seed(0)
    layer = kind(8, hidden, bidirectional=True).requires_grad_(False)
    x = nncomp.randn(7, 3, 8)
    compiled = nncomp.compile(layer)
    for got, expected in zip(compiled(x), layer(x), strict=True):
        got, expected = (
            np.concatenate([np.ravel(np.array(t)) for t in (a if isinstance(a, tuple) else (a,))])
            for a in (got, expected)
        )
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


def test_threads_give_the_same_bits():
    layer = nn.LSTM(16, 64).requires_grad_(False)
    x = nncomp.randn(6, 24, 16)
    results = [np.array(nncomp.compile(layer, threads=n)(x)[0]) for n in (1, 2, 3)]
    for other in results[1:]:
        np.testing.assert_array_equal(results[0], other)


class Gated(nn.Module):
    """A product of a linear layer and a gate."""

    def __init__(self):
        super().__init__()
        self.up = nn.Linear(24, 128)

    def forward(self, x):
        return F.glu(self.up(x), dim=-1)


def test_a_gated_linear_layer_is_one_kernel():
    net = Gated().requires_grad_(False)
    x = nncomp.randn(2, 10, 24)
    compiled = nncomp.compile(net)
    np.testing.assert_allclose(np.array(compiled(x)), np.array(net(x)), rtol=1e-5, atol=1e-6)
    (kernel,) = (n for n in compiled.fused_graph.nodes if n.name == "fused")
    assert kernel.attrs["kind"] == "contract"


def test_gradients_through_a_gated_layer():
    x, w = nncomp.randn(6, 24), nncomp.randn(24, 128)

    def gradient(w):
        return nncomp.func.grad(lambda v: F.glu(x @ v, dim=-1).square().sum())(w)

    got, expected = nncomp.compile(gradient)(w), gradient(w)
    np.testing.assert_allclose(np.array(got), np.array(expected), rtol=1e-4, atol=1e-4)
