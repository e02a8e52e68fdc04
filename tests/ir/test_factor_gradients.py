"""Sums of multiples of a gradient as one product, and where its factor is computed."""

from __future__ import annotations

import importlib
import textwrap
from random import Random

import numpy as np
import pytest
from draw import draw_array, draw_graph
from hypothesis import given, settings
from hypothesis import strategies as st
from nncomp.backends.cpu.pipeline import kernel_pipeline
from nncomp.ir.interpret import interpret
from nncomp.ir.parser import parse_graph
from nncomp.ir.passes.factor_gradients import factor_gradients
from nncomp.ir.passes.fuse import fuse
from nncomp.ir.passes.save_less import save_less
from nncomp.ir.printer import print_graph
from nncomp.ir.verify import verify

import nncomp
from nncomp import nn


def close(before, after, seed: int, tolerance: float = 1e-5) -> None:
    r = Random(seed)
    arrays = [draw_array(r, n.type, ordinary=True) for n in before.inputs]
    for a, b in zip(interpret(before, *arrays), interpret(after, *arrays), strict=True):
        a, b = np.asarray(a), np.asarray(b)
        scale = float(np.max(np.abs(a[np.isfinite(a)]), initial=1.0)) if a.dtype.kind == "f" else 1
        np.testing.assert_allclose(b, a, rtol=1e-3, atol=tolerance * scale, equal_nan=True)


def body_of(text: str):
    head = "graph f(x: f32[64,64], w: f32[64,64], g: f32[64,64]) {"
    return parse_graph(f"{head}\n{textwrap.dedent(text)}\n}}")


def test_the_docstring_example_is_what_the_pass_does():
    doc = importlib.import_module("nncomp.ir.passes.factor_gradients").__doc__
    before, after = doc.split("before:\n")[1].split("after:\n")
    graph = parse_graph(textwrap.dedent(before))
    result = verify(factor_gradients(graph))
    wanted = parse_graph(textwrap.dedent(after.split("\n\n")[0]))
    assert print_graph(result) == print_graph(wanted)
    assert factor_gradients(result) is result
    close(graph, result, 0)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_random_graphs_keep_their_meaning(seed):
    graph = draw_graph(Random(seed))
    close(graph, verify(factor_gradients(graph)), seed)


def test_every_way_to_make_a_multiple():
    graph = body_of("""
      exp_0 = exp(g)
      matmul_0 = matmul(g, w)
      mul_0 = mul(exp_0, matmul_0)
      neg_0 = neg(matmul_0)
      div_0 = div(neg_0, exp_0)
      sub_0 = sub(div_0, matmul_0)
      add_0 = add(sub_0, mul_0)
      add_1 = add(add_0, matmul_0)
      return add_1""")
    result = verify(factor_gradients(graph))
    assert [n.name for n in result.nodes][-1] == "mul"
    assert sum(n.name == "matmul" for n in result.nodes[-1].inputs) == 1
    close(graph, result, 3)


OTHER_SUMS = {
    "chain": "mul_0 = mul(matmul_0, x)\n mul_1 = mul(mul_0, w)\n return mul_1",
    "square": "mul_0 = mul(matmul_0, matmul_0)\n add_0 = add(matmul_0, mul_0)\n return add_0",
    "divisor": "div_0 = div(x, matmul_0)\n add_0 = add(matmul_0, div_0)\n return add_0",
    "one-level": "mul_0 = mul(g, w)\n mul_1 = mul(g, x)\n add_0 = add(mul_0, mul_1)\n return add_0",
    "two-products": "matmul_1 = matmul(x, w)\n add_0 = add(matmul_0, matmul_1)\n return add_0",
}


@pytest.mark.parametrize("case", OTHER_SUMS)
def test_other_sums_stay(case):
    graph = body_of("matmul_0 = matmul(g, w)\n " + OTHER_SUMS[case])
    assert factor_gradients(graph) is graph


def gelu_step(width: int = 96, rows: int = 64):
    nncomp.manual_seed(0)
    up, down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
    net = nn.Sequential(nn.Linear(width, width), up, nn.GELU(approximate="tanh"), down)
    x, y = nncomp.randn(rows, width), nncomp.randn(rows, width)
    step = nncomp.compile_train_step(net, nn.MSELoss(), nncomp.optim.SGD(net.parameters(), lr=0.1))
    return net, step, x, y


def test_tanh_of_a_gelu_is_computed_once_in_the_kernel_of_its_product():
    _, step, x, y = gelu_step()
    step(x, y)
    fused = [n for n in step.fused_graph.nodes if n.name == "fused"]
    with_tanh = [n for n in fused if any(x.name == "tanh" for x in n.attrs["body"].nodes)]
    assert [n.attrs["kind"] for n in with_tanh] == ["contract"]
    assert len(with_tanh[0].type) == 2  # the activation, and what its gradient is multiplied by


def test_the_step_trains_as_without_the_pass():
    net, step, x, y = gelu_step()
    twin, _, _, _ = gelu_step()
    optimizer, loss_of = nncomp.optim.SGD(twin.parameters(), lr=0.1), nn.MSELoss()
    for _ in range(5):
        got = float(step(x, y))
        optimizer.zero_grad()
        loss = loss_of(twin(x), y)
        loss.backward()
        optimizer.step()
        assert got == pytest.approx(float(loss), rel=1e-5)
    for a, b in zip(net.parameters(), twin.parameters(), strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-4, atol=1e-6)


def test_kernel_pipeline_factors_before_it_decides_what_to_save():
    names = [getattr(p, "__name__", "") for p in kernel_pipeline()]
    assert names.index("factor_gradients") < names.index("save_less") < names.index("fuse")


def test_a_kept_factor_is_stored_beside_the_activation():
    graph = parse_graph("""graph f(x: f32[64,64], w: f32[64,64], v: f32[64,64]) {
      contract_0 = contract(x, w, batch=(), m=((64,64),), n=64, k=((64,1,64),), panel=0, panel_stride=0, a_offset=0, b_offset=0)
      tanh_0 = tanh(contract_0)
      mul_0 = mul(tanh_0, contract_0)
      contract_1 = contract(mul_0, v, batch=(), m=((64,64),), n=64, k=((64,1,64),), panel=0, panel_stride=0, a_offset=0, b_offset=0)
      mul_1 = mul(contract_1, tanh_0)
      mul_2 = mul(contract_1, contract_0)
      add_0 = add(mul_1, mul_2)
      return add_0
    }""")  # noqa: E501
    fused = fuse(save_less(factor_gradients(graph)))
    kernels = [n for n in fused.nodes if n.name == "fused"]
    assert [(n.attrs["kind"], len(n.type)) for n in kernels] == [("contract", 2), ("contract", 1)]
    close(graph, fused, 1)
