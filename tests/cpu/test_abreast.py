"""Concats of operands of one shape, which one kernel computes side by side."""

from __future__ import annotations

import numpy as np
import pytest
from nncomp.backends import cpu
from nncomp.ir.abreast import is_abreast
from nncomp.ir.graph import Graph, input_node
from nncomp.ir.ops import add, concat, exp, matmul, mul, permute, sigmoid, slice
from nncomp.ir.types import TensorType, dtype_of_name
from running import check

import nncomp
from nncomp import nn


def input_of(*shape, name="x", dtype="f32"):
    return input_node(name, TensorType(shape, dtype_of_name(dtype)))


def operands(graph, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(-9, 9, n.shape).astype(n.dtype.numpy) for n in graph.inputs]


def kernels(graph):
    return [s.kernel for s in cpu.compile(graph).program.steps]


@pytest.mark.parametrize("dtype", ("f32", "f16", "bf16", "i64", "u8"))
@pytest.mark.parametrize("axis", (0, 1, 2))
@pytest.mark.parametrize("count", (2, 3, 4))
def test_all_parts_are_written(count, axis, dtype):
    x = input_of(3, 5, 37, dtype=dtype)
    parts = [mul(x, x), add(x, x), x, add(mul(x, x), x)][:count]
    graph = Graph("g", [x], [concat(*parts, axis=axis)])
    assert is_abreast(graph.outputs[0])
    (kernel,) = kernels(graph)
    assert len(kernel.stores) == count
    check(graph, operands(graph))


def test_what_is_selected_as_before():
    x, y, narrow = input_of(6, 40), input_of(6, 41, name="y"), input_of(6, 1)
    for node in (concat(x, y, axis=1), concat(narrow, narrow, axis=1), concat(x, axis=0)):
        assert not is_abreast(node)
    graph = Graph("g", [x, y], [concat(exp(x), y, axis=1)])
    check(graph, operands(graph))


def test_a_shared_value_is_a_further_result():
    """It is computed once, and stored beside the concat that is made of it."""
    x, y = input_of(4, 48), input_of(4, 48, name="y")
    shared = sigmoid(x)
    graph = Graph("g", [x, y], [concat(mul(shared, y), exp(shared), axis=1), shared])
    (kernel,) = kernels(graph)
    assert kernel.outputs == 2 and len(kernel.stores) == 3
    check(graph, operands(graph))


def test_the_result_takes_no_dying_operand():
    """Its elements are written at several places at once, so nothing is written over."""
    x = input_of(8, 64)
    whole = exp(x)  # stored, as two kernels read all of it
    halves = [slice(whole, start=(0, n), stop=(8, n + 32), step=(1, 1)) for n in (32, 0)]
    turned = matmul(whole, permute(whole, dims=(1, 0)))
    graph = Graph("g", [x], [turned, mul(concat(*halves, axis=1), concat(*halves, axis=1))])
    check(graph, [a / 9 for a in operands(graph)])


def test_an_operand_with_other_strides():
    x, y = input_of(24, 40), input_of(40, 24, name="y")
    graph = Graph("g", [x, y], [concat(permute(x, dims=(1, 0)), exp(y), axis=0)])
    check(graph, operands(graph))


def test_gates_backwards_are_one_kernel():
    """The gradient of a cell: its parts for all gates in one pass, from what the turn kept."""
    layer = nn.LSTM(16, 32)
    x = nncomp.randn(5, 4, 16)
    step = nncomp.compile_train_step(
        layer, lambda y, t: ((y[0] - t) ** 2).mean(),
        nncomp.optim.SGD(layer.parameters(), lr=0.1),
    )  # fmt: skip
    step(x, nncomp.zeros(5, 4, 32))
    ((program,),) = step.programs.values()
    back = [n for n in program.fused_graph.nodes if n.name == "scan"][-1].attrs["body"]
    cell, product, *rest = (n for n in back.nodes if n.name == "fused")
    assert cell.attrs["body"].outputs[0].shape == (4, 128)  # all gates
    assert product.attrs["kind"] == "contract" and len(rest) <= 1
    names = {x.name for n in back.nodes if n.name == "fused" for x in n.attrs["body"].nodes}
    assert names.isdisjoint(("sigmoid", "tanh", "pad"))
    assert all(x.name != "weight_hh" for x in back.inputs)  # only packed
