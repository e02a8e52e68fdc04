"""Printer and parser: the text of a graph is the graph."""

from __future__ import annotations

import math

import pytest
from draw import draw_graph
from hypothesis import given, settings
from hypothesis import strategies as st
from nncomp.ir.graph import Graph, Loc, Node, build_node, input_node
from nncomp.ir.op import OPS, attribute_key
from nncomp.ir.parser import ParseError, parse_graph
from nncomp.ir.printer import literal_operands, print_graph
from nncomp.ir.rewrite import full_node
from nncomp.ir.types import TensorType, float32, int64
from nncomp.ir.verify import verify

MLP = """graph mlp(x: f32[8,784], fc.weight: f32[128,784], bn.running_mean: f32[8,128]) {
  permute_0 = permute(fc.weight, dims=(1,0))  : f32[784,128]   # net.fc1 model.py:14
  matmul_0 = matmul(x, permute_0)             : f32[8,128]     # net.fc1 model.py:14
  maximum_0 = maximum(matmul_0, 0.0)          : f32[8,128]     # net.act
  return maximum_0, matmul_0 -> bn.running_mean
}
"""
SCAN = """graph rnn(h0: f32[2], x: f32[5,2]) {
  scan_0 = scan(h0, x, carries=1, consts=0, length=5, reverse=False)  : (f32[2], f32[5,2]) {   # rnn
    body = graph step(h: f32[2], x: f32[2]) {
      add_0 = add(h, x)    : f32[2]   # rnn.cell m.py:3
      tanh_0 = tanh(add_0)  : f32[2]
      return tanh_0, add_0
    }
  }
  mul_0 = mul(scan_0[0], 2.0)                                         : f32[2]
  return mul_0, scan_0[1]
}
"""


def same_node(a: Node, b: Node, known: dict) -> bool:
    """Same operation on the same operands at the same place, all the way down."""
    if known.get(a) is b:
        return True
    same = a.op is b.op and a.type == b.type and len(a.inputs) == len(b.inputs)
    same = same and (a.loc == b.loc or a.name in ("full", "get"))  # a literal has no line
    same = (
        same
        and set(a.attrs) == set(b.attrs)
        and all(
            same_graph(v, b.attrs[k])
            if isinstance(v, Graph)
            else attribute_key({k: v}) == attribute_key({k: b.attrs[k]})
            for k, v in a.attrs.items()
        )
    )
    same = same and all(same_node(x, y, known) for x, y in zip(a.inputs, b.inputs, strict=True))
    if same and a.name != "full":
        known[a] = b
    return same


def same_graph(a: Graph, b: Graph) -> bool:
    known: dict = {}
    ends = [(*g.inputs, *g.outputs) for g in (a, b)]
    same = (a.name, a.input_names, a.output_names) == (b.name, b.input_names, b.output_names)
    same = same and [n.type for n in a.inputs] == [n.type for n in b.inputs]
    return (
        same
        and len(ends[0]) == len(ends[1])
        and all(same_node(x, y, known) for x, y in zip(*ends, strict=True))
    )


@settings(max_examples=150, deadline=None)
@given(st.randoms(use_true_random=False))
def test_round_trip_of_random_graphs(r):
    graph = verify(draw_graph(r))
    text = print_graph(graph)
    again = verify(parse_graph(text))
    assert print_graph(again) == text
    assert same_graph(graph, again)


def test_same_graph_sees_differences():
    graph = parse_graph(MLP)
    changes = [
        ("0.0", "-0.0"),
        ("0.0", "0"),
        ("model.py:14", "model.py:15"),
        ("-> bn.running_mean", ""),
    ]
    for old, new in changes:
        assert not same_graph(graph, parse_graph(MLP.replace(old, new)))


@pytest.mark.parametrize("text", [MLP, SCAN.replace("(h, x)  ", "(h, x)   ")], ids=["mlp", "scan"])
def test_printed_form(text):
    printed = print_graph(parse_graph(text))
    assert [line.split() for line in printed.splitlines()] == [s.split() for s in text.splitlines()]
    assert print_graph(parse_graph(printed)) == printed


def test_exact_text_of_the_mlp():
    assert print_graph(parse_graph(MLP)) == MLP
    assert str(parse_graph(MLP)) == MLP


def test_without_places():
    assert "#" not in print_graph(parse_graph(MLP), locs=False)


@pytest.mark.parametrize(
    "value",
    [0.0, -0.0, 1, True, 0.1, 1e-45, math.pi, 1e300, math.inf, -math.inf, math.nan, -math.nan],
)
def test_constants_keep_their_bits(value):
    x = input_node("x", TensorType((2,), float32))
    constant = build_node(OPS["full"], (), dict(value=value, shape=(2,), dtype=float32))
    graph = parse_graph(print_graph(Graph("f", (x,), (x + constant, constant))))
    for node in (graph.nodes[0], graph.outputs[0].inputs[1]):
        got = node.attrs["value"]
        assert type(got) is type(value) and math.copysign(1, got) == math.copysign(1, value)
        assert got == value or (got != got and value != value)


def test_literals_only_beside_an_operand_of_their_type():
    kind = TensorType((2,), float32)
    c, x = input_node("c", TensorType((2,), int64)), input_node("x", kind)
    one, two = full_node(1.0, kind), full_node(2.0, kind)
    assert literal_operands(build_node(OPS["add"], (one, two), {})) == ()
    assert literal_operands(build_node(OPS["add"], (x, two), {})) == (1,)
    condition = build_node(OPS["lt"], (c, c), {})
    assert literal_operands(build_node(OPS["where"], (condition, one, two), {})) == ()
    assert literal_operands(build_node(OPS["where"], (condition, one, x), {})) == (1,)
    text = print_graph(Graph("f", (c, x), (build_node(OPS["where"], (condition, one, two), {}),)))
    assert "where(lt_0, full_0, full_1)" in text


def test_unusual_names_and_places_survive():
    kind = TensorType((), float32)
    names = ["add_0", "0.weight", "1.5", "inf", "a b", "it's", "return", "ü"]
    inputs = [input_node(n, kind) for n in names]
    node = build_node(OPS["add"], inputs[:2], {}, Loc("a b", "x (1).py:2"))
    graph = Graph("my net", inputs, (build_node(OPS["mul"], (node, inputs[2]), {}),), ("it's",))
    text = print_graph(graph)
    assert same_graph(graph, parse_graph(text)) and print_graph(parse_graph(text)) == text
    assert "add_1 = add(add_0, 0.weight)" in text


HEAD = "graph f(x: f32[2]) {\n "
BAD = [
    ("f(x: f32[2]) {\n return x\n}", "line 1: expected 'graph'"),
    ("graph f(x f32[2]) {\n return x\n}", "line 1: expected ':' and a type after the input x"),
    ("graph f(x: g32[2]) {\n return x\n}", r"line 1: expected a type such as .*, got 'g32'"),
    ("graph f(x: f32[2.5]) {\n return x\n}", "expected a length, got '2.5'"),
    ("graph f(x: f32[2], x: f32[2]) {\n return x\n}", "the name x is used twice"),
    (HEAD + "y = sine(x)\n return y\n}", "line 2: there is no op called sine"),
    (HEAD + "y = sin(z)\n return y\n}", "line 2: z is not defined above"),
    (HEAD + "y = sin(x, x)\n return y\n}", "line 2: .* sin takes 1 operands, got 2"),
    (HEAD + "y = add(x)\n return y\n}", "line 2: .* add takes 2 operands, got 1"),
    (HEAD + "y = permute(x, dims=(1,))\n return y\n}", "line 2: permute cannot be applied"),
    (HEAD + "y = permute(x)\n return y\n}", "line 2: permute cannot be applied"),
    (HEAD + "y = sin(x) : f32[3]\n return y\n}", r"gives f32\[2\] here, but the text says"),
    (HEAD + "y = add(1.0, 2.0)\n return y\n}", "a literal operand of add needs"),
    (HEAD + "y = concat(x, 1.0, axis=0)\n return y\n}", "a literal operand of concat"),
    (HEAD + "x = sin(x)\n return x\n}", "line 2: the name x is used twice"),
    (HEAD + "y = sin(x) z = sin(y)\n return y\n}", "expected the end of the line, got 'z'"),
    (HEAD + "y = sin(x)\n return y[0]\n}", r"y : f32\[2\] has no result 0"),
    (HEAD + "y = sin(x)\n return 1.0\n}", "a graph returns named tensors"),
    (HEAD + "y = sin(x)\n", "line 3: expected a node name"),
    (HEAD + "y = sin(x\n return y\n}", "line 2: expected"),
    (HEAD + "y = sin(x)\n return y\n} more", "expected the end of the text"),
    (HEAD + "y = cast(x, dtype=foo)\n return y\n}", "expected a value"),
    (HEAD + "y = sin(x) @\n return y\n}", "line 2: unexpected character '@'"),
    (HEAD + "y = sum(axes=(0,), x)\n return y\n}", "operands come before attributes"),
    (SCAN.replace("return mul_0, scan_0[1]", "return scan_0"), "write call_0"),
    (SCAN.replace("scan_0[1]", "scan_0[2]"), "has no result 2"),
]


@pytest.mark.parametrize("text, message", BAD, ids=range(len(BAD)))
def test_errors_say_where_and_what(text, message):
    with pytest.raises(ParseError, match=message):
        parse_graph(text)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, len(SCAN)), st.integers(0, 6), st.text("(){}[]:=,->x0.1#'\n", max_size=3))
def test_damaged_text_gives_a_graph_or_a_parse_error(at, cut, added):
    try:
        verify(parse_graph(SCAN[:at] + added + SCAN[at + cut :]))
    except ParseError as error:
        assert str(error).startswith("line ")
