"""Gradients of 3 x 3 kernels by Winograd's method: values, the switch, and where it is chosen."""

from __future__ import annotations

import numpy as np
import pytest
from nncomp.backends import cpu
from nncomp.backends.cpu.layout import lower_contractions
from nncomp.backends.cpu.target import host_target
from nncomp.ir.debug import debug
from nncomp.ir.graph import Graph, Node, input_node
from nncomp.ir.interpret import interpret
from nncomp.ir.ops import conv_weight
from nncomp.ir.types import TensorType, dtype_of_name

# images, channels, outputs, size of the data, (low, high) padding
SHAPES = {
    "same": (4, 64, 64, (16, 16), ((1, 1), (1, 1))),
    "valid": (4, 64, 48, (18, 14), ((0, 0), (0, 0))),
    "odd": (5, 40, 33, (15, 17), ((1, 1), (1, 1))),
    "one side": (4, 48, 64, (16, 12), ((2, 0), (0, 2))),
    "small": (32, 64, 64, (4, 4), ((1, 1), (1, 1))),
    "much padding": (8, 64, 64, (9, 9), ((3, 2), (4, 1))),
}


def gradient_of(shape, dtype="f32", **changes) -> Graph:
    images, channels, outputs, size, padding = shape
    type = dtype_of_name(dtype)
    kernel = changes.get("kernel_size", (3, 3))
    attrs = dict(kernel_size=kernel, stride=(1, 1), padding=padding, dilation=(1, 1), groups=1)
    attrs |= changes
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, attrs["dilation"], strict=True)]
    rows = zip(size, padding, spans, attrs["stride"], strict=True)
    out = [(n + lo + hi - span) // s + 1 for n, (lo, hi), span, s in rows]
    x = input_node("x", TensorType((images, channels, *size), type))
    g = input_node("g", TensorType((images, outputs, *out), type))
    return Graph("gradient", [x, g], [conv_weight(x, g, **attrs)])


def products(graph: Graph) -> list[Node]:
    """The batched products at the 36 points."""
    lowered = lower_contractions(graph, host_target())
    contracts = [n for n in lowered.nodes if n.name == "contract"]
    return [n for n in contracts if n.shape[:1] == (36,)]


def arrays_for(graph: Graph) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal(n.shape).astype(n.dtype.numpy) for n in graph.inputs]


@pytest.mark.parametrize("name", SHAPES)
def test_values_are_those_of_the_direct_sum(name):
    graph = gradient_of(SHAPES[name])
    assert len(products(graph)) == 1
    arrays = arrays_for(graph)
    (expected,) = interpret(graph, *(a.astype(np.float64).astype(np.float32) for a in arrays))
    (found,) = cpu.compile(graph)(arrays)
    assert np.abs(found - expected).max() < 2e-5 * np.abs(expected).max()
    with debug(winograd=False):
        assert not products(graph)
        (direct,) = cpu.compile(graph)(arrays)
    assert np.abs(direct - expected).max() < 2e-5 * np.abs(expected).max()


@pytest.mark.parametrize("changes", [
    dict(stride=(2, 2)), dict(dilation=(2, 2)), dict(kernel_size=(3, 1)), dict(groups=2),
], ids=str)  # fmt: skip
def test_other_convolutions_are_left_alone(changes):
    images, channels, outputs, size, padding = SHAPES["same"]
    if "groups" in changes:
        outputs = channels
    graph = gradient_of((images, channels, outputs, size, padding), **changes)
    assert not products(graph)


def test_few_channels_and_other_floats_are_left_alone():
    assert not products(gradient_of((4, 3, 64, (16, 16), ((1, 1), (1, 1)))))
    assert not products(gradient_of(SHAPES["same"], "f64"))


def test_bits_do_not_depend_on_threads():
    graph = gradient_of(SHAPES["odd"])
    runner, arrays = cpu.compile(graph), arrays_for(graph)
    alone, *others = (runner(arrays, threads=n)[0].tobytes() for n in (1, 2, 3))
    assert others == [alone, alone]
