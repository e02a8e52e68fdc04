"""Gradient graphs: higher orders, joint programs, loops, custom rules, integer operands."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from draw import draw_graph
from gradcheck import check_gradients
from hypothesis import given, settings
from hypothesis import strategies as st
from nncomp.ir.grad import GradError, backprop, grad, joint, value_and_grad, vjp_graph
from nncomp.ir.interpret import interpret
from nncomp.ir.parser import parse_graph
from nncomp.ir.passes import cse
from nncomp.ir.verify import verify


def graph_of(inputs: str, *lines: str):
    return parse_graph("\n".join([f"graph f({inputs}) {{", *lines, "}"]))


FOURTH = graph_of("x: f64[]", "a = mul(x, x)", "b = mul(a, a)", "return b")
LOSS = graph_of(
    "x: f64[3,2], w: f64[2,4], i: i64[], mean: f64[4], unused: f64[2]",
    "y = matmul(x, w)   # net.fc m.py:1",
    "t = tanh(y)        # net.act m.py:2",
    "s = sum(t, axes=(0,1))   # loss m.py:3",
    "m = sum(y, axes=(0,))",
    "return s, m -> mean, i",
)


def test_derivatives_of_the_fourth_power_to_third_order():
    x, graph = np.array(1.5), FOURTH
    for expected in (4 * 1.5**3, 12 * 1.5**2, 24 * 1.5):
        graph = verify(grad(graph))
        assert interpret(graph, x)[0] == pytest.approx(expected, rel=1e-14)


def test_grad_returns_the_wanted_in_order_and_zeros_for_the_unreached():
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(n.shape).astype(n.dtype.numpy) for n in LOSS.inputs]
    graph = verify(grad(LOSS, ["unused", "w"]))
    zeros, dw = interpret(graph, *arrays)
    x, w = arrays[:2]
    assert zeros.tolist() == [0.0, 0.0]
    np.testing.assert_allclose(dw, x.T @ (1 - np.tanh(x @ w) ** 2), rtol=1e-12)
    assert len(grad(LOSS).outputs) == 4  # every floating-point input


def test_value_and_grad_keeps_buffer_updates():
    graph = verify(value_and_grad(LOSS, ["x"]))
    assert graph.output_names == ("", "mean", "", "")
    assert graph.input_names == LOSS.input_names
    assert graph.outputs[:3] == LOSS.outputs


def test_joint_takes_a_cotangent_per_plain_float_output():
    graph = verify(joint(LOSS, ["w"]))
    assert graph.input_names == (*LOSS.input_names, "grad_0")
    assert [n.type for n in graph.outputs[3:]] == [LOSS.inputs[1].type]
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(n.shape).astype(n.dtype.numpy) for n in LOSS.inputs]
    *values, dw = interpret(graph, *arrays, np.array(2.0))
    for a, b in zip(values, interpret(LOSS, *arrays), strict=True):
        assert np.array_equal(a, b)
    np.testing.assert_allclose(dw, 2 * interpret(grad(LOSS, ["w"]), *arrays)[0], rtol=1e-12)


def test_gradient_nodes_carry_the_place_of_the_forward_node():
    places = {(n.name, n.loc.scope) for n in grad(LOSS, ["w"]).nodes}
    assert {("mul", "net.act"), ("expand", "loss"), ("permute", "net.fc")} <= places
    assert [n.loc.scope for n in LOSS.nodes if n.name == "tanh"] == ["net.act"]


def test_names_of_cotangents_avoid_the_inputs():
    graph = graph_of("g0: f64[2], y0: f64[2]", "m = mul(g0, y0)", "return m")
    assert vjp_graph(graph, with_results=True).input_names == ("g0_1", "y0_1", "g0", "y0")
    assert vjp_graph(vjp_graph(graph)).input_names[:2] == ("g0_2", "g1")


def test_with_results_uses_the_given_results():
    graph = graph_of("x: f64[2]", "e = exp(x)", "m = mul(e, e)", "return e, m")
    backward = verify(vjp_graph(graph, with_results=True))
    assert "exp" not in {n.name for n in backward.nodes}
    x, ones = np.array([0.5, 1.0]), np.ones(2)
    e = np.exp(x)
    (got,) = interpret(backward, ones, ones, e, e * e, x)
    np.testing.assert_allclose(got, e + 2 * e * e)


def test_same_output_twice_and_an_input_as_output():
    graph = graph_of("x: f64[2]", "s = sin(x)", "return s, s, x")
    x, g = np.array([0.5, 1.0]), np.array([1.0, 2.0])
    (got,) = interpret(vjp_graph(graph), g, g, g, x)
    np.testing.assert_allclose(got, 2 * g * np.cos(x) + g)


def test_integer_inputs_get_zeros_of_their_type():
    graph = graph_of("x: f64[4], i: i64[2]", "t = take(x, i, axis=0)", "return t")
    backward = verify(vjp_graph(graph))
    dx, di = interpret(backward, np.ones(2), np.ones(4), np.array([1, 1]))
    assert dx.tolist() == [0, 2, 0, 0] and di.tolist() == [0, 0] and di.dtype == np.int64


def test_unwanted_gradients_are_not_built():
    graph = graph_of("x: f64[2,2], w: f64[2,2]", "m = matmul(x, w)", "return m")
    (g,) = [n for n in vjp_graph(graph).inputs if n.attrs["name"] == "g0"]
    found = backprop(graph.outputs, [g], [graph.inputs[1]])
    assert list(found) == [graph.inputs[1]]


# -- loops and calls ------------------------------------------------------------------------------

RNN = """graph rnn(h: f64[2], w: f64[2,2], i: i64[], x: f64[4,3], index: i64[4]) {
  scan_0 = scan(h, i, w, x, index, carries=2, consts=1, length=4, reverse=REVERSE) {
    body = graph step(h: f64[2], count: i64[], w: f64[2,2], x: f64[3], k: i64[]) {
      row = reshape(h, shape=(1,2))
      m = matmul(row, w)
      r = reshape(m, shape=(2,))
      e = take(x, k, axis=0)
      e1 = reshape(e, shape=(1,))
      e2 = expand(e1, shape=(2,))
      s = add(r, e2)
      t = tanh(s)
      n = add(count, 1)
      p = mul(t, h)
      return t, n, p, k
    }
  }
  z = sum(scan_0[2], axes=(1,))
  return scan_0[0], z, scan_0[1]
}"""


@pytest.mark.parametrize("reverse", ["False", "True"])
def test_loop_gradients_to_third_order(reverse):
    """Integer carries, integer slices, consts, stacked outputs, an output that is not used."""
    graph, rng = parse_graph(RNN.replace("REVERSE", reverse)), np.random.default_rng(0)
    arrays = [rng.uniform(-1, 1, n.shape) for n in graph.inputs[:2]]
    arrays += [np.array(0), rng.uniform(-1, 1, (4, 3)), np.array([0, 2, 1, 2])]
    check_gradients(graph, arrays, rng, order=3)


def test_backward_loop_runs_the_forward_loop_once_after_cse():
    graph = cse(joint(parse_graph(RNN.replace("REVERSE", "False"))))
    loops = [n for n in verify(graph).nodes if n.name == "scan"]
    assert [n.attrs["reverse"] for n in loops] == [False, True]


def test_products_of_constants_leave_the_backward_loop():
    """Recurrent weights get one product over all turns, and no turn is computed again for them."""
    graph = cse(joint(parse_graph(RNN.replace("REVERSE", "False"))))
    forward, backward = (n for n in verify(graph).nodes if n.name == "scan")
    assert (4, 2, 2) not in [t.shape for t in backward.type]
    assert [t.shape for t in backward.type[: backward.attrs["carries"]]] == [(2,)]  # of h alone
    assert [n.shape for n in graph.nodes if n.name == "matmul"] == [(2, 2)]
    products = [n.name for n in backward.attrs["body"].nodes].count("matmul")
    assert products == 1  # the cotangent of h
    names = [n.name for n in backward.attrs["body"].nodes]
    assert "tanh" not in names  # its result is kept, and so that of the product is not needed
    assert (4, 1, 2) not in [t.shape for t in forward.type]


def test_a_gradient_that_is_partly_products_is_added_up_from_both():
    """w is a factor twice, and it is read elementwise as well."""
    text = RNN.replace("REVERSE", "False").replace(
        "s = add(r, e2)",
        "s0 = add(r, e2)\n      w1 = permute(w, dims=(1,0))\n      m1 = matmul(row, w1)\n"
        "      r1 = reshape(m1, shape=(2,))\n      w2 = mul(w, w)\n"
        "      w3 = sum(w2, axes=(0,))\n      s1 = add(s0, r1)\n      s = add(s1, w3)",
    )
    graph, rng = parse_graph(text), np.random.default_rng(0)
    arrays = [rng.uniform(-1, 1, n.shape) for n in graph.inputs[:2]]
    arrays += [np.array(0), rng.uniform(-1, 1, (4, 3)), np.array([0, 2, 1, 2])]
    check_gradients(graph, arrays, rng, order=2)
    graph = cse(joint(graph))
    assert [n.shape for n in graph.nodes if n.name == "matmul"] == [(2, 2)] * 2


@pytest.mark.parametrize("dims", ["(0,1)", "(1,0)"])
@pytest.mark.parametrize("product", ["matmul(h, v)", "matmul(v, h)"])
def test_a_permuted_constant_of_a_loop_has_the_gradient_of_its_own_layout(product, dims):
    """Square, so that a gradient left transposed would fit by its shape."""
    graph = graph_of(
        "h: f64[3,3], w: f64[3,3]",
        "scan_0 = scan(h, w, carries=1, consts=1, length=4, reverse=False) {",
        "  body = graph step(h: f64[3,3], w: f64[3,3]) {",
        f"    v = permute(w, dims={dims})",
        f"    m = {product}",
        "    t = tanh(m)",
        "    return t",
        "  }",
        "}",
        "return scan_0[0]",
    )
    rng = np.random.default_rng(0)
    check_gradients(graph, [rng.uniform(-1, 1, (3, 3)) for _ in range(2)], rng)


CUSTOM = """graph f(x: f64[3]) {
  call_0 = call(x, name='halved') {
    body = graph body(x: f64[3]) {
      s = mul(x, x)
      return s
    }
    vjp_body = graph rule(g: f64[3], y: f64[3], x: f64[3]) {
      m = mul(g, x)
      return m
    }
  }
  return call_0[0]
}"""


def test_a_call_uses_its_own_rule():
    graph, x, g = parse_graph(CUSTOM), np.array([1.0, 2.0, 3.0]), np.ones(3)
    assert interpret(vjp_graph(graph), g, x)[0].tolist() == x.tolist()


def test_a_call_without_rule_is_differentiated_to_third_order():
    text = CUSTOM.split("    vjp_body")[0].replace("name=", "vjp_body=None, name=")
    graph = parse_graph(text + "  }\n  return call_0[0]\n}")
    rng = np.random.default_rng(1)
    check_gradients(graph, [rng.standard_normal(3)], rng, order=3)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6))
def test_gradients_of_random_graphs_are_well_formed(seed):
    graph = draw_graph(Random(seed))
    backward = verify(vjp_graph(graph))
    assert [n.type for n in backward.outputs] == [n.type for n in graph.inputs]
    verify(joint(graph))


# -- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(wrt=["v"]), r"no input v to differentiate \(has: x, w"),
        (dict(wrt=["i"]), r"input i : i64\[\] has no gradient"),
        (dict(output=7), "has no output 7"),
        (dict(output=1), r"needs an output with one floating-point element, got f64\[4\]"),
        (dict(output=2), r"got i64\[\]"),
    ],
)
def test_errors(arguments, message):
    with pytest.raises(GradError, match=message):
        grad(LOSS, **arguments)
