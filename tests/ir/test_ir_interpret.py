"""The interpreter and the verifier: what they accept, what they refuse and how they say it."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from draw import draw_array, draw_graph
from hypothesis import given, settings
from hypothesis import strategies as st
from nncomp.ir.debug import debug
from nncomp.ir.graph import Graph, Loc, Node, build_node, input_node
from nncomp.ir.interpret import InterpretError, NanError, interpret
from nncomp.ir.op import OPS
from nncomp.ir.parser import parse_graph
from nncomp.ir.types import TensorType, float32, int64
from nncomp.ir.verify import VerifyError, verify

TWO = TensorType((2,), float32)
GRAPH = parse_graph("""graph f(x: f32[2], y: f32[2]) {
  log_0 = log(x)      # net.a m.py:3
  add_0 = add(log_0, y)
  return add_0, x
}""")


def array(*values):
    return np.array(values, np.float32)


def test_values_of_outputs_and_inputs():
    got, x = interpret(GRAPH, array(1, np.e), array(1, 2))
    np.testing.assert_allclose(got, [1, 3], rtol=1e-6)
    assert x.tolist() == array(1, np.e).tolist()


def test_trace_sees_every_node_once_in_order():
    seen = []
    interpret(GRAPH, array(1, 1), array(1, 1), trace=lambda node, value: seen.append(node))
    assert tuple(seen) == GRAPH.nodes


def test_the_first_nan_is_named():
    with pytest.raises(NanError, match=r"log : f32\[2\] in graph f gave nan, from net.a m.py:3"):
        interpret(GRAPH, array(-1, 1), array(1, 1), check_nan=True)
    interpret(GRAPH, array(1, 1), array(np.nan, 1), check_nan=True)  # an input may hold one
    with debug(nans=True), pytest.raises(NanError):
        interpret(GRAPH, array(-1, 1), array(1, 1))


def test_no_floating_point_warnings():
    with np.errstate(all="raise"):
        assert interpret(GRAPH, array(0, 1), array(1, 1))[0][0] == -np.inf


@pytest.mark.parametrize(
    "arrays, message",
    [
        ((array(1, 1),), r"takes 2 inputs \(x, y\), got 1"),
        ((array(1, 1, 1), array(1, 1)), r"input x of graph f must be f32\[2\], got float32\[3\]"),
        ((array(1, 1), np.ones(2)), r"input y of graph f must be f32\[2\], got float64\[2\]"),
    ],
)
def test_wrong_arguments(arrays, message):
    with pytest.raises(InterpretError, match=message):
        interpret(GRAPH, *arrays)


def test_an_eval_that_breaks_its_type_is_caught(monkeypatch):
    monkeypatch.setattr(type(OPS["log"]), "eval", staticmethod(lambda x: x.astype(np.float64)))
    with pytest.raises(InterpretError, match=r"log should give f32\[2\] by its type rule"):
        interpret(GRAPH, array(1, 1), array(1, 1))


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 10**6))
def test_random_graphs_run(seed):
    r = Random(seed)
    graph = verify(draw_graph(r))
    outputs = interpret(graph, *(draw_array(r, n.type) for n in graph.inputs))
    assert [(a.shape, a.dtype) for a in outputs] == [
        (n.shape, n.dtype.numpy) for n in graph.outputs
    ]


# -- verify ---------------------------------------------------------------------------------------


def bad_graphs():
    x, y = input_node("x", TWO), input_node("y", TensorType((3,), float32))
    good = build_node(OPS["exp"], (x,), {}, Loc("net.fc1", "model.py:14"))
    wrong_type = Node(OPS["exp"], (x,), {}, y.type, good.loc)
    mixed = Node(OPS["add"], (x, y), {}, TWO, good.loc)
    no_axis = Node(OPS["sum"], (x,), {"axes": (1,)}, TWO, good.loc)
    body = Graph("inner", (x,), (wrong_type,))
    call = Node(OPS["call"], (x,), dict(body=body, vjp_body=None, name="c"), (TWO,))
    result = Node(OPS["get"], (call,), {"index": 0}, TWO)
    yield (
        Graph("f", (x,), (wrong_type,)),
        r"node exp, from net.fc1 model.py:14: its type is f32\[3\]",
    )
    yield (
        Graph("f", (x, y), (mixed,)),
        "node add.*its type rule refuses the operands: add: operands",
    )
    yield Graph("f", (x,), (no_axis,)), "its type rule refuses the operands: sum: axes"
    yield Graph("f", (x,), (good, y)), "reads y, which is not an input of this graph"
    yield Graph("f", (x, input_node("x", TWO)), (good,)), "two inputs are called x"
    yield Graph("f", (x, good), (good,)), "is listed as an input but is not an input node"
    yield Graph("f", (x,), (result,)), "graph inner"
    fine = dict(body=Graph("inner", (x,), (good,)), vjp_body=None, name="c")
    whole = Node(OPS["call"], (x,), fine, (TWO,))
    yield Graph("f", (x,), (whole,)), "an output must be one tensor"
    yield (
        Graph("f", (x,), (good,), ("z",)),
        "the output -> z has type f32.2., but z is not an input",
    )
    yield Graph("f", (x, y), (good,), ("y",)), r"but y is an input of type f32\[3\]"
    yield Graph("f", (x,), (good, x), ("x",)), "2 outputs but 1 output names"


@pytest.mark.parametrize("graph, message", list(bad_graphs()), ids=range(11))
def test_verify_refuses(graph, message):
    with pytest.raises(VerifyError, match=message):
        verify(graph)


def test_verify_shows_the_printed_neighbourhood():
    x = input_node("x", TWO)
    nodes = [x]
    for _ in range(20):
        nodes.append(build_node(OPS["exp"], (nodes[-1],), {}))
    bad = Node(OPS["cast"], (nodes[10],), {"dtype": int64}, TWO, Loc("net", "m.py:9"))
    with pytest.raises(VerifyError) as caught:
        verify(Graph("f", (x,), (bad, nodes[-1])))
    lines = str(caught.value).splitlines()[1:]
    assert len(lines) == 11
    assert lines[5].startswith("> ") and "cast_0 = cast(exp_9, dtype=i64)" in lines[5]
    assert not any(line.startswith(">") for i, line in enumerate(lines) if i != 5)
