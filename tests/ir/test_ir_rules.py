"""Every rewrite rule: both sides run on random shapes, dtypes and values."""

from __future__ import annotations

import re
from random import Random

import numpy as np
import pytest
from draw import ATTRIBUTES, SPECIAL, draw_array, draw_instance, draw_shape
from draw import CONSTANTS as VALUES
from nncomp.ir.graph import Graph, build_node
from nncomp.ir.interpret import interpret
from nncomp.ir.op import OPS, OpError
from nncomp.ir.parser import parse_graph
from nncomp.ir.passes.fold_constants import RULES as CONSTANTS
from nncomp.ir.passes.simplify import RULES
from nncomp.ir.passes.simplify_movement import RULES as MOVEMENT
from nncomp.ir.printer import print_graph
from nncomp.ir.rewrite import Computed, RewriteError, Rule, Rules, full_node, rewrite
from nncomp.ir.types import DTYPES, TensorType, bool_, dtype_of_numpy
from nncomp.ir.verify import verify

ALL = [*RULES, *MOVEMENT]
EQUATIONS = [r for r in ALL if isinstance(r, Rule)]
COMPUTED = [r for r in ALL if isinstance(r, Computed)]
ENOUGH, TRIES = 25, 6000


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    """Equal values with equal signs of zero; every nan equals every other."""
    if a.dtype.kind in "iub":
        return np.array_equal(a, b)
    a, b = a.astype(np.float64), b.astype(np.float64)
    nan = np.isnan(a)
    return np.array_equal(a, b, equal_nan=True) and np.array_equal(
        np.signbit(a)[~nan], np.signbit(b)[~nan]
    )


def agree(a: np.ndarray, b: np.ndarray, tol: float) -> bool:
    if tol == 0 or a.dtype.kind in "iub":
        return same_bits(a, b)
    eps = 2.0 ** -{"f16": 10, "bf16": 7, "f32": 23, "f64": 52}[dtype_of_numpy(a.dtype).short]
    scale = tol * eps / 2.0**-23
    return np.allclose(a.astype(np.float64), b.astype(np.float64), scale, scale, equal_nan=True)


@pytest.mark.parametrize("rule", EQUATIONS, ids=lambda r: r.name)
def test_both_sides_of_an_equation_agree(rule):
    r, found = Random(rule.name), 0
    for _ in range(TRIES):
        graph = draw_instance(r, rule.lhs)
        if graph is None:
            continue
        new = rule.apply(graph.outputs[0])
        if new is None or new is graph.outputs[0]:
            continue
        arrays = [draw_array(r, n.type, ordinary=rule.tol > 0) for n in graph.inputs]
        (old,), (got,) = interpret(graph, *arrays), interpret(graph.with_outputs((new,)), *arrays)
        assert agree(old, got, rule.tol), (
            f"{graph}\n{graph.with_outputs((new,))}\n{arrays}\n{old} {got}"
        )
        found += 1
        if found == ENOUGH:
            return
    pytest.fail(f"only {found} instances of {rule.name} in {TRIES} draws")


EXAMPLES = [(r, text) for r in COMPUTED for text in r.examples]


@pytest.mark.parametrize(
    "rule, text", EXAMPLES, ids=[f"{r.name}-{i}" for i, (r, _) in enumerate(EXAMPLES)]
)
def test_examples_of_a_computed_rule_agree(rule, text):
    r, graph = Random(0), parse_graph(text)
    new = rewrite(graph, [rule])
    assert new is not graph
    for _ in range(5):
        arrays = [draw_array(r, n.type, ordinary=rule.tol > 0) for n in graph.inputs]
        pairs = zip(interpret(graph, *arrays), interpret(new, *arrays), strict=True)
        assert all(agree(a, b, rule.tol) for a, b in pairs)


def test_every_computed_rule_has_an_example():
    assert all(r.examples for r in COMPUTED)


def test_names_of_rules_are_equations():
    names = [r.name for r in (*ALL, *CONSTANTS)]
    assert all(" -> " in name for name in names)
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("rule", CONSTANTS, ids=lambda r: r.name)
def test_folded_constants_have_the_interpreters_bits(rule):
    r, found = Random(rule.name), 0
    for _ in range(TRIES):
        type = TensorType(draw_shape(r), r.choice(DTYPES))
        values = (0, 1, 3) if type.dtype.kind != "f" else (*SPECIAL, *VALUES)
        operands = [full_node(r.choice(values), type) for _ in range(r.randint(1, 3))]
        if rule.root == "where":
            operands[0] = full_node(r.random() < 0.5, TensorType(type.shape, bool_))
        attrs = ATTRIBUTES[rule.root](r, type) if rule.root in ATTRIBUTES else {}
        try:
            node = build_node(OPS[rule.root], operands, attrs)
            (old,) = interpret(Graph("f", (), (node,)))
        except (OpError, TypeError, ValueError):
            continue
        new = rule.apply(node)
        if new is None:
            continue
        (got,) = interpret(Graph("f", (), (new,)))
        assert agree(old, got, rule.tol), (node, [x.attrs["value"] for x in operands], old, got)
        found += 1
        if found == ENOUGH:
            return
    pytest.fail(f"only {found} instances of {rule.name} in {TRIES} draws")


# -- the engine -----------------------------------------------------------------------------------

TEXT = """graph f(x: f32[2,3], y: f32[2,3]) {
  mul_0 = mul(x, 1.0)  : f32[2,3]   # net.a m.py:1
  neg_0 = neg(y)  : f32[2,3]   # net.b m.py:2
  add_0 = add(mul_0, neg_0)  : f32[2,3]   # net.c m.py:3
  exp_0 = exp(add_0)  : f32[2,3]   # net.d m.py:4
  return exp_0
}"""


def test_rewrite_is_idempotent_and_keeps_places():
    graph = parse_graph(TEXT)
    once = verify(rewrite(graph, ALL))
    assert re.sub(" +", " ", print_graph(once)) == (
        "graph f(x: f32[2,3], y: f32[2,3]) {\n"
        " sub_0 = sub(x, y) : f32[2,3] # net.c m.py:3\n"
        " exp_0 = exp(sub_0) : f32[2,3] # net.d m.py:4\n"
        " return exp_0\n}\n"
    )
    assert rewrite(once, ALL) is once


def test_commutative_operands_match_in_both_orders():
    text = "graph f(x: i32[2]) {\n m = mul(1, x)\n a = add(0, m)\n return a\n}"
    graph = rewrite(parse_graph(text), ALL)
    assert graph.outputs == graph.inputs


def test_plus_zero_of_a_float_stays():
    graph = parse_graph("graph f(x: f32[2]) {\n a = add(x, 0.0)\n return a\n}")
    assert rewrite(graph, ALL) is graph


def test_limit_counts_rewrites():
    graph = parse_graph(TEXT)
    assert rewrite(graph, ALL, [0]) is graph
    assert len(rewrite(graph, ALL, [1]).nodes) == 3
    assert len(rewrite(graph, ALL, [2]).nodes) == 2


def test_bodies_are_rewritten():
    text = """graph f(h: f32[2], x: f32[3,2]) {
      scan_0 = scan(h, x, carries=1, consts=0, length=3, reverse=False) {
        body = graph step(h: f32[2], x: f32[2]) {
          m = mul(x, 1.0)
          a = add(h, m)
          return a, m
        }
      }
      return scan_0[0]
    }"""
    graph = verify(rewrite(parse_graph(text), ALL))
    assert [n.name for n in graph.nodes[0].attrs["body"].nodes] == ["add"]


def test_rules_that_do_not_settle_are_named():
    rules = Rules()

    @rules.rule("x + y -> y + x for ever")
    def swap(x, y):
        return x - y, -(y - x)

    with pytest.raises(RewriteError, match="for ever"):
        rewrite(parse_graph("graph f(x: f32[], y: f32[]) {\n a = sub(x, y)\n return a\n}"), rules)


def test_a_rule_that_changes_the_type_is_named():
    rules = Rules()

    @rules.rule("x < y -> x")
    def wrong(x, y):
        return x < y, x

    with pytest.raises(RewriteError, match="x < y -> x"):
        rewrite(parse_graph("graph f(x: f32[], y: f32[]) {\n a = lt(x, y)\n return a\n}"), rules)


def test_a_guard_must_read_wildcards_of_its_rule():
    with pytest.raises(RewriteError, match="the guard of rule 'x - x -> 0' reads {'y'}"):
        Rules().rule("x - x -> 0", when=lambda y: True)(lambda x: (x - x, 0))
