"""Forward and backward as two graphs: the same bits as one, and little kept in between."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from draw import draw_array
from nncomp.ir.grad import joint
from nncomp.ir.interpret import interpret
from nncomp.ir.parser import parse_graph
from nncomp.ir.passes import run_pipeline
from nncomp.ir.split_backward import split_backward
from nncomp.ir.verify import verify

GELU = """graph net(x: f32[64,80], w: f32[80,96], u: f32[96,80]) {
  matmul_0 = matmul(x, w)
  mul_0 = mul(matmul_0, 0.7)
  tanh_0 = tanh(mul_0)
  add_0 = add(tanh_0, 1.0)
  mul_1 = mul(matmul_0, add_0)
  matmul_1 = matmul(mul_1, u)
  return matmul_1
}"""

UPDATED = """graph net(x: f32[80,80], mean: f32[80,80], w: f32[80,80]) {
  mul_0 = mul(mean, 0.9)
  add_0 = add(mul_0, x)
  sub_0 = sub(x, mean)
  mul_1 = mul(sub_0, sub_0)
  matmul_0 = matmul(mul_1, w)
  return matmul_0, add_0 -> mean
}"""

NOISE = """graph net(x: f32[80,80], w: f32[80,80], key: i64[2]) {
  random_bits_0 = random_bits(key, shape=(80,80))
  lt_0 = lt(random_bits_0, 0)
  where_0 = where(lt_0, x, 0.0)
  tanh_0 = tanh(where_0)
  matmul_0 = matmul(tanh_0, w)
  return matmul_0
}"""

SMALL = """graph net(x: f32[3,4], w: f32[4,5]) {
  exp_0 = exp(x)
  matmul_0 = matmul(exp_0, w)
  sigmoid_0 = sigmoid(matmul_0)
  return sigmoid_0
}"""


def split_of(text: str, wrt: list[str]):
    """The joint graph, its split and operands of the joint graph."""
    graph = parse_graph(text)
    whole = run_pipeline(joint(graph, wrt))
    floats = sum(not name for name in graph.output_names)
    parts = split_backward(whole, len(graph.outputs), floats)
    verify(parts.forward), verify(parts.backward)
    r = Random(0)
    return whole, parts, [draw_array(r, n.type, ordinary=True) for n in whole.inputs]


def run_split(whole, parts, arrays):
    """All results of the joint graph, by the two graphs."""
    named = dict(zip(whole.input_names, arrays, strict=True))
    forward = interpret(parts.forward, *(named[n] for n in parts.forward.input_names))
    primal, kept = forward[: parts.primal], forward[parts.primal :]
    seeds = arrays[len(parts.forward.inputs) :]
    given = [*kept, *(named[n] for n in parts.passed), *(seeds[i] for i in parts.cotangents)]
    return [*primal, *interpret(parts.backward, *given)]


@pytest.mark.parametrize(
    "text, wrt",
    [(GELU, ["x", "w", "u"]), (GELU, ["u"]), (UPDATED, ["x", "w"]), (SMALL, ["x", "w"]),
        (NOISE, ["x", "w"])],
    ids=["gelu", "gelu-one", "updated", "small", "noise"],
)
def test_two_graphs_compute_what_one_does(text, wrt):
    whole, parts, arrays = split_of(text, wrt)
    for a, b in zip(interpret(whole, *arrays), run_split(whole, parts, arrays), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def test_elementwise_values_are_computed_again():
    _, parts, _ = split_of(GELU, ["x", "w", "u"])
    assert [str(n.type) for n in parts.forward.outputs[parts.primal :]] == ["f32[64,96]"]
    assert sum(n.name == "tanh" for n in parts.backward.nodes) == 1


def test_random_numbers_are_drawn_once():
    _, parts, _ = split_of(NOISE, ["x", "w"])
    assert not any(n.name == "random_bits" for n in parts.backward.nodes)


def test_inputs_that_are_overwritten_are_kept_as_they_were():
    _, parts, _ = split_of(UPDATED, ["x", "w"])
    assert "mean" not in parts.passed
    assert parts.kept == 1


def test_small_values_are_kept():
    _, parts, _ = split_of(SMALL, ["x", "w"])
    assert not any(n.name in ("exp", "sigmoid") for n in parts.backward.nodes)
