"""Long kernels along one axis by Winograd's method: values, gradients, bits, other machines."""

from __future__ import annotations

import numpy as np
import pytest
from nncomp.backends import cpu
from nncomp.backends.cpu.layout import lower_contractions
from nncomp.backends.cpu.target import host_target
from nncomp.ir.debug import debug
from nncomp.ir.grad import value_and_grad
from nncomp.ir.graph import Graph, input_node
from nncomp.ir.interpret import interpret
from nncomp.ir.ops import conv, expand, maximum, reshape, sum, zeros_like
from nncomp.ir.types import TensorType, dtype_of_name
from other_machines import check_code_for_other_machines
from running import assert_same, check, run_kernels
from test_depthwise import operands

# images, inputs, outputs, length, taps, (low, high) padding, dilation
SHAPES = {
    "nine": (2, 48, 64, 130, 9, (4, 4), 1),
    "seven": (1, 64, 48, 241, 7, (3, 3), 1),
    "six, causal": (2, 96, 96, 287, 6, (5, 0), 1),
    "whole tiles": (1, 48, 48, 128, 9, (0, 0), 1),
    "two parts": (1, 48, 48, 150, 15, (7, 7), 1),
    "four parts": (1, 40, 64, 140, 31, (15, 15), 1),
    "dilated": (1, 48, 64, 260, 7, (9, 9), 3),
    "odd channels": (2, 37, 51, 140, 9, (2, 5), 1),
    "three": (2, 64, 64, 250, 3, (1, 1), 1),
    "three, dilated": (1, 64, 48, 333, 3, (16, 0), 8),
    "four": (2, 128, 128, 401, 4, (3, 0), 1),
    "phases of several lengths": (1, 48, 48, 251, 6, (25, 0), 5),
}


def conv_of(shape, dtype="f32"):
    """(x, w, conv of the two)"""
    images, inputs, outputs, length, taps, padding, dilation = shape
    type = dtype_of_name(dtype)
    x = input_node("x", TensorType((images, inputs, length), type))
    w = input_node("w", TensorType((outputs, inputs, taps), type))
    geometry = dict(stride=(1,), padding=(padding,), dilation=(dilation,), groups=1)
    return x, w, conv(x, w, **geometry)


def names(graph: Graph, constant=()) -> list[str]:
    return [n.name for n in lower_contractions(graph, host_target(), constant).nodes]


@pytest.mark.parametrize("name", SHAPES)
def test_forward(name):
    x, w, y = conv_of(SHAPES[name])
    graph = Graph("g", [x, w], [y])
    assert "winograd_line" in names(graph, ("w",))
    runner = cpu.compile(graph, constant=("w",))
    arrays = operands(x, w)
    assert_same(runner(arrays, runner.prepare(arrays)), interpret(graph, *arrays), scale=40)


@pytest.mark.parametrize("name", SHAPES)
def test_gradient(name):
    x, w, y = conv_of(SHAPES[name])
    seed = input_node("seed", y.type)
    total = sum(y * seed, axes=(0, 1, 2))
    graph = value_and_grad(Graph("g", [x, w, seed], [total]), ["x", "w"])
    check(graph, operands(*graph.inputs), scale=200)


def test_every_part_of_a_training_step_is_at_the_points():
    x, w, y = conv_of((4, 128, 128, 512, 9, (4, 4), 1))
    seed = input_node("seed", y.type)
    total = sum(y * seed, axes=(0, 1, 2))
    found = names(value_and_grad(Graph("g", [x, w, seed], [total]), ["x", "w"]))
    assert found.count("winograd_line") == 2  # forward, and the gradient of the input
    assert found.count("line_points") == 2 and found.count("line_kernels") == 1
    assert not {"conv", "conv_transpose", "conv_weight"} & {*found}


def test_the_epilogue_joins_and_nothing_is_padded():
    x, w, y = conv_of(SHAPES["nine"])
    b = input_node("b", TensorType((64,), x.dtype))
    y = y + expand(reshape(b, shape=(1, 64, 1)), shape=y.shape)
    graph = Graph("g", [x, w, b], [maximum(y, zeros_like(y))])
    runner = cpu.compile(graph, constant=("w", "b"))
    kinds = [s.kernel.kind for s in runner.program.steps]
    assert kinds.count("winograd") == 1 and len(kinds) <= 3  # channels last, and back
    arrays = operands(x, w, b)
    assert_same(runner(arrays, runner.prepare(arrays)), interpret(graph, *arrays), scale=40)


def test_the_switch():
    x, w, y = conv_of(SHAPES["nine"])
    with debug(winograd=False):
        assert "winograd_line" not in names(Graph("g", [x, w], [y]), ("w",))


@pytest.mark.parametrize(
    "change",
    ({"taps": 2}, {"inputs": 8}, {"dtype": "f64"}),
    ids=("two taps", "few channels", "doubles"),
)
def test_what_is_left_to_the_direct_sum(change):
    change = dict(change)
    dtype = change.pop("dtype", "f32")
    keys = ("images", "inputs", "outputs", "length", "taps", "padding", "dilation")
    shape = tuple({**dict(zip(keys, SHAPES["nine"], strict=True)), **change}.values())
    x, w, y = conv_of(shape, dtype)
    assert "winograd_line" not in names(Graph("g", [x, w], [y]), ("w",))


@pytest.mark.parametrize("name", ("nine", "four parts", "dilated"))
def test_bits_do_not_depend_on_threads(name):
    x, w, y = conv_of(SHAPES[name])
    seed = input_node("seed", y.type)
    graph = value_and_grad(
        Graph("g", [x, w, seed], [sum(y * seed, axes=(0, 1, 2))]), ["x", "w"]
    )
    runner = cpu.compile(graph)
    arrays = operands(*graph.inputs)
    alone = runner(arrays, threads=1)
    for threads in (2, 3):
        for got, expected in zip(runner(arrays, threads=threads), alone, strict=True):
            np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("level", ("baseline", "avx2"))
@pytest.mark.parametrize("name", ("seven", "two parts", "phases of several lengths"))
def test_lower_levels_of_this_machine(name, level, monkeypatch):
    x, w, y = conv_of(SHAPES[name])
    monkeypatch.setenv("NNCOMP_ISA", level)
    try:
        target = host_target()
    except ValueError as error:
        pytest.skip(str(error))
    seed = input_node("seed", y.type)
    graph = value_and_grad(
        Graph("g", [x, w, seed], [sum(y * seed, axes=(0, 1, 2))]), ["x", "w"]
    )
    arrays = operands(*graph.inputs)
    lowered = lower_contractions(graph, target, ("w",))
    assert any(n.name == "winograd_line" for n in lowered.nodes)
    assert_same(run_kernels(lowered, arrays, target), interpret(graph, *arrays), scale=200)


def test_code_for_other_machines():
    check_code_for_other_machines(__name__)
