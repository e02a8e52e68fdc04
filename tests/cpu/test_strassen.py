"""Strassen's method: its algebra, which products it takes, values, sharing of packed weights."""

from __future__ import annotations

import numpy as np
import pytest
from nncomp.backends import cpu
from nncomp.backends.cpu.layout import lower_contractions
from nncomp.backends.cpu.layout_strassen import products, quadrants
from nncomp.backends.cpu.target import host_target
from nncomp.ir.debug import debug
from nncomp.ir.graph import Graph, Node, build_node, input_node
from nncomp.ir.interpret import interpret
from nncomp.ir.op import OPS
from nncomp.ir.types import TensorType, float32

import nncomp
import nncomp.nn.functional as F
from nncomp import nn

ROWS, DEPTH, COLUMNS = 96, 1152, 1344
BOUND = 2e-5  # of the output's scale


class Net(nn.Module):
    """A feed-forward net with a shortcut: results stay in quadrants between its products."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(DEPTH, COLUMNS), nn.Linear(COLUMNS, DEPTH)
        self.norm = nn.LayerNorm(DEPTH)

    def forward(self, x):
        return self.norm(x + self.down(F.gelu(self.up(x))))


@pytest.fixture(scope="module")
def net() -> Net:
    nncomp.manual_seed(0)
    return Net().eval()


def run(module, x, **options) -> np.ndarray:
    with nncomp.no_grad():
        return nncomp.compile(module, options=options)(nncomp.tensor(x)).numpy()


def sample(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


def matmul_graph(rows: int, depth: int, columns: int) -> Graph:
    x = input_node("x", TensorType((rows, depth), float32))
    w = input_node("w", TensorType((depth, columns), float32))
    return Graph("layer", [x, w], [build_node(OPS["matmul"], (x, w), {})])


def contractions(graph: Graph, constant=("w",)) -> int:
    with debug(strassen=True):
        lowered = lower_contractions(graph, host_target(), constant)
    return sum(n.name == "contract" for n in lowered.nodes)


def test_the_sums_of_seven_products_are_exact_on_integers():
    graph = matmul_graph(6, 8, 10)
    a, b = (quadrants(x) for x in graph.inputs)
    made: list[Node] = []

    def multiply(x: Node, y: Node) -> Node:
        made.append(build_node(OPS["matmul"], (x, y), {}))
        return made[-1]

    result = products(a, b, multiply, lambda x, i, j: multiply(x, b[2 * i + j]))
    rng = np.random.default_rng(0)
    arrays = [rng.integers(-9, 9, x.shape).astype(np.float32) for x in graph.inputs]
    c11, c12, c21, c22 = interpret(Graph("parts", graph.inputs, list(result)), *arrays)
    np.testing.assert_array_equal(np.block([[c11, c12], [c21, c22]]), arrays[0] @ arrays[1])
    assert len(made) == 7


@pytest.mark.parametrize(
    "shape, count",
    [
        ((96, 1024, 1152), 7),
        ((128, 768, 3072), 7),
        ((97, 1024, 1152), 1),  # odd rows
        ((94, 1024, 1152), 1),  # few rows
        ((96, 256, 4608), 1),  # little depth
        ((96, 4608, 384), 1),  # few columns
        ((96, 1024, 1120), 1),  # quadrants that are no whole panels
        ((96, 1040, 1152), 1),
        ((96, 768, 768), 1),  # a small weight
        ((96, 4096, 4096), 1),  # a large one
    ],
)
def test_which_products_are_taken(shape, count):
    assert contractions(matmul_graph(*shape)) == count


def test_only_weights_that_are_prepared():
    assert contractions(matmul_graph(ROWS, DEPTH, COLUMNS), ()) == 1


def test_the_switch():
    graph = matmul_graph(ROWS, DEPTH, COLUMNS)
    plain = lower_contractions(graph, host_target(), ("w",))  # off if nobody asks for it
    assert sum(n.name == "contract" for n in plain.nodes) == 1
    assert contractions(graph) == 7


def test_values_and_the_same_bits_for_any_number_of_threads():
    graph = matmul_graph(ROWS, DEPTH, COLUMNS)
    arrays = [sample(*x.shape) for x in graph.inputs]
    with debug(strassen=True):
        runner = cpu.compile(graph, ("w",))
    prepared = runner.prepare(arrays)
    exact = arrays[0].astype(np.float64) @ arrays[1].astype(np.float64)
    one = runner(arrays, prepared, 1)[0]
    assert 0 < abs(one - exact).max() < BOUND * abs(exact).max()
    for threads in (1, 2, 3):
        np.testing.assert_array_equal(runner(arrays, prepared, threads)[0], one)


@pytest.mark.parametrize("lead", [(), (1,)], ids=["2d", "3d"])
def test_a_net_in_quadrants(net, lead):
    x = sample(*lead, ROWS, DEPTH)
    fast, plain = run(net, x, strassen=True), run(net, x, strassen=False)
    assert 0 < abs(fast - plain).max() < BOUND * abs(plain).max()


def test_bias_and_activation_join_the_products_and_the_next_reads_quadrants():
    graph = matmul_graph(ROWS, DEPTH, COLUMNS)
    x, w = graph.inputs
    v = input_node("v", TensorType((COLUMNS, DEPTH), float32))
    hidden = build_node(OPS["tanh"], (graph.outputs[0],), {})
    graph = Graph("layer", [x, w, v], [build_node(OPS["matmul"], (hidden, v), {})])
    with debug(strassen=True):
        lowered = lower_contractions(graph, host_target(), ("w", "v"))
    assert sum(n.name == "contract" for n in lowered.nodes) == 14
    assert sum(n.name == "concat" for n in lowered.nodes) == 3  # the last result alone


def test_weights_are_given_up_and_come_back(net):
    before = net.up.weight.detach().numpy().copy()
    model = Net().eval()
    model.load_state_dict(net.state_dict())
    run(model, sample(ROWS, DEPTH), strassen=True)
    assert model.up.weight._released is not None
    np.testing.assert_array_equal(model.up.weight.detach().numpy(), before)
