"""What the backward pass computes again: the cheapest cut, the same bits."""

from __future__ import annotations

import importlib
import itertools
import textwrap
from random import Random

import numpy as np
import pytest
from draw import draw_array, draw_graph
from hypothesis import given, settings
from hypothesis import strategies as st
from nncomp.ir.interpret import interpret
from nncomp.ir.parser import parse_graph
from nncomp.ir.passes import save_less as module
from nncomp.ir.passes.cut import minimum_cut
from nncomp.ir.passes.save_less import save_less
from nncomp.ir.printer import print_graph
from nncomp.ir.verify import verify


def same_bits(before, after, seed: int) -> None:
    r = Random(seed)
    arrays = [draw_array(r, n.type, ordinary=True) for n in before.inputs]
    for a, b in zip(interpret(before, *arrays), interpret(after, *arrays), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def test_the_docstring_example_is_what_the_pass_does():
    doc = textwrap.dedent(importlib.import_module("nncomp.ir.passes.save_less").__doc__)
    before, after = doc.split("before:\n")[1].split("after:\n")
    graph = parse_graph(textwrap.dedent(before))
    result = verify(save_less(graph))
    wanted = parse_graph(textwrap.dedent(after.split("\n\n")[0]))
    assert print_graph(result) == print_graph(wanted)
    assert save_less(result) is result
    same_bits(graph, result, 0)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_numbers_stay_and_the_pass_settles(seed):
    graph = draw_graph(Random(seed))
    small, module.SMALL = module.SMALL, 1
    try:
        once = verify(save_less(graph))
        assert save_less(once) is once
    finally:
        module.SMALL = small
    same_bits(graph, once, seed)


def body_of(text: str, size: str = "f32[64,64]"):
    return parse_graph(f"graph f(x: {size}, w: f32[64,64]) {{\n{text}\n}}")


def test_what_is_in_memory_anyway_is_not_computed_again():
    graph = body_of("""
      tanh_0 = tanh(x)
      matmul_0 = matmul(tanh_0, w)
      mul_0 = mul(matmul_0, tanh_0)
      matmul_1 = matmul(mul_0, w)
      permute_0 = permute(tanh_0, dims=(1,0))
      matmul_2 = matmul(permute_0, matmul_1)
      return matmul_2""")
    assert save_less(graph) is graph  # tanh_0 is an operand of the last product


def test_results_and_costly_operations_are_not_computed_again():
    text = """
      pow_0 = pow(x, 2.5)
      tanh_0 = tanh(pow_0)
      add_0 = add(tanh_0, 1.0)
      matmul_0 = matmul(add_0, w)
      mul_0 = mul(matmul_0, tanh_0)
      return {}"""
    graph = body_of(text.format("mul_0, tanh_0"))
    assert save_less(graph) is graph
    graph = body_of(text.format("mul_0"))
    assert save_less(graph) is graph  # a cut at tanh_0 is as cheap as one at pow_0


def test_a_mask_is_kept_rather_than_what_it_compares():
    graph = body_of("""
      mul_0 = mul(x, x)
      matmul_0 = matmul(mul_0, w)
      lt_0 = lt(0.0, matmul_0)
      where_0 = where(lt_0, matmul_0, 0.0)
      matmul_1 = matmul(where_0, w)
      where_1 = where(lt_0, matmul_1, 0.0)
      return where_1""")
    assert save_less(graph) is graph


def test_a_mask_is_kept_rather_than_the_norm_before_it():
    text = """graph f(x: f32[64,64], w: f32[64,64], s: f32[1,64]) {
      matmul_0 = matmul(x, w)
      expand_0 = expand(s, shape=(64,64))
      mul_0 = mul(matmul_0, expand_0)
      expand_1 = expand(s, shape=(64,64))
      add_0 = add(mul_0, expand_1)
      expand_2 = expand(s, shape=(64,64))
      mul_1 = mul(add_0, expand_2)
      lt_0 = lt(0.0, mul_1)
      where_0 = where(lt_0, mul_1, 0.0)
      matmul_1 = matmul(where_0, w)
      where_1 = where(lt_0, matmul_1, 0.0)
      add_1 = add(where_1, matmul_0)
      return add_1
    }"""
    graph = parse_graph(text)
    assert save_less(graph) is graph


def test_copies_serve_all_readers_of_their_level():
    graph = body_of("""
      mul_0 = mul(x, x)
      exp_0 = exp(mul_0)
      add_0 = add(exp_0, 1.0)
      matmul_0 = matmul(add_0, w)
      mul_1 = mul(matmul_0, exp_0)
      add_1 = add(mul_1, exp_0)
      matmul_1 = matmul(add_1, w)
      mul_2 = mul(matmul_1, exp_0)
      return mul_2""")
    again = save_less(graph)
    assert sum(n.name == "exp" for n in again.nodes) == 3
    same_bits(graph, again, 1)


@pytest.mark.parametrize("seed", range(30))
def test_cut_is_the_cheapest_and_nearest_to_the_readers(seed):
    r = Random(seed)
    count = r.randint(2, 7)
    nodes = range(count)
    capacity = {n: r.randint(1, 9) for n in nodes}
    price = {n: r.randint(0, 4) for n in nodes if r.random() < 0.5}
    edges = [(a, b) for a in nodes for b in nodes if a < b and r.random() < 0.5]
    sources, sinks = {0, *r.sample(nodes, 1)}, {count - 1, *r.sample(nodes, 1)}

    def separates(cut: set[int]) -> bool:
        seen, stack = set(), [n for n in sources if n not in cut]
        while stack:
            n = stack.pop()
            if n in sinks:
                return False
            seen.add(n)
            stack += [b for a, b in edges if a == n and b not in seen and b not in cut]
        return True

    def cost(late: set[int]) -> int:
        """With what is computed late, what late nodes and sinks read of the others is kept."""
        kept = {a for a, b in edges if b in late and a not in late} | (sinks - late)
        return sum(capacity[n] for n in kept) + sum(price.get(n, 0) for n in late)

    free = set(nodes) - sources
    choices = (set(c) for k in range(count + 1) for c in itertools.combinations(free, k))
    behind = minimum_cut(capacity, edges, sources, sinks, price)
    assert not behind & sources and cost(behind) == min(map(cost, choices))
    kept = {a for a, b in edges if b in behind and a not in behind} | (sinks - behind)
    assert separates(kept)
