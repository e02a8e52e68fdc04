"""Narrow convolutions, whose weights stay in L1: values, gradients, bits, other machines."""

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

# images, channels, spatial size, outputs, kernel, stride, (low, high) padding, dilation
SHAPES = {
    "gray": (3, 1, (28, 28), 16, (3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1)),
    "stride": (3, 16, (14, 14), 16, (3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1)),
    "ten": (3, 16, (7, 7), 10, (3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1)),
    "dense": (1, 9, (11, 70), 33, (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1)),
    "valid": (2, 6, (28, 28), 16, (5, 5), (1, 1), ((0, 0), (0, 0)), (1, 1)),
    "dilated": (2, 7, (9, 17), 12, (3, 3), (1, 2), ((2, 2), (2, 2)), (2, 2)),
    "one pixel": (2, 8, (3, 3), 24, (3, 3), (1, 1), ((0, 0), (0, 0)), (1, 1)),
    "all padding": (1, 6, (2, 3), 9, (2, 2), (1, 1), ((3, 2), (2, 4)), (1, 1)),
    "1d": (2, 12, (37,), 20, (4,), (1,), ((3, 0),), (1,)),
    "1d stride": (1, 1, (90,), 8, (25,), (5,), ((12, 12),), (1,)),
    "3d": (1, 5, (4, 5, 6), 8, (3, 2, 3), (1, 2, 1), ((1, 1), (0, 1), (1, 1)), (1, 1, 2)),
    "wide weights": (1, 32, (9, 9), 32, (3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1)),
    "few outputs": (1, 16, (9, 9), 7, (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1)),
}
OTHERS = ("wide weights", "few outputs")  # which a matrix product or scalar code does


def conv_of(shape, dtype="f32"):
    """(x, w, conv of the two)"""
    images, channels, size, outputs, kernel, stride, padding, dilation = shape
    type = dtype_of_name(dtype)
    x = input_node("x", TensorType((images, channels, *size), type))
    w = input_node("w", TensorType((outputs, channels, *kernel), type))
    return x, w, conv(x, w, stride=stride, padding=padding, dilation=dilation, groups=1)


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
@pytest.mark.parametrize("name", ("stride", "ten", "1d"))
def test_other_floats(name, dtype):
    x, w, y = conv_of(SHAPES[name], dtype)
    graph = Graph("g", [x, w], [y])
    assert "window" in kinds(graph)
    check(graph, operands(x, w), scale=4)


def test_a_chain_is_one_kernel_per_layer_and_nothing_is_padded():
    x, w, y = conv_of(SHAPES["gray"])
    nodes, plain = [x, w], dict(stride=(2, 2), padding=((1, 1), (1, 1)), dilation=(1, 1), groups=1)
    for k in range(2):
        b = input_node(f"b{k}", TensorType((16,), x.dtype))
        w = input_node(f"w{k}", TensorType((16, 16, 3, 3), x.dtype))
        y = y + expand(reshape(b, shape=(1, 16, 1, 1)), shape=y.shape)
        y = conv(maximum(y, zeros_like(y)), w, **plain)
        nodes += [b, w]
    graph = Graph("g", nodes, [y])
    runner = cpu.compile(graph, constant=("w", "w0", "w1"))
    found = [s.kernel.kind for s in runner.program.steps]
    assert found == ["window"] * 3 + ["map"] * (len(found) - 3) and len(found) <= 4
    arrays = operands(*nodes)
    result = runner(arrays, runner.prepare(arrays))
    assert_same(result, interpret(graph, *arrays), scale=40)


@pytest.mark.parametrize("name", ("stride", "dense", "3d"))
def test_bits_do_not_depend_on_threads(name):
    x, w, y = conv_of(SHAPES[name])
    runner = cpu.compile(Graph("g", [x, w], [y]))
    arrays = operands(x, w)
    (alone,) = runner(arrays, threads=1)
    for threads in (2, 3):
        assert runner(arrays, threads=threads)[0].tobytes() == alone.tobytes()


@pytest.mark.parametrize("level", ("baseline", "avx2"))
@pytest.mark.parametrize("name", ("stride", "dense", "ten"))
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
    assert any(n.name == "window_conv" for n in lowered.nodes)
    assert_same(run_kernels(lowered, arrays, target), interpret(graph, *arrays), scale=4)


def test_code_for_other_machines():
    check_code_for_other_machines(__name__)
