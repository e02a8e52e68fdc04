"""Every pass: its printed example, what it leaves alone, and that numbers stay."""

from __future__ import annotations

import importlib
import textwrap
from random import Random

import numpy as np
import pytest
from draw import draw_array, draw_graph
from hypothesis import given, settings
from hypothesis import strategies as st
from nncomp.ir import passes
from nncomp.ir.grad import joint, vjp_graph
from nncomp.ir.interpret import interpret
from nncomp.ir.parser import parse_graph
from nncomp.ir.passes import (
    canonicalize,
    cse,
    fold_batchnorm,
    fold_constants,
    inline_calls,
    share_sums,
    simplify,
    split_prepare,
)
from nncomp.ir.passes.run import describe_difference
from nncomp.ir.printer import print_graph
from nncomp.ir.verify import verify

LOCAL = [
    inline_calls, canonicalize, fold_constants, fold_batchnorm, simplify, cse, share_sums
]  # fmt: skip


def example(name: str) -> tuple[str, str]:
    """The before and after text in the docstring of a pass file."""
    doc = textwrap.dedent(importlib.import_module(f"nncomp.ir.passes.{name}").__doc__)
    before, after = doc.split("before:\n")[1].split("after:\n")
    return textwrap.dedent(before), textwrap.dedent(after.split("\n\n")[0] + "\n")


@pytest.mark.parametrize("step", LOCAL, ids=lambda p: p.__name__)
def test_the_docstring_example_is_what_the_pass_does(step):
    before, after = example(step.__name__)
    graph = parse_graph(before)
    assert print_graph(graph) == before
    result = verify(step(graph))
    assert print_graph(result) == after
    assert step(result) is result


def test_the_docstring_example_of_hoist():
    before, after = example("hoist")
    prepare, main = split_prepare(parse_graph(before), ["w", "s"])
    assert print_graph(verify(prepare)) + print_graph(verify(main)) == after


def test_docstrings_state_what_holds():
    for step in LOCAL:
        doc = importlib.import_module(f"nncomp.ir.passes.{step.__name__}").__doc__
        assert "Establishes: " in doc and "Needs: " in doc


def test_the_pipeline_begins_with_these_passes():
    assert passes.PIPELINE[: len(LOCAL)] == LOCAL


def agree(before, after, seed: int):
    r = Random(seed)
    arrays = [draw_array(r, n.type, ordinary=True) for n in before.inputs]
    pairs = zip(interpret(before, *arrays), interpret(after, *arrays), strict=True)
    differences = [describe_difference(a, b) for a, b in pairs]
    assert not any(differences), f"{differences}\n{before}\n{after}"


@pytest.mark.parametrize("step", LOCAL, ids=lambda p: p.__name__)
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_a_pass_keeps_numbers_and_settles(step, seed):
    graph = draw_graph(Random(seed))
    once = verify(step(graph))
    assert once.output_names == graph.output_names
    assert step(once) is once
    agree(graph, once, seed)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_all_passes_keep_the_numbers_of_gradients(seed):
    graph = joint(draw_graph(Random(seed), nodes=6))
    result = graph
    for step in LOCAL:
        result = verify(step(result))
    agree(graph, result, seed)


# -- cse ------------------------------------------------------------------------------------------


def names_after(step, text: str) -> list[str]:
    return [n.name for n in verify(step(parse_graph(text))).nodes]


def test_constants_of_different_bits_stay_apart():
    text = "graph f(x: f32[2]) {\n a = add(x, 0.0)\n b = add(x, -0.0)\n c = mul(a, b)\n return c\n}"
    assert names_after(cse, text).count("add") == 2


def test_subtraction_is_not_commutative():
    text = "graph f(x: f32[2], y: f32[2]) {\n a = sub(x, y)\n b = sub(y, x)\n return a, b\n}"
    assert names_after(cse, text) == ["sub", "sub"]


def test_random_bits_merge_only_with_the_same_key():
    text = """graph f(k: i64[2], other: i64[2]) {
      a = random_bits(k, shape=(3,))
      b = random_bits(k, shape=(3,))
      c = random_bits(other, shape=(3,))
      d = add(a, b)
      e = add(d, c)
      return e
    }"""
    assert names_after(cse, text).count("random_bits") == 2


CALLS = """graph f(x: f32[2]) {
  a = call(x, vjp_body=None, name='n') {
    body = graph one(x: f32[2]) {
      y = exp(x)
      return y
    }
  }
  b = call(x, vjp_body=None, name='n') {
    body = graph two(z: f32[2]) {
      w = BODY(z)
      return w
    }
  }
  s = sub(a[0], b[0])
  return s
}"""


def test_bodies_are_compared_by_what_they_compute():
    assert names_after(cse, CALLS.replace("BODY", "exp")).count("call") == 1
    assert names_after(cse, CALLS.replace("BODY", "sin")).count("call") == 2


# -- inline_calls ---------------------------------------------------------------------------------


def test_nested_calls_are_inlined():
    graph = vjp_graph(vjp_graph(parse_graph(CALLS.replace("BODY", "sin"))))
    result = verify(inline_calls(graph))
    assert not {n.name for n in result.nodes} & {"call", "get", "detach"}
    agree(graph, result, 0)


# -- fold_batchnorm -------------------------------------------------------------------------------

CONV = "stride=(1,1), padding=((1,1),(0,1)), dilation=(1,1), groups=2"
NORM = f"""graph f(x: f32[N,4,5,6], w: f32[6,2,3,3], b: f32[6], m: f32[6], v: f32[6], s: f32[6]) {{
  conv_0 = conv(x, w, {CONV})
  b1 = reshape(b, shape=(1,6,1,1))
  b2 = expand(b1, shape=(N,6,5,5))
  y = add(b2, conv_0)
  m1 = reshape(m, shape=(1,6,1,1))
  m2 = expand(m1, shape=(N,6,5,5))
  c = sub(y, m2)
  v0 = mul(v, v)
  v1 = reshape(v0, shape=(1,6,1,1))
  v2 = expand(v1, shape=(N,6,5,5))
  v3 = add(v2, 1e-05)
  v4 = sqrt(v3)
  d = div(c, v4)
  s1 = reshape(s, shape=(1,6,1,1))
  s2 = expand(s1, shape=(N,6,5,5))
  e = mul(s2, d)
  n = neg(e)
  o = sub(b2, n)
  r = maximum(o, 0.0)
  RETURN
}}"""


def norm(batch: int = 2, returned: str = "return r"):
    return parse_graph(NORM.replace("N,", f"{batch},").replace("RETURN", returned))


@pytest.mark.parametrize("batch", [1, 2])
def test_batch_norm_after_a_grouped_conv_is_folded(batch):
    graph = norm(batch)
    result = verify(cse(simplify(fold_batchnorm(graph))))
    names = [n.name for n in result.nodes if n.type == graph.outputs[0].type]
    assert sorted(n for n in names if n != "full") == ["add", "conv", "expand", "maximum"]
    agree(graph, result, 3)


def test_a_folded_batch_norm_is_prepared_once():
    graph = cse(simplify(fold_batchnorm(norm())))
    prepare, main = split_prepare(graph, ["w", "b", "m", "v", "s"])
    assert [n.name for n in main.nodes if n.name in ("mul", "div", "sqrt")] == []
    rng = np.random.default_rng(0)
    arrays = [rng.uniform(0.1, 1, n.shape).astype(np.float32) for n in graph.inputs]
    prepared = interpret(prepare, *arrays[1:])
    (a,), (b,) = interpret(graph, *arrays), interpret(main, *arrays, *prepared)
    np.testing.assert_array_equal(a, b)


def test_a_value_read_elsewhere_ends_the_chain():
    graph = norm(returned="return r, y")
    assert fold_batchnorm(graph) is graph


def test_a_scale_that_depends_on_the_data_is_not_folded():
    """The channel weights of a squeeze-and-excitation block look alike when the batch is 1."""
    text = f"""graph f(x: f32[1,4,5,6], w: f32[6,2,3,3]) {{
      y = conv(x, w, {CONV})
      p = sum(x, axes=(0,2,3))
      q = concat(p, p, axis=0)
      t = slice(q, start=(0,), stop=(6,), step=(1,))
      s1 = reshape(t, shape=(1,6,1,1))
      s2 = expand(s1, shape=(1,6,5,5))
      z = mul(y, s2)
      return z
    }}"""
    graph = parse_graph(text)
    assert fold_batchnorm(graph) is graph


# -- hoist ----------------------------------------------------------------------------------------

PARAMETERS = """graph f(x: f32[4,3], w: f32[3,3], k: i64[], stat: f32[3]) {
  t = permute(w, dims=(1,0))
  e = exp(t)
  r = reshape(e, shape=(9,))
  i = reshape(r, shape=(3,3))
  y = matmul(x, i)
  c = full(value=2.0, shape=(3,), dtype=f32)
  d = sqrt(c)
  u = mul(stat, 0.9)
  return y, d, u -> stat
}"""


def test_only_computation_on_parameters_moves():
    prepare, main = split_prepare(parse_graph(PARAMETERS), ["w"])
    assert [n.name for n in prepare.outputs] == ["exp"]
    assert [n.name for n in main.nodes if n.name in ("exp", "permute", "sqrt")] == ["sqrt"]
    assert main.output_names == ("", "", "stat")
    assert main.input_names == ("x", "w", "k", "stat", "prepared_0")


def test_a_view_moves_when_asked():
    graph = parse_graph(PARAMETERS)
    prepare, _ = split_prepare(graph, ["w"], worth=lambda n: n.name == "reshape")
    assert [n.type.shape for n in prepare.outputs] == [(3, 3)]


def test_nothing_to_prepare():
    graph = parse_graph("graph f(x: f32[2,2], w: f32[2,2]) {\n t = permute(w, dims=(1,0))\n"
                        " y = matmul(x, t)\n return y\n}")  # fmt: skip
    prepare, main = split_prepare(graph, ["w"])
    assert main is graph and prepare.outputs == ()


def test_unknown_parameter():
    with pytest.raises(ValueError, match="has no input v"):
        split_prepare(parse_graph(PARAMETERS), ["v"])


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_the_two_halves_compute_the_whole(seed):
    r = Random(seed)
    graph = draw_graph(r)
    chosen = [n for n in graph.inputs if r.random() < 0.6]
    prepare, main = split_prepare(graph, [n.attrs["name"] for n in chosen])
    arrays = {n: draw_array(r, n.type) for n in graph.inputs}
    prepared = interpret(verify(prepare), *(arrays[n] for n in prepare.inputs))
    whole = interpret(graph, *arrays.values())
    halves = interpret(verify(main), *arrays.values(), *prepared)
    for a, b in zip(whole, halves, strict=True):
        np.testing.assert_array_equal(a, b)
