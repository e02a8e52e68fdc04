"""Memory of what a forward program leaves for its backward one is used again by later calls."""

from __future__ import annotations

import numpy as np
import pytest
from nncomp.ir.types import TensorType, float32, int8

import nncomp
from nncomp import nn
from nncomp.kept_memory import LINE, KeptMemory


def test_arrays_begin_on_lines_and_do_not_overlap():
    types = [TensorType((3, 5), float32), TensorType((7,), int8), TensorType((0, 4), float32)]
    kept = KeptMemory(types).take()
    assert [a.shape for a in kept.arrays] == [t.shape for t in types]
    assert all(a.__array_interface__["data"][0] % LINE == 0 for a in kept.arrays)
    kept.arrays[1][:] = 1
    kept.arrays[0][:] = 2.0
    assert (kept.arrays[1] == 1).all()


def test_what_comes_back_is_given_out_again():
    memory = KeptMemory([TensorType((4,), float32)])
    first, second = memory.take(), memory.take()
    assert first.memory is not second.memory
    memory.give_back(first)
    memory.give_back(second)  # one is enough to hold
    assert memory.take() is first and memory.take() is not second


@pytest.fixture
def compiled():
    nncomp.manual_seed(0)
    return nncomp.compile(nn.Sequential(nn.Linear(6, 20), nn.Tanh(), nn.Linear(20, 3)))


def gradients(compiled, *losses, **options):
    compiled.zero_grad()
    for loss in losses:
        loss.backward(**options)
    return [np.array(p.grad.numpy()) for p in compiled.parameters()]


def test_calls_in_flight_keep_their_values(compiled):
    x, y = nncomp.randn(4, 6), nncomp.randn(4, 6)
    alone = [gradients(compiled, compiled(t).square().sum()) for t in (x, y)]
    first, second = compiled(x).square().sum(), compiled(y).square().sum()
    both = gradients(compiled, second, first)
    for got, a, b in zip(both, *alone, strict=True):
        np.testing.assert_allclose(got, a + b, rtol=1e-5, atol=1e-6)


def test_a_kept_graph_keeps_its_values(compiled):
    x = nncomp.randn(4, 6)
    alone = gradients(compiled, compiled(x).square().sum())
    loss = compiled(x).square().sum()
    gradients(compiled, loss, retain_graph=True)
    compiled(nncomp.randn(4, 6)).square().sum().backward()
    for got, expected in zip(gradients(compiled, loss), alone, strict=True):
        np.testing.assert_array_equal(got, expected)


def test_the_next_call_uses_the_same_memory(compiled):
    seen = []
    for _ in range(2):
        y = compiled(nncomp.randn(4, 6))
        seen.append(y._grad_fn.kept[0].__array_interface__["data"][0])
        y.sum().backward()
    assert seen[0] == seen[1]
