"""Results of products that are kept in panels of columns, and who reads them there."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nncomp.backends import cpu
from nncomp.backends.cpu.layout_panels import _Panels
from nncomp.ir.graph import Graph, input_node
from nncomp.ir.ops import add, matmul, mul, permute, reshape, sum, tanh
from nncomp.ir.panels import panels_of
from nncomp.ir.types import TensorType, float32
from running import check

import nncomp
from nncomp import nn, optim
from nncomp.nn import functional as F


def input_of(name, *shape):
    return input_node(name, TensorType(shape, float32))


def flat(x):
    return reshape(x, shape=(x.type.size // x.shape[-1], x.shape[-1]))


def turned(x):
    return permute(x, dims=(1, 0))


def step(shape=(4, 32), width=64, hidden=512, others=lambda h: ()):
    """A layer, a second one, and the second one's gradient, which reads the hidden values
    transposed; `others` are further results of the hidden values."""
    x, d = input_of("x", *shape, width), input_of("d", *shape, 128)
    w, v = input_of("w", width, hidden), input_of("v", hidden, 128)
    hidden_values = reshape(tanh(matmul(flat(x), w)), shape=(*shape, hidden))
    y = matmul(flat(hidden_values), v)
    grad = matmul(turned(flat(hidden_values)), flat(d))
    return Graph("step", [x, d, w, v], [y, grad, *others(hidden_values)])


def operands(graph, seed=0):
    r = np.random.default_rng(seed)
    return [(r.standard_normal(n.shape) / 8).astype(np.float32) for n in graph.inputs]


def stored_in_panels(graph) -> list[bool]:
    """For each kernel around a product, whether its first result is kept in panels."""
    fused = cpu.compile(graph).fused_graph
    bodies = [n.attrs["body"] for n in fused.nodes if n.name == "fused"]
    bodies = [b for b in bodies if any(n.name == "contract" for n in b.nodes)]
    return [panels_of(b.outputs[0]) is not None for b in bodies]


def copies(graph) -> int:
    """Kernels that only move elements of a tensor as large as the hidden values."""
    moved = 0
    for node in cpu.compile(graph).fused_graph.nodes:
        if node.name == "fused" and node.attrs["kind"] == "map":
            body = node.attrs["body"]
            views = all(n.name in ("reshape", "permute", "pad") for n in body.nodes[1:])
            moved += views and body.inputs[0].type.size >= 128 * 512
    return moved


@pytest.mark.parametrize("hidden", (512, 528, 1024))
@pytest.mark.parametrize("shape", ((128,), (4, 32), (2, 4, 16)))
def test_a_product_writes_the_panels_that_its_gradient_reads(shape, hidden):
    graph = step(shape, hidden=hidden)
    check(graph, operands(graph))
    assert any(stored_in_panels(graph))
    assert copies(graph) == 0


def sums(h):
    return (sum(h, axes=tuple(range(len(h.shape) - 1))),)


@pytest.mark.parametrize("rows", (128, 100, 8 * 13))
def test_sums_of_columns_read_panels(rows):
    graph = step((rows,), others=sums)
    check(graph, operands(graph), scale=4)
    assert any(stored_in_panels(graph)) == (rows % 16 == 0)


OTHERS = {
    "a result": lambda h: (h,),
    "rows are added": lambda h: (sum(h, axes=(2,)),),
    "read by an elementwise node": lambda h: (mul(h, add(h, h)),),
    "right operand too": lambda h: (matmul(turned(flat(h)), flat(h)),),
}


@pytest.mark.parametrize("name", OTHERS)
def test_readers_that_need_the_matrix(name):
    graph = step(others=OTHERS[name])
    check(graph, operands(graph), scale=4)


def test_a_second_result_of_the_same_kernel():
    x, w, d = input_of("x", 128, 64), input_of("w", 64, 512), input_of("d", 128, 128)
    before = matmul(x, w)
    h = tanh(before)
    results = [matmul(turned(h), d), tanh(matmul(h, turned(w))), mul(before, before)]
    graph = Graph("two", [x, w, d], results)
    check(graph, operands(graph))
    assert any(stored_in_panels(graph))


loop = st.tuples(st.integers(1, 8), st.sampled_from((0, 1, 2, 3, 4, 8, 16, 32, 64, 96, 192, 384)))


@given(st.lists(loop, min_size=1, max_size=4), st.sampled_from((4, 16, 32)))
@settings(max_examples=300, deadline=None)
def test_walks_lead_to_the_same_elements(loops, width):
    panels = _Panels(rows=40, columns=96, width=width)
    size = panels.rows * panels.columns
    walk = panels.walk([(n, stride, 7 * stride) for n, stride in loops])
    if walk is None or np.sum([(n - 1) * stride for n, stride in loops]) >= size:
        return
    matrix = np.arange(size).reshape(panels.rows, -1, width).transpose(1, 0, 2).reshape(-1)

    def offsets(loops, at):
        steps = [[i * loop[at] for i in range(loop[0])] for loop in loops]
        return np.array([np.sum(x) for x in itertools.product(*steps)], np.int64)

    assert (matrix[offsets(walk, 1)] == offsets(loops, 1)).all()
    assert (offsets(walk, 2) == 7 * offsets(loops, 1)).all()


def test_walks_that_cross_a_panel_are_left():
    panels = _Panels(rows=8, columns=64, width=32)
    assert panels.walk([(64, 1, 5)]) == ((2, 256, 160), (32, 1, 5))
    assert panels.walk([(8, 64, 0), (64, 1, 1)]) == ((8, 32, 0), (2, 256, 32), (32, 1, 1))
    assert panels.walk([(20, 1, 0), (20, 1, 0)]) is None
    assert panels.walk([(8, 65, 0)]) is None
    assert panels.walk([(2, 48, 0)]) is None


class Attention(nn.Module):
    """Causal self-attention of width 64 a head."""

    def __init__(self, heads, head=64):
        super().__init__()
        self.heads, self.width = heads, heads * head
        self.inlet, self.outlet = nn.Linear(self.width, 3 * self.width), nn.Linear(self.width, 8)

    def forward(self, x):
        parts = self.inlet(x).split(self.width, dim=2)
        q, k, v = (p.unflatten(2, (self.heads, -1)).transpose(1, 2) for p in parts)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.outlet(y.transpose(1, 2).flatten(2))


def trained(heads, head, compiled):
    nncomp.manual_seed(1)
    model = Attention(heads, head)
    x, target = nncomp.randn(2, 64, model.width), nncomp.randn(2, 64, 8)
    optimizer = optim.SGD(model.parameters(), lr=0.5)
    if compiled:
        step = nncomp.compile_train_step(model, F.mse_loss, optimizer)
        step(x, target)
        ((program,),) = step.programs.values()
        return model, str(program.fused_graph)
    F.mse_loss(model(x), target).backward()
    optimizer.step()
    return model, ""


@pytest.mark.parametrize("heads, head", ((3, 64), (6, 32), (2, 96), (3, 48)))
def test_gradients_of_attention_are_written_in_panels(heads, head):
    (model, text), (eager, _) = (trained(heads, head, compiled) for compiled in (True, False))
    for a, b in zip(model.parameters(), eager.parameters(), strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-4, atol=1e-6)
    assert "attention_grad(" in text
    panels = f"shape=({3 * heads},128,{head})"
    assert (panels in text) == (3 * heads * head >= 512)
