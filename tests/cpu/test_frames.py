"""Kernels that write straight into a padded tensor, and the small ones that fill the frame."""

from __future__ import annotations

import numpy as np
import pytest
from nncomp.backends import cpu
from nncomp.ir.frames import is_frame
from nncomp.ir.graph import Graph, input_node
from nncomp.ir.ops import conv, exp, expand, maximum, pad, permute, reshape, sum, zeros_like
from nncomp.ir.types import TensorType, dtype_of_name
from running import check


def input_of(*shape, name="x", dtype="f32"):
    return input_node(name, TensorType(shape, dtype_of_name(dtype)))


def operands(graph, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(-9, 9, n.shape).astype(n.dtype.numpy) for n in graph.inputs]


def padded(x, low, high=None, value=0, interior=None):
    high = low if high is None else high
    return pad(x, low=low, high=high, interior=interior or (0,) * len(low), value=value)


def relu(x):
    return maximum(x, zeros_like(x))


def program(graph):
    return [s.kernel for s in cpu.compile(graph).program.steps]


FRAMES = {
    "all sides": ((1, 2, 3), (4, 5, 6), 0),
    "one side": ((0, 2, 0), (0, 0, 0), 1),
    "other side": ((0, 0, 0), (3, 0, 0), -1),
    "unequal": ((0, 1, 4), (0, 2, 1), 2),
    "last axis": ((0, 0, 9), (0, 0, 9), 0),
}


@pytest.mark.parametrize("dtype", ("f32", "f16", "bf16", "i64", "u8", "bool"))
@pytest.mark.parametrize("name", FRAMES)
def test_every_element_is_written(name, dtype):
    low, high, value = FRAMES[name]
    x = input_of(5, 7, 33, dtype=dtype)
    y = padded(x, low, high, abs(value) if dtype in ("u8", "bool") else value)
    graph = Graph("g", [x], [y])
    assert is_frame(y)
    assert [k.kind for k in program(graph)].count("map") > 1
    check(graph, operands(graph))


def test_what_is_no_frame():
    x = input_of(4, 6)
    for y in (padded(x, (0, 0)), padded(x, (1, 1), interior=(1, 0)),
              padded(input_of(0, 6), (1, 1)), padded(input_of(), ())):  # fmt: skip
        assert not is_frame(y)
        graph = Graph("g", [y.inputs[0]], [y])
        check(graph, operands(graph))


def conv_graph(extra=lambda y: []):
    """conv -> bias -> relu -> pad, channels last, as the next strided convolution wants it."""
    x, w, b = input_of(2, 24, 9, 9), input_of(40, 24, 3, 3, name="w"), input_of(40, name="b")
    plain = dict(stride=(2, 2), padding=((1, 1), (1, 1)), dilation=(1, 1), groups=1)
    y = conv(x, w, **plain)
    y = relu(y + expand(reshape(b, shape=(1, 40, 1, 1)), shape=y.shape))
    v = input_of(16, 40, 3, 3, name="v")
    return Graph("g", [x, w, b, v], [conv(y, v, **plain), *extra(y)])


def test_a_contraction_writes_into_the_padding_of_the_next():
    graph = conv_graph()
    writers = [k for k in program(graph) if k.buffers[-1].type.shape == (2, 7, 7, 40)]
    assert [k.kind for k in writers] == ["contract", "map", "map"]
    assert all(k.name.startswith("border") for k in writers[1:])
    check(graph, operands(graph))


def test_what_others_read_is_stored_without_the_frame_as_well():
    graph = conv_graph(lambda y: [permute(exp(y * 0.01), dims=(0, 2, 3, 1))])
    check(graph, operands(graph))
    shapes = [{b.type.shape for b in k.buffers[-k.outputs :]} for k in program(graph)]
    assert any(s == {(2, 7, 7, 40), (2, 5, 5, 40)} for s in shapes)


def test_a_reduction_in_a_frame():
    x = input_of(6, 7, 40)
    graph = Graph("g", [x], [padded(sum(x, axes=(2,)), (1, 0), (0, 2), 3.0)])
    check(graph, operands(graph))


def test_bits_do_not_depend_on_threads():
    x = input_of(3, 40, 50, 16)
    graph = Graph("g", [x], [padded(relu(x), (0, 2, 1, 0), (0, 1, 2, 0), 7.0)])
    runner, (array,) = cpu.compile(graph), operands(graph)
    (alone,) = runner([array], threads=1)
    for threads in (2, 3):
        for _ in range(20):
            assert runner([array], threads=threads)[0].tobytes() == alone.tobytes()
