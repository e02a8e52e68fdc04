"""Winograd convolutions: exact enough, fused, the same for any thread count, and switched off."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from nncomp.backends import cpu
from nncomp.backends.cpu import layout_winograd, winograd_plan
from nncomp.backends.cpu.layout import lower_contractions
from nncomp.backends.cpu.target import Target, host_target
from nncomp.ir.debug import debug
from nncomp.ir.graph import Graph, Node, build_node, input_node
from nncomp.ir.interpret import interpret
from nncomp.ir.op import OPS, OpError
from nncomp.ir.ops import add, expand, full_like, maximum, permute, reshape
from nncomp.ir.ops.winograd import PAIRS, as_array, matrices
from nncomp.ir.types import TensorType, float32

TOLERANCE = {4: 6e-5, 2: 1e-5}  # largest error by standard deviation of the result, as documented
SAME = ((1, 1), (1, 1))


def x_of(*shape: int, name: str = "x") -> Node:
    return input_node(name, TensorType(shape, float32))


def conv_graph(n, c, h, w, o, padding=SAME, epilogue=False, gradient=False) -> Graph:
    """x [n, h, w, c] in channels last, as inside a network."""
    x, weight = x_of(n, h, w, c), x_of(o, c, 3, 3, name="w")
    attrs = dict(stride=(1, 1), padding=padding, dilation=(1, 1), groups=1)
    if gradient:
        sizes = [m + 2 - sum(p) for m, p in zip((h, w), padding, strict=True)]
        weight = x_of(c, o, 3, 3, name="w")
        attrs["input_size"] = tuple(sizes)
    op = OPS["conv_transpose" if gradient else "conv"]
    y = build_node(op, (permute(x, dims=(0, 3, 1, 2)), weight), attrs)
    y = permute(y, dims=(0, 2, 3, 1))
    inputs = [x, weight]
    if epilogue:
        bias, more = x_of(o, name="bias"), x_of(*y.shape, name="more")
        row = expand(reshape(bias, shape=(1, 1, 1, o)), shape=y.shape)
        y = maximum(add(add(y, row), more), full_like(y, 0.0))
        inputs += [bias, more]
    return Graph("layer", inputs, [y])


def values(graph: Graph, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(x.shape).astype(np.float32) for x in graph.inputs]


def exact(graph: Graph, arrays) -> np.ndarray:
    """The result in float64, by the direct sum."""
    from nncomp.ir.ops.contraction import conv, conv_transpose

    x, w, *rest = (a.astype(np.float64) for a in arrays)
    node = next(n for n in graph.nodes if n.name.startswith("conv"))
    eval = {"conv": conv.eval, "conv_transpose": conv_transpose.eval}[node.name]
    y = eval(x.transpose(0, 3, 1, 2), w, **node.attrs).transpose(0, 2, 3, 1)
    return np.maximum(y + rest[0] + rest[1], 0) if rest else y


def forced(monkeypatch, tile: int) -> None:
    """Let every 3x3 convolution be done with tiles of `tile`, worth it or not."""
    monkeypatch.setenv("NNCOMP_CACHE", "0")  # a stored program may be of another tile

    def choose(x_shape, n, padding, known, target):
        return winograd_plan.plan_with(tile, tuple(x_shape), n, padding, target)

    monkeypatch.setattr(layout_winograd, "choose", choose)


def names(graph: Graph) -> list[str]:
    """Ops of a fused graph, those inside kernels included."""
    bodies = [n.attrs["body"] for n in graph.nodes if n.name == "fused"]
    return [n.name for g in (graph, *bodies) for n in g.nodes]


def compiled(graph: Graph, arrays, threads: int | None = None, constant=("w",)) -> np.ndarray:
    runner = cpu.compile(graph, constant)
    assert "winograd" in names(runner.fused_graph)
    return runner(arrays, runner.prepare(arrays), threads)[0]


def assert_close(got: np.ndarray, expected: np.ndarray, tile: int) -> None:
    error = np.abs(got - expected).max() / max(expected.std(), 0.1)
    assert got.shape == expected.shape and error < TOLERANCE[tile]


SHAPES = {  # N, C, H, W, O, padding
    "even": (1, 32, 8, 8, 32, SAME),
    "ragged": (2, 16, 7, 13, 48, SAME),
    "no padding": (1, 16, 9, 6, 64, ((0, 0), (0, 0))),
    "much padding": (1, 16, 5, 4, 16, ((2, 2), (2, 2))),
    "one side": (3, 16, 6, 11, 16, ((0, 2), (1, 0))),
    "odd channels": (1, 21, 10, 9, 35, SAME),
    "few channels": (2, 3, 6, 6, 5, SAME),
    "one tile": (1, 16, 2, 2, 16, SAME),
    "one pixel": (1, 16, 1, 1, 100, SAME),
    "panels": (1, 64, 14, 14, 160, SAME),
    "blocks": (5, 18, 20, 20, 24, SAME),
}


@pytest.mark.parametrize("tile", PAIRS)
@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("epilogue", [False, True], ids=["plain", "epilogue"])
def test_results_are_those_of_the_direct_sum(monkeypatch, name, tile, epilogue):
    forced(monkeypatch, tile)
    graph = conv_graph(*SHAPES[name], epilogue=epilogue)
    arrays = values(graph)
    assert_close(compiled(graph, arrays), exact(graph, arrays), tile)


@pytest.mark.parametrize("tile", PAIRS)
@pytest.mark.parametrize("name", [n for n in SHAPES if n != "much padding"])
def test_the_gradient_of_the_input_is_one_too(monkeypatch, name, tile):
    n, c, h, w, o, padding = SHAPES[name]
    if name in ("one tile", "one pixel"):
        padding = ((0, 0), (0, 0))
    forced(monkeypatch, tile)
    graph = conv_graph(n, c, h, w, o, padding, gradient=True)
    arrays = values(graph)
    assert_close(compiled(graph, arrays, constant=()), exact(graph, arrays), tile)


@pytest.mark.parametrize("level", ("baseline", "avx2"))
def test_older_machines_compute_the_same(monkeypatch, level):
    from nncomp.backends.cpu import target as targets

    try:
        machine = targets._target_at(level)
    except ValueError:
        pytest.skip("not an x86-64 machine")
    if machine.arch != "x86_64":
        pytest.skip("not an x86-64 machine")
    monkeypatch.setattr(cpu, "host_target", lambda: machine)
    for tile in PAIRS:
        forced(monkeypatch, tile)
        for name in ("ragged", "odd channels", "few channels"):
            graph = conv_graph(*SHAPES[name], epilogue=True)
            arrays = values(graph)
            assert_close(compiled(graph, arrays), exact(graph, arrays), tile)


@pytest.mark.parametrize("shape", [(1, 64, 30, 30, 64), (1, 256, 7, 7, 256), (70, 16, 8, 8, 16)])
def test_any_number_of_threads_gives_the_same_bits(monkeypatch, shape):
    forced(monkeypatch, 4)
    graph = conv_graph(*shape, epilogue=True)
    arrays = values(graph)
    runner = cpu.compile(graph, ("w",))
    prepared = runner.prepare(arrays)
    one = runner(arrays, prepared, 1)[0]
    for threads in (2, 3, 16):
        np.testing.assert_array_equal(runner(arrays, prepared, threads)[0], one)


def test_how_tiles_are_cut_changes_no_bit(monkeypatch):
    graph = conv_graph(2, 64, 18, 18, 128)
    arrays = values(graph)
    results = []
    for threads in (1, 2, 7):
        monkeypatch.setattr(winograd_plan, "get_num_threads", lambda n=threads: n)
        with debug(rewrites=10_000 + threads):  # a program of its own in the cache
            results.append(compiled(graph, arrays))
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])


def test_the_epilogue_is_part_of_the_kernel_and_no_padded_copy_is_made():
    runner = cpu.compile(conv_graph(1, 64, 28, 28, 64, epilogue=True), ("w",))
    assert [n.attrs["kind"] for n in runner.fused_graph.nodes if n.name == "fused"] == ["winograd"]
    assert "pad" not in names(runner.fused_graph)


def test_a_residual_that_dies_is_written_over():
    """Two layers and a shortcut: the second kernel may reuse the memory of what it adds."""
    x, w = x_of(1, 28, 28, 64), x_of(64, 64, 3, 3, name="w")
    attrs = dict(stride=(1, 1), padding=SAME, dilation=(1, 1), groups=1)

    def layer(x: Node) -> Node:
        y = build_node(OPS["conv"], (permute(x, dims=(0, 3, 1, 2)), w), attrs)
        return permute(y, dims=(0, 2, 3, 1))

    first = maximum(layer(x), full_like(x, 0.0))
    second = add(layer(maximum(layer(first), full_like(x, 0.0))), first)
    graph = Graph("block", [x, w], [layer(second)])
    arrays = values(graph)
    arrays[1] /= np.float32(24)
    expected = interpret(graph, *arrays)[0]
    assert_close(compiled(graph, arrays), expected, 4)


# -- when ------------------------------------------------------------------------------------

RESNET = {(56, 64): 4, (28, 128): 4, (14, 256): 4, (7, 512): 2}


@pytest.mark.parametrize("size, channels", RESNET)
def test_the_layers_of_a_resnet(size, channels):
    wide = Target("x86_64-unknown-linux-gnu", "x86-64-v4", "", 512, 32)
    graph = lower_contractions(conv_graph(1, channels, size, size, channels), wide, ("w",))
    (node,) = (n for n in graph.nodes if n.name == "winograd")
    assert node.attrs["tile"] == RESNET[size, channels]


@pytest.mark.parametrize(
    "change",
    [
        dict(stride=(2, 1)), dict(dilation=(2, 2)), dict(groups=2), dict(kernel=(5, 5)),
        dict(kernel=(3,)), dict(channels=3), dict(dtype="float64"), dict(size=2),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_left_to_the_direct_sum(change):
    from nncomp.ir.types import dtype_of_name

    kernel, channels = change.pop("kernel", (3, 3)), change.pop("channels", 64)
    dtype, rank = dtype_of_name(change.pop("dtype", "float32")), len(kernel)
    size = change.pop("size", 20)
    attrs = dict(stride=(1,) * rank, padding=((1, 1),) * rank, dilation=(1,) * rank, groups=1)
    attrs.update(change)
    x = input_node("x", TensorType((1, channels, *(size,) * rank), dtype))
    w = input_node("w", TensorType((64, channels // attrs["groups"], *kernel), dtype))
    graph = Graph("layer", [x, w], [build_node(OPS["conv"], (x, w), attrs)])
    assert "winograd" not in [n.name for n in lower_contractions(graph, host_target()).nodes]


def test_the_switch():
    graph = conv_graph(1, 32, 12, 12, 32)
    arrays = values(graph)
    with debug(winograd=False):
        runner = cpu.compile(graph, ("w",))
    assert "winograd" not in names(runner.fused_graph)
    direct = runner(arrays, runner.prepare(arrays))[0]
    y = exact(graph, arrays)
    assert np.abs(direct - y).max() < 5e-6 * y.std()
    assert np.abs(compiled(graph, arrays) - direct).max() > 0


# -- meaning ---------------------------------------------------------------------------------


@pytest.mark.parametrize("tile", PAIRS)
def test_the_transforms_are_exact_in_fractions(tile):
    """For any data and kernel of integers the three transforms give the very convolution."""
    result, kernel, data = matrices(tile)
    d, g = [3, -1, 4, 1, -5, 9][: tile + 2], [2, -7, 1]
    u = [sum(a * b for a, b in zip(row, g, strict=True)) for row in kernel]
    v = [sum(a * b for a, b in zip(row, d, strict=True)) for row in data]
    y = [sum(a * p * q for a, p, q in zip(row, u, v, strict=True)) for row in result]
    assert y == [sum(d[i + j] * g[j] for j in range(3)) for i in range(tile)]


def test_numbers_of_the_data_transforms_are_exact_in_float32():
    for tile in PAIRS:
        for rows in (matrices(tile).result, matrices(tile).data):
            a = as_array(rows)
            assert (a.astype(np.float32) == a).all()


def test_operands_that_do_not_fit_are_an_error():
    x, w = x_of(1, 6, 6, 8), x_of(3, 3, 8, 20, name="w")
    u = build_node(OPS["winograd_weight"], (w,), dict(tile=2, panel=16))
    assert u.shape == (16, 2, 8, 16)
    attrs = dict(tile=4, padding=SAME, n=20, blocking=(1, 1, 1, 1), workspace=0)
    with pytest.raises(OpError, match="do not fit"):
        build_node(OPS["winograd"], (x, u), attrs)
    with pytest.raises(OpError, match="tile of 2 or 4"):
        build_node(OPS["winograd_weight"], (w,), dict(tile=3, panel=16))


EMIT = """
import sys
sys.path[:0] = sys.argv[1:]
from nncomp.backends.cpu.codegen import program_modules
from nncomp.backends.cpu.jit import compile_many
from nncomp.backends.cpu.layout import lower_contractions
from nncomp.backends.cpu.target import Target
from running import kernel_program
from test_winograd import conv_graph

arm = Target("aarch64-unknown-linux-gnu", "generic", "", 128, 32)
graph = lower_contractions(conv_graph(1, 36, 19, 19, 40, epilogue=True), arm, ("w",))
modules, codes = program_modules(kernel_program(graph), arm)
assert any("winograd" in n.name for n in graph.nodes)
print(min(map(len, compile_many(modules, arm, 0, None))))
"""


def test_code_for_arm_is_accepted():
    here = Path(__file__).parent
    command = [sys.executable, "-c", EMIT, str(here), str(here.parent)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=os.environ)
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout) > 100


def test_a_long_epilogue_reads_what_is_fixed():
    """It is a function of its own, which finds buffers and fixed values in a frame."""
    base = conv_graph(1, 64, 28, 28, 64)
    scale = input_node("scale", TensorType((), float32))
    (y,) = base.outputs
    step = expand(reshape(OPS["exp"](scale), shape=(1, 1, 1, 1)), shape=y.shape)
    for _ in range(3):
        y = OPS["tanh"](OPS["sin"](OPS["mul"](y, step)))
    graph = Graph("layer", [*base.inputs, scale], [y])
    arrays = [0.1 * a for a in values(graph)]
    runner = cpu.compile(graph)
    kinds = [n.attrs["kind"] for n in runner.fused_graph.nodes if n.name == "fused"]
    assert "winograd" in kinds
    (got,) = runner([a.copy() for a in arrays])
    np.testing.assert_allclose(got, interpret(graph, *arrays)[0], atol=1e-4)
