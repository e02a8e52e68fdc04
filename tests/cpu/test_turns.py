"""First turns of loops that begin with zeros, and last turns whose carries nobody reads."""

from __future__ import annotations

import numpy as np
import pytest
from nncomp.backends import cpu
from nncomp.ir.graph import Graph, Node, build_node, input_node
from nncomp.ir.interpret import interpret
from nncomp.ir.op import OPS
from nncomp.ir.program import LoopStep
from nncomp.ir.types import TensorType, float32
from running import assert_same, run_compiled

import nncomp
from nncomp import nn

ROWS, WIDTH = 4, 256  # a product of 2**18 multiplications


def f32(*shape: int) -> TensorType:
    return TensorType(shape, float32)


def op(name: str, *inputs: Node, **attrs) -> Node:
    return build_node(OPS[name], inputs, attrs)


def layer(length: int, reverse: bool, final: bool, value: float = 0.0) -> Graph:
    """h' = tanh(x + h w), s' = s h' w: from `value`s; `final`: the last s is a result, too."""
    h, s = input_node("h", f32(ROWS, WIDTH)), input_node("s", f32(ROWS, WIDTH))
    w, x = input_node("w", f32(WIDTH, WIDTH)), input_node("x", f32(ROWS, WIDTH))
    new = op("tanh", op("add", x, op("matmul", h, w)))
    total = op("mul", s, op("matmul", new, w))
    body = Graph("body", [h, s, w, x], [new, total, new])
    start = build_node(OPS["full"], (), dict(shape=(ROWS, WIDTH), value=value, dtype=float32))
    w, x = input_node("w", f32(WIDTH, WIDTH)), input_node("x", f32(length, ROWS, WIDTH))
    ones = build_node(OPS["full"], (), dict(shape=(ROWS, WIDTH), value=1.0, dtype=float32))
    attrs = dict(body=body, carries=2, consts=1, length=length, reverse=reverse)
    _, last, ys = build_node(OPS["scan"], (start, ones, w, x), attrs)
    return Graph("layer", [w, x], [ys, last] if final else [ys])


def arrays_for(graph: Graph) -> list[np.ndarray]:
    r = np.random.default_rng(0)
    return [r.standard_normal(n.shape).astype(np.float32) * 0.1 for n in graph.inputs]


def products(graph: Graph) -> int:
    """How many times a run computes a product."""
    count = 0
    for step in cpu.compile(graph).program.steps:
        inner = step.steps if isinstance(step, LoopStep) else [step]
        turns = step.length if isinstance(step, LoopStep) else 1
        count += turns * sum(s.kernel.kind == "contract" for s in inner)
    return count


@pytest.mark.parametrize("reverse", (False, True))
@pytest.mark.parametrize("length", (1, 2, 3, 4, 5, 8))
def test_results_of_all_lengths(length, reverse):
    for final in (False, True):
        for value in (0.0, 0.5):
            graph = layer(length, reverse, final, value)
            arrays = arrays_for(graph)
            assert_same(run_compiled(graph, arrays), interpret(graph, *arrays))


@pytest.mark.parametrize("length", (4, 5))
def test_products_that_are_not_computed(length):
    """With zeros in the first turn; for a carry that is not read in the last one."""
    assert products(layer(length, False, True, 0.5)) == 2 * length
    assert products(layer(length, False, True)) == 2 * length - 1
    assert products(layer(length, True, False)) == 2 * length - 2


def test_a_weight_that_is_nan_shows():
    graph = layer(3, False, False)
    w, x = arrays_for(graph)
    w[0, 0] = np.nan
    (ys,) = run_compiled(graph, [w, x])
    assert np.isnan(ys[1:, :, 0]).all() and np.isfinite(ys[0]).all()


@pytest.mark.parametrize("kind", (nn.LSTM, nn.GRU, nn.RNN))
@pytest.mark.parametrize("given", (False, True))
def test_gradients_of_recurrent_layers(kind, given):
    """With a first state that is zero, and with one that is given and needs a gradient."""
    nncomp.manual_seed(0)
    net, x = kind(8, WIDTH, bidirectional=True), nncomp.randn(5, ROWS, 8)
    state = nncomp.randn(2, ROWS, WIDTH)

    def loss(x, state, *weights):
        named = dict(zip((n for n, _ in net.named_parameters()), weights, strict=True))
        first = (state, state) if kind is nn.LSTM else state
        arguments = (x, first) if given else (x,)
        return nncomp.func.functional_call(net, named, arguments)[0].square().mean()

    weights = [p.detach() for p in net.parameters()]
    every = tuple(range(2 + len(weights))) if given else (0, *range(2, 2 + len(weights)))
    gradient = nncomp.func.grad(loss, argnums=every)
    got, expected = nncomp.compile(gradient)(x, state, *weights), gradient(x, state, *weights)
    for a, b in zip(got, expected, strict=True):
        scale = float(np.abs(np.array(b)).max())
        np.testing.assert_allclose(np.array(a), np.array(b), rtol=1e-3, atol=1e-5 * scale)


def gates_gradient(length: int, reverse: bool, value: float, other: bool) -> Graph:
    """The sum of h^T g over all turns, where h is the state before each turn."""
    graph = layer(length, reverse, False, value)
    (get,) = graph.outputs
    scan = get.inputs[0]
    body = scan.attrs["body"]
    keeping = Graph("keep", body.inputs, [*body.outputs, body.inputs[0]])
    _, _, ys, before = build_node(OPS["scan"], scan.inputs, {**scan.attrs, "body": keeping})
    g = input_node("g", f32(length, ROWS, 48))
    p, q = (op("reshape", x, shape=(length * ROWS, x.shape[-1])) for x in (before, g))
    p, q = (q, p) if other else (p, q)
    return Graph("g", [*graph.inputs, g], [op("matmul", op("permute", p, dims=(1, 0)), q), ys])


@pytest.mark.parametrize("reverse", (False, True))
@pytest.mark.parametrize("length", (2, 3, 6))
def test_products_with_the_history_of_a_state(length, reverse):
    for other in (False, True):
        for value in (0.0, 0.5):
            graph = gates_gradient(length, reverse, value, other)
            arrays = arrays_for(graph)
            assert_same(run_compiled(graph, arrays), interpret(graph, *arrays))


def test_a_history_of_zeros_and_results_is_not_kept():
    for value, count in ((0.0, 3), (0.5, 4)):
        fused = cpu.compile(gates_gradient(6, False, value, False)).fused_graph
        (scan,) = (n for n in fused.nodes if n.name == "scan")
        assert len(scan.attrs["body"].outputs) == count


def test_panels_of_a_part_of_a_left_operand():
    """A transposed operand without its first rows: the whole one goes into panels."""
    x, y = input_node("x", f32(100, 512)), input_node("y", f32(100, 128))
    parts = [op("slice", n, start=(4, 0), stop=(100, n.shape[1]), step=(1, 1)) for n in (x, y)]
    whole = op("matmul", op("permute", x, dims=(1, 0)), y)
    part = op("matmul", op("permute", parts[0], dims=(1, 0)), parts[1])
    graph = Graph("g", [x, y], [whole, part])
    arrays = arrays_for(graph)
    assert_same(run_compiled(graph, arrays), interpret(graph, *arrays))
    kernels = [s.kernel.kind for s in cpu.compile(graph).program.steps]
    assert kernels.count("map") == 1 and kernels.count("contract") == 2
