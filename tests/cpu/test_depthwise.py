"""Depthwise convolutions and max pooling over channels-last tensors: values, bits, other machines.

Every graph goes through the whole pipeline and is compared with the interpreter; the structure
tests make sure that the window kernels are what is measured here.
"""

from __future__ import annotations

import numpy as np
import pytest
from nncomp.backends import cpu
from nncomp.backends.cpu.layout import lower_contractions
from nncomp.backends.cpu.target import host_target
from nncomp.backends.cpu.window_plan import make_window_plan, window_axes
from nncomp.ir.grad import value_and_grad
from nncomp.ir.graph import Graph, input_node
from nncomp.ir.interpret import interpret
from nncomp.ir.loops import Buffer, Slide
from nncomp.ir.ops import conv, expand, max_pool, maximum, permute, reshape, sum, zeros_like
from nncomp.ir.types import TensorType, dtype_of_name
from other_machines import check_code_for_other_machines
from running import assert_same, check, run_kernels

# images, channels, spatial size, multiplier, kernel, stride, (low, high) padding, dilation
SHAPES = {
    "3x3": (1, 32, (14, 14), 1, (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1)),
    "stride": (1, 48, (13, 15), 1, (3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1)),
    "small": (1, 64, (2, 2), 1, (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1)),
    "one pixel": (2, 24, (3, 3), 1, (3, 3), (1, 1), ((0, 0), (0, 0)), (1, 1)),
    "5x5": (2, 40, (9, 7), 1, (5, 5), (2, 1), ((2, 2), (2, 2)), (1, 1)),
    "7x7": (1, 33, (17, 30), 1, (7, 7), (1, 1), ((3, 3), (3, 3)), (1, 1)),
    "dilated": (2, 17, (9, 17), 1, (3, 3), (1, 2), ((2, 2), (2, 2)), (2, 2)),
    "one side": (1, 16, (8, 8), 1, (2, 3), (1, 1), ((1, 0), (0, 2)), (1, 1)),
    "all padding": (1, 9, (2, 3), 1, (1, 1), (1, 1), ((3, 2), (2, 4)), (1, 1)),
    "wide": (1, 8, (4, 130), 1, (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1)),
    "multiplier": (2, 16, (8, 5), 3, (3, 3), (2, 1), ((1, 1), (1, 1)), (1, 1)),
    "batch": (5, 12, (6, 6), 1, (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1)),
    "1d": (2, 20, (37,), 1, (4,), (1,), ((3, 0),), (1,)),
    "1d multiplier": (1, 10, (19,), 2, (5,), (3,), ((2, 2),), (1,)),
    "3d": (1, 18, (4, 5, 6), 1, (3, 2, 3), (1, 2, 1), ((1, 1), (0, 1), (1, 1)), (1, 1, 2)),
    "many taps": (1, 9, (1, 90), 1, (1, 64), (1, 1), ((0, 0), (31, 32)), (1, 1)),
    "too many taps": (1, 9, (1, 90), 1, (1, 65), (1, 1), ((0, 0), (32, 32)), (1, 1)),
}


def conv_of(shape, dtype="f32"):
    """(x, w, depthwise conv of the two)"""
    images, channels, size, multiplier, kernel, stride, padding, dilation = shape
    type = dtype_of_name(dtype)
    x = input_node("x", TensorType((images, channels, *size), type))
    w = input_node("w", TensorType((channels * multiplier, 1, *kernel), type))
    geometry = dict(stride=stride, padding=padding, dilation=dilation, groups=channels)
    return x, w, conv(x, w, **geometry)


def operands(*nodes, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.uniform(-1, 1, n.shape).astype(n.dtype.numpy) for n in nodes]


def kinds(graph: Graph) -> list[str]:
    return [k.kind for k in cpu.compile(graph).program.kernels()]


@pytest.mark.parametrize("name", SHAPES)
def test_forward(name):
    x, w, y = conv_of(SHAPES[name])
    graph = Graph("g", [x, w], [y])
    assert ("window" in kinds(graph)) == (name != "too many taps")
    check(graph, operands(x, w))


@pytest.mark.parametrize("name", SHAPES)
def test_gradient(name):
    x, w, y = conv_of(SHAPES[name])
    seed = input_node("seed", y.type)
    total = sum(y * seed, axes=tuple(range(len(y.shape))))
    graph = value_and_grad(Graph("g", [x, w, seed], [total]), ["x", "w"])
    check(graph, operands(*graph.inputs), scale=20)


@pytest.mark.parametrize("dtype", ("f16", "bf16", "f64"))
@pytest.mark.parametrize("name", ("3x3", "dilated", "multiplier", "1d"))
def test_other_floats(name, dtype):
    x, w, y = conv_of(SHAPES[name], dtype)
    graph = Graph("g", [x, w], [y])
    assert "window" in kinds(graph)
    check(graph, operands(x, w), scale=4)


def test_the_epilogue_is_in_the_kernel():
    x, w, y = conv_of(SHAPES["stride"])
    b, r = input_node("b", TensorType((48,), x.dtype)), input_node("r", y.type)
    y = y + expand(reshape(b, shape=(1, 48, 1, 1)), shape=y.shape)
    y = maximum(y, zeros_like(y)) + r
    graph = Graph("g", [x, w, b, r], [permute(y, dims=(0, 2, 3, 1))])
    program = cpu.compile(graph).program
    assert [s.kernel.kind for s in program.steps].count("window") == 1
    assert len(program.steps) <= 3  # the input and the weights are brought into their layouts
    check(graph, operands(*graph.inputs))


def test_a_chain_of_contractions_and_windows_is_not_copied_between():
    x, w, _ = conv_of(SHAPES["batch"])
    first, last = (input_node(n, TensorType((12, 12, 1, 1), x.dtype)) for n in "ab")
    plain = dict(stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1))
    y = conv(conv(x, first, groups=1, **plain), w, groups=12,
             **dict(plain, padding=((1, 1), (1, 1))))  # fmt: skip
    y = conv(maximum(y, zeros_like(y)), last, groups=1, **plain)
    graph = Graph("g", [x, w, first, last], [y])
    runner = cpu.compile(graph, constant=("w", "a", "b"))
    found = [s.kernel.kind for s in runner.program.steps]
    assert [k for k in found if k != "map"] == ["contract", "window", "contract"]
    assert found.index("window") == found.index("contract") + 1
    arrays = operands(*graph.inputs)
    assert_same(runner(arrays, runner.prepare(arrays)), interpret(graph, *arrays))


POOLS = {
    "3x3": ((1, 24, 11, 12), (3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1)),
    "2x2": ((2, 40, 6, 7), (2, 2), (2, 2), ((0, 0), (0, 0)), (1, 1)),
    "dilated": ((1, 9, 9, 9), (3, 2), (1, 1), ((1, 1), (1, 0)), (2, 3)),
    "1d": ((3, 16, 21), (4,), (3,), ((2, 1),), (1,)),
}


@pytest.mark.parametrize("name", POOLS)
def test_max_pool_behind_a_convolution(name):
    shape, kernel, stride, padding, dilation = POOLS[name]
    rank, channels = len(kernel), shape[1]
    x = input_node("x", TensorType(shape, dtype_of_name("f32")))
    w = input_node("w", TensorType((channels, channels, *(1,) * rank), x.dtype))
    none = dict(stride=(1,) * rank, padding=((0, 0),) * rank, dilation=(1,) * rank)
    y = conv(x, w, groups=1, **none)
    y = max_pool(y, kernel=kernel, stride=stride, padding=padding, dilation=dilation)
    graph = Graph("g", [x, w], [y])
    assert "window" in kinds(graph)
    arrays = operands(x, w)
    check(graph, arrays)
    arrays[0].flat[::37] = np.nan
    arrays[1][:] = np.eye(channels, dtype=np.float32).reshape(w.shape)
    check(graph, arrays)


@pytest.mark.parametrize("name", ("3x3", "7x7", "batch", "multiplier", "3d"))
def test_bits_do_not_depend_on_threads(name):
    x, w, y = conv_of(SHAPES[name])
    runner = cpu.compile(Graph("g", [x, w], [y]))
    arrays = operands(x, w)
    (alone,) = runner(arrays, threads=1)
    for threads in (2, 3):
        assert runner(arrays, threads=threads)[0].tobytes() == alone.tobytes()


def test_every_unit_is_its_own():
    """Units cut the result into parts that cover it: each one alone writes only its own."""
    for images, channels, size in ((1, 70, (9, 8)), (3, 33, (30,)), (2, 960, (7, 7))):
        rank = len(size)
        a = Buffer("a", 0, TensorType((images, *size, channels), dtype_of_name("f32")))
        b = Buffer("b", 1, TensorType((*(3,) * rank, 1, channels), a.type.dtype))
        geometry = dict(stride=(1,) * rank, padding=((1, 1),) * rank, dilation=(1,) * rank)
        slide = Slide("depthwise", a, b, (), geometry)
        plan = make_window_plan(slide, host_target())
        assert plan.units >= min(4, images * -(-channels // plan.lanes))
        assert [x.out for x in window_axes(slide)] == list(size)
        covered = [i for block in plan.blocks for i in range(block.start,
                   block.start + block.width * block.count)]  # fmt: skip
        assert covered == list(range(size[-1]))


@pytest.mark.parametrize("level", ("baseline", "avx2"))
@pytest.mark.parametrize("name", ("3x3", "stride", "7x7", "dilated", "1d"))
def test_lower_levels_of_this_machine(name, level, monkeypatch):
    x, w, y = conv_of(SHAPES[name])
    graph = Graph("g", [x, w], [y])
    monkeypatch.setenv("NNCOMP_ISA", level)
    try:
        target = host_target()
    except ValueError as error:
        pytest.skip(str(error))
    arrays = operands(x, w)
    lowered = lower_contractions(graph, target)
    assert any(n.name == "depthwise" for n in lowered.nodes)
    assert_same(run_kernels(lowered, arrays, target), interpret(graph, *arrays))


def test_code_for_other_machines():
    check_code_for_other_machines(__name__)
