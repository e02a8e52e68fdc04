"""Convolutions in groups that stay side by side: values, gradients, bits, other machines."""

from __future__ import annotations

import pytest
from nncomp.backends import cpu
from nncomp.backends.cpu.layout import lower_contractions
from nncomp.backends.cpu.target import host_target
from nncomp.ir.grad import value_and_grad
from nncomp.ir.graph import Graph, input_node
from nncomp.ir.interpret import interpret
from nncomp.ir.ops import conv, expand, maximum, reshape, sum, zeros_like
from nncomp.ir.types import TensorType, dtype_of_name
from other_machines import check_code_for_other_machines
from running import assert_same, check, run_kernels
from test_depthwise import kinds, operands

SAME, ONE, TWO = ((1, 1), (1, 1)), (1, 1), (2, 2)
# images, groups, inputs and outputs of a group, spatial size, kernel, stride, padding, dilation
SHAPES = {
    "pairs": (2, 12, 2, 2, (9, 10), (3, 3), ONE, SAME, ONE),
    "fours": (1, 32, 4, 4, (11, 13), (3, 3), ONE, SAME, ONE),
    "fours and a rest": (2, 7, 4, 4, (5, 30), (3, 3), ONE, SAME, ONE),
    "eights": (1, 6, 8, 8, (9, 9), (3, 3), ONE, SAME, ONE),
    "eights, stride": (1, 5, 8, 8, (9, 12), (3, 3), TWO, SAME, ONE),
    "sixteens": (1, 3, 16, 16, (8, 7), (3, 3), ONE, SAME, ONE),
    "wide": (1, 2, 40, 32, (6, 9), (3, 3), ONE, SAME, ONE),
    "one to eight": (1, 3, 3, 8, (6, 9), (5, 5), ONE, ((2, 2), (2, 2)), ONE),
    "dilated": (1, 4, 4, 4, (9, 11), (3, 3), ONE, ((2, 2), (2, 2)), TWO),
    "pointwise": (2, 3, 16, 16, (6, 7), (1, 1), ONE, ((0, 0), (0, 0)), ONE),
    "1d": (2, 8, 4, 4, (37,), (5,), (1,), ((4, 0),), (1,)),
    "3d": (1, 4, 4, 4, (4, 5, 6), (3, 2, 3), (1, 2, 1), ((1, 1), (0, 1), (1, 1)), (1, 1, 1)),
    "threes": (1, 8, 3, 3, (6, 9), (3, 3), ONE, SAME, ONE),
    "fours to eights": (1, 8, 4, 8, (6, 9), (3, 3), ONE, SAME, ONE),
}
OTHERS = ("threes",)  # which scalar code or a product does


def conv_of(shape, dtype="f32"):
    """(x, w, conv of the two)"""
    images, groups, inputs, outputs, size, kernel, stride, padding, dilation = shape
    type = dtype_of_name(dtype)
    x = input_node("x", TensorType((images, groups * inputs, *size), type))
    w = input_node("w", TensorType((groups * outputs, inputs, *kernel), type))
    geometry = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
    return x, w, conv(x, w, **geometry)


@pytest.mark.parametrize("name", SHAPES)
def test_forward(name):
    x, w, y = conv_of(SHAPES[name])
    graph = Graph("g", [x, w], [y])
    assert ("window" in kinds(graph)) == (name not in OTHERS)
    check(graph, operands(x, w), scale=4)


@pytest.mark.parametrize("name", SHAPES)
def test_gradient(name):
    x, w, y = conv_of(SHAPES[name])
    seed = input_node("seed", y.type)
    total = sum(y * seed, axes=tuple(range(len(y.shape))))
    graph = value_and_grad(Graph("g", [x, w, seed], [total]), ["x", "w"])
    check(graph, operands(*graph.inputs), scale=40)


@pytest.mark.parametrize("dtype", ("f16", "bf16", "f64"))
@pytest.mark.parametrize("name", ("pairs", "fours and a rest", "eights", "sixteens"))
def test_other_floats(name, dtype):
    x, w, y = conv_of(SHAPES[name], dtype)
    graph = Graph("g", [x, w], [y])
    assert "window" in kinds(graph)
    check(graph, operands(x, w), scale=4)


def test_a_chain_is_one_kernel_per_layer_and_nothing_is_sorted():
    x, w, y = conv_of(SHAPES["fours"])
    nodes, plain = [x, w], dict(stride=ONE, padding=SAME, dilation=ONE, groups=32)
    for k in range(2):
        b = input_node(f"b{k}", TensorType((128,), x.dtype))
        w = input_node(f"w{k}", TensorType((128, 4, 3, 3), x.dtype))
        y = y + expand(reshape(b, shape=(1, 128, 1, 1)), shape=y.shape)
        y = conv(maximum(y, zeros_like(y)), w, **plain)
        nodes += [b, w]
    graph = Graph("g", nodes, [y])
    runner = cpu.compile(graph, constant=("w", "w0", "w1"))
    found = [s.kernel.kind for s in runner.program.steps]
    assert found == ["map", *["window"] * 3, "map"]  # channels last, and back
    arrays = operands(*nodes)
    result = runner(arrays, runner.prepare(arrays))
    assert_same(result, interpret(graph, *arrays), scale=40)


@pytest.mark.parametrize("name", ("fours", "eights, stride", "wide"))
def test_bits_do_not_depend_on_threads(name):
    x, w, y = conv_of(SHAPES[name])
    runner = cpu.compile(Graph("g", [x, w], [y]))
    arrays = operands(x, w)
    (alone,) = runner(arrays, threads=1)
    for threads in (2, 3):
        assert runner(arrays, threads=threads)[0].tobytes() == alone.tobytes()


@pytest.mark.parametrize("level", ("baseline", "avx2"))
@pytest.mark.parametrize("name", ("pairs", "fours and a rest", "eights, stride", "sixteens"))
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
    assert any(n.name == "group_conv" for n in lowered.nodes)
    assert_same(run_kernels(lowered, arrays, target), interpret(graph, *arrays), scale=4)


def test_code_for_other_machines():
    check_code_for_other_machines(__name__)
