"""Products whose left operand lies transposed, as in gradients of weights, and what reads them."""

from __future__ import annotations

import numpy as np
import pytest
from nncomp.backends import cpu
from nncomp.backends.cpu.layout import lower_contractions
from nncomp.backends.cpu.target import host_target
from nncomp.ir.graph import Graph, Node, input_node
from nncomp.ir.interpret import interpret
from nncomp.ir.ops import expand, matmul, mul, permute, sqrt
from nncomp.ir.passes import cse, simplify
from nncomp.ir.types import TensorType, float32
from running import assert_same


def x_of(*shape: int, name: str = "x") -> Node:
    return input_node(name, TensorType(shape, float32))


def turned(x: Node) -> Node:
    return permute(x, dims=(1, 0))


def check(graph: Graph, scale: float = 20.0) -> None:
    """Machine code gives what the interpreter gives, the same bits from one thread and from two."""
    rng = np.random.default_rng(0)
    arrays = [rng.uniform(-1, 1, n.shape).astype(np.float32) for n in graph.inputs]
    runner = cpu.compile(graph)
    alone, both = (runner([a.copy() for a in arrays], threads=n) for n in (1, 2))
    assert_same(alone, interpret(graph, *arrays), scale)
    assert [a.tobytes() for a in alone] == [b.tobytes() for b in both]


def contracts(graph: Graph) -> list[Node]:
    lowered = cse(simplify(lower_contractions(graph, host_target())))
    return [n for n in lowered.nodes if n.name == "contract"]


def test_a_product_that_several_nodes_read_transposed_is_made_transposed():
    a, b, m = x_of(64, 96, name="a"), x_of(96, 48, name="b"), x_of(48, 64, name="m")
    product = turned(matmul(a, b))
    graph = Graph("g", [a, b, m], [product + m, product * product])
    (node,) = contracts(graph)
    assert node.shape == (48, 64)
    check(graph)


def test_a_product_that_is_a_result_itself_stays():
    a, b = x_of(64, 96, name="a"), x_of(96, 48, name="b")
    product = matmul(a, b)
    graph = Graph("g", [a, b], [product, turned(product) * 2.0])
    (node,) = contracts(graph)
    assert node.shape == (64, 48)
    check(graph)


@pytest.mark.parametrize("rows, panel", [(1024, 32), (1008, 16), (1001, 0), (256, 0)])
def test_long_rows_of_a_left_operand_go_into_panels(rows, panel):
    x, g = x_of(96, rows), x_of(96, 160, name="g")
    graph = Graph("g", [x, g], [matmul(turned(x), g) * 2.0])
    (node,) = contracts(graph)
    assert node.shape == (rows, 160)
    assert node.attrs.get("merged", False) == (panel > 0)
    if panel:
        assert node.attrs["m"] == ((rows // panel, 96 * panel), (panel, 1))
        assert node.attrs["k"][0][1] == panel
    check(graph)


def update(p: Node, m: Node, v: Node, g: Node) -> list[Node]:
    """An update in the manner of Adam: many operands, a long epilogue."""
    m = m * 0.9 + g * 0.1
    v = v * 0.99 + mul(g, g) * 0.01
    return [p - m * 0.5 / (sqrt(v) + 1e-3), m, v]


@pytest.mark.parametrize("rows", [1024, 100])
def test_an_update_joins_the_product_of_its_gradient(rows):
    x, g = x_of(64, rows), x_of(64, 130, name="g")
    state = [x_of(rows, 130, name=name) for name in "pm"]
    factor, square = x_of(1, 1, name="factor"), x_of(rows, 130, name="v")
    spread = permute(factor, dims=(0, 1))
    gradient = matmul(turned(x), g) * expand(spread, shape=(rows, 130))
    outputs = update(*state, square * square, gradient)
    graph = Graph("g", [x, g, *state, square, factor], outputs)
    kernels = cpu.compile(graph).program.kernels()
    assert [k.kind for k in kernels if k.kind != "map"] == ["contract"]
    (kernel,) = (k for k in kernels if k.kind == "contract")
    assert kernel.outputs == 3
    check(graph, scale=200)
