"""Strassen's method: sums, kernels of all shapes, which products are taken, values, threads."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nncomp.backends import cpu
from nncomp.backends.cpu import layout_strassen
from nncomp.backends.cpu import target as targets
from nncomp.backends.cpu.layout import lower_contractions
from nncomp.backends.cpu.target import host_target
from nncomp.ir.debug import debug
from nncomp.ir.graph import Graph, build_node, input_node
from nncomp.ir.interpret import interpret
from nncomp.ir.op import OPS
from nncomp.ir.types import TensorType, float32
from nncomp.ir.work import graph_flops
from running import run_kernels

import nncomp
import nncomp.nn.functional as F
from nncomp import nn

DEPTH, COLUMNS = 768, 960
SIZES = ("ROWS", "DEPTH", "COLUMNS", "WORK")  # limits of the rule
BOUND = 2e-5  # of the output's scale


class Net(nn.Module):
    """A feed-forward net with a shortcut, normalized in front."""

    def __init__(self, norm: bool = True) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(DEPTH) if norm else nn.Identity()
        self.up, self.down = nn.Linear(DEPTH, COLUMNS), nn.Linear(COLUMNS, DEPTH)

    def forward(self, x):
        return x + self.down(F.gelu(self.up(self.norm(x))))


@pytest.fixture(scope="module")
def net() -> Net:
    nncomp.manual_seed(0)
    return Net().eval().requires_grad_(False)


@pytest.fixture
def any_size(monkeypatch):
    """Products of all sizes are taken."""
    for name in SIZES:
        monkeypatch.setattr(layout_strassen, name, 2)


def sample(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


def compiled(module, x: np.ndarray, strassen=None):
    """(a compiled module, its result)."""
    run = nncomp.compile(module, options={"strassen": strassen})
    with nncomp.no_grad():
        return run, run(nncomp.tensor(x)).numpy()


def taken(graph: Graph) -> int:
    """How many products of a graph are computed in quadrants, inside kernels too."""
    bodies = [n.attrs["body"] for n in graph.nodes if n.name == "fused"]
    nodes = [n for g in (graph, *bodies) for n in g.nodes]
    return sum(n.name == "contract" and n.attrs.get("half", 0) > 0 for n in nodes)


def matmul_graph(*shape: int, epilogue: str = "") -> Graph:
    """x [.., rows, depth] @ w [depth, columns]; shape is (.., rows, depth, columns)."""
    *rows, depth, columns = shape
    x = input_node("x", TensorType((*rows, depth), float32))
    w = input_node("w", TensorType((depth, columns), float32))
    flat = build_node(OPS["reshape"], (x,), {"shape": (int(np.prod(rows)), depth)})
    y = build_node(OPS["matmul"], (flat, w), {})
    if epilogue:
        y = build_node(OPS[epilogue], (y,), {})
    return Graph("layer", [x, w], [y])


def lowered(graph: Graph, constant=("w",), strassen=True) -> Graph:
    with debug(strassen=strassen):
        return lower_contractions(graph, host_target(), constant)


# -- the sums and the kernel ---------------------------------------------------------------------


def test_seven_products_of_the_sums_are_exact_on_integers():
    rng = np.random.default_rng(0)
    a, b = (rng.integers(-9, 9, s).astype(np.float32) for s in ((6, 8), (8, 10)))

    def parts(x: np.ndarray, right: bool) -> list[np.ndarray]:
        node = input_node("x", TensorType(x.shape, float32))
        attrs = dict(rows=0, columns=1, right=right)
        sums = interpret(Graph("s", [node], [build_node(OPS["quadrant_sums"], (node,), attrs)]), x)
        return [q for y in (x, sums[0]) for h in np.split(y, 2) for q in np.split(h, 2, 1)]

    from nncomp.backends.cpu.contract_strassen import LEFT, RIGHT

    left, right = parts(a, False), parts(b, True)
    pairs = zip(LEFT, RIGHT, strict=True)
    p1, p2, p3, p4, p5, p6, p7 = (left[4 * x + i] @ right[4 * y + j] for (x, i), (y, j) in pairs)
    c = [[p1 + p2, p1 + p6 + p5 + p3], [p1 + p6 + p7 - p4, p1 + p6 + p7 + p5]]
    np.testing.assert_array_equal(np.block(c), a @ b)


def test_sums_need_two_even_axes():
    x = input_node("x", TensorType((4, 6, 5), float32))
    for rows, columns in ((0, 2), (1, 1), (0, 3)):
        with pytest.raises(TypeError, match="quadrant_sums: "):
            build_node(OPS["quadrant_sums"], (x,), dict(rows=rows, columns=columns, right=True))


@settings(max_examples=25, deadline=None)
@given(
    rows=st.lists(st.integers(1, 5), max_size=1),
    half=st.integers(1, 20),
    depth=st.integers(1, 24),
    columns=st.integers(49, 200),
    epilogue=st.sampled_from(["", "neg", "erf"]),
    threads=st.integers(1, 3),
)
def test_any_shape_on_integers(rows, half, depth, columns, epilogue, threads):
    """Integers are summed without rounding, so that both ways give the same bits."""
    graph = matmul_graph(*rows, 2 * half, 2 * depth, columns, epilogue=epilogue)
    arrays = [np.round(3 * sample(*x.shape)) for x in graph.inputs]
    saved = {n: getattr(layout_strassen, n) for n in SIZES}
    vars(layout_strassen).update(dict.fromkeys(saved, 1))
    try:
        with debug(strassen=True):
            runner = cpu.compile(graph, ("w",))
        assert taken(runner.fused_graph) == 1
    finally:
        vars(layout_strassen).update(saved)
    plain = cpu.compile(graph, ("w",))
    y = runner(arrays, runner.prepare(arrays), threads)[0]
    assert taken(plain.fused_graph) == 0
    np.testing.assert_array_equal(y, plain(arrays, plain.prepare(arrays), threads)[0])


@pytest.mark.parametrize("level", ("baseline", "avx2"))
def test_shorter_vectors(level, any_size):
    try:
        target = targets._target_at(level)
    except ValueError as error:
        pytest.skip(str(error))
    graph = matmul_graph(2, 12, 34, 77, epilogue="neg")
    arrays = [np.round(3 * sample(*x.shape)) for x in graph.inputs]
    with debug(strassen=True):
        fast = lower_contractions(graph, target, ("w",))
    assert taken(fast) == 1
    expected = -(arrays[0].reshape(24, 34) @ arrays[1])
    np.testing.assert_array_equal(run_kernels(fast, arrays, target)[0], expected)


def test_the_interpreter_computes_the_same_and_work_is_that_of_the_plain_sum(any_size):
    graph = matmul_graph(8, 10, 70)
    arrays = [sample(*x.shape) for x in graph.inputs]
    fast = lowered(graph)
    np.testing.assert_allclose(interpret(fast, *arrays)[0], interpret(graph, *arrays)[0], rtol=1e-5)
    (node,) = (n for n in fast.nodes if n.name == "contract")
    assert graph_flops(Graph("c", fast.inputs, [node])) >= 2 * 8 * 10 * 70


# -- which products are taken --------------------------------------------------------------------


@pytest.mark.parametrize(
    "shape, count",
    [
        ((96, 768, 960), 1),
        ((64, 1024, 1024), 1),
        ((128, 768, 3072), 1),
        ((128, 768, 1001), 1),  # the last columns are cut off
        ((97, 768, 960), 0),  # odd rows
        ((96, 769, 960), 0),  # odd depth
        ((48, 2048, 2048), 0),  # few rows
        ((512, 254, 4608), 0),  # little depth
        ((512, 4608, 128), 0),  # few columns
        ((96, 768, 768), 0),  # little work
    ],
    ids=str,
)
def test_which_products_are_large_enough(shape, count):
    assert taken(lowered(matmul_graph(*shape))) == count


def test_only_weights_that_are_prepared():
    assert taken(lowered(matmul_graph(96, DEPTH, COLUMNS), ())) == 0


def test_by_default_only_behind_a_normalization(net):
    x = sample(2, 96, DEPTH)
    assert taken(compiled(net, x)[0].fused_graph) == 2
    assert taken(compiled(net, x, False)[0].fused_graph) == 0
    assert taken(compiled(net, sample(192, DEPTH))[0].fused_graph) == 0  # of which sample?
    assert taken(compiled(net, sample(192, DEPTH), True)[0].fused_graph) == 2
    assert taken(compiled(net, sample(2, 97, DEPTH))[0].fused_graph) == 0
    bare = Net(norm=False).eval().requires_grad_(False)
    assert taken(compiled(bare, x)[0].fused_graph) == 0
    assert taken(compiled(bare, x, True)[0].fused_graph) == 2


def test_partners_belong_to_one_sample(net):
    x = sample(3, 64, DEPTH)
    run, before = compiled(net, x)
    x[1, 7] = np.nan
    after = run(nncomp.tensor(x)).numpy()
    assert taken(run.fused_graph) == 2
    np.testing.assert_array_equal(after[[0, 2]], before[[0, 2]])
    touched = {7, 7 + 32}
    assert set(np.flatnonzero(np.isnan(after[1]).any(1))) <= touched


# -- whole nets ----------------------------------------------------------------------------------


def test_values_and_the_same_bits_for_any_number_of_threads():
    graph = matmul_graph(96, DEPTH, COLUMNS)
    arrays = [sample(*x.shape) for x in graph.inputs]
    with debug(strassen=True):
        runner = cpu.compile(graph, ("w",))
    prepared = runner.prepare(arrays)
    exact = arrays[0].astype(np.float64) @ arrays[1].astype(np.float64)
    one = runner(arrays, prepared, 1)[0]
    assert 0 < abs(one - exact).max() < BOUND * abs(exact).max()
    for threads in (1, 2, 3):
        np.testing.assert_array_equal(runner(arrays, prepared, threads)[0], one)


@pytest.mark.parametrize("shape", [(96,), (1, 96), (2, 64), (2, 2, 64)], ids=str)
def test_a_net(net, shape):
    x = sample(*shape, DEPTH)
    fast, plain = compiled(net, x, True)[1], compiled(net, x, False)[1]
    assert 0 < abs(fast - plain).max() < BOUND * abs(plain).max()


def test_products_of_one_operand_share_its_sums(any_size):
    x = input_node("x", TensorType((8, 10), float32))
    weights = [input_node(f"w{i}", TensorType((10, 70), float32)) for i in range(3)]
    products = [build_node(OPS["matmul"], (x, w), {}) for w in weights]
    with debug(strassen=True):
        runner = cpu.compile(Graph("qkv", [x, *weights], products), [f"w{i}" for i in range(3)])
    assert taken(runner.fused_graph) == 3
    assert sum(n.name == "quadrant_sums" for n in runner.fused_graph.nodes) == 1


@pytest.mark.parametrize("rows", [(20,), (3, 8)], ids=str)
@pytest.mark.parametrize("op", ["neg", "erf"])
def test_the_sums_of_a_result_join_its_kernel(rows, op, any_size):
    """Of two products, one behind the other: the second one's kernel finds the sums made."""
    x = input_node("x", TensorType((*rows, 34), float32))
    weights = [input_node("v", TensorType((34, 128), float32))]
    weights.append(input_node("w", TensorType((128, 96), float32)))
    y = x
    for w in weights:
        flat = build_node(OPS["reshape"], (y,), {"shape": (int(np.prod(rows)), y.shape[-1])})
        y = build_node(OPS["matmul"], (flat, w), {})
        y = build_node(OPS["reshape"], (y,), {"shape": (*rows, w.shape[-1])})
        y = build_node(OPS[op], (y,), {})
    graph = Graph("two", [x, *weights], [y])
    arrays = [np.round(3 * sample(*x.shape)) for x in graph.inputs]
    with debug(strassen=True):
        runner = cpu.compile(graph, ("v", "w"))
    fused = runner.fused_graph
    bodies = [n.attrs["body"] for n in fused.nodes if n.name == "fused"]
    assert taken(fused) == 2 and sum(n.name == "quadrant_sums" for n in fused.nodes) == 1
    assert [g.outputs[-1].name for g in bodies] == ["quadrant_sums", op]
    (expected,) = interpret(graph, *arrays)
    prepared = runner.prepare(arrays)
    for threads in (1, 2, 3):
        np.testing.assert_allclose(runner(arrays, prepared, threads)[0], expected, atol=1e-4)


def test_weights_are_given_up_and_come_back(net):
    before = net.up.weight.detach().numpy().copy()
    model = Net().eval().requires_grad_(False)
    model.load_state_dict(net.state_dict())
    run, _ = compiled(model, sample(1, 96, DEPTH))
    assert taken(run.fused_graph) == 2 and model.up.weight._released is not None
    np.testing.assert_array_equal(model.up.weight.detach().numpy(), before)


def test_a_changed_weight_is_prepared_again(net):
    model = Net().eval().requires_grad_(False)
    model.load_state_dict(net.state_dict())
    x = sample(1, 96, DEPTH)
    run, first = compiled(model, x)
    model.up.weight.mul_(2.0)
    second = run(nncomp.tensor(x)).numpy()
    assert abs(second - first).max() > 0.1
    fresh = compiled(model, x, False)[1]
    assert abs(second - fresh).max() < BOUND * abs(fresh).max()


def test_a_package(net, tmp_path):
    x = nncomp.tensor(sample(1, 96, DEPTH))
    run = nncomp.compile(net)
    expected = run(x).numpy()
    assert taken(run.fused_graph) == 2
    nncomp.aot.export(net, x, tmp_path / "net.nnc")
    np.testing.assert_array_equal(nncomp.aot.load(tmp_path / "net.nnc")(x).numpy(), expected)


