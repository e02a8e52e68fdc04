"""Gradients of compiled calls: no copies, memory taken again only where nobody uses it."""

import numpy as np
import pytest
from nncomp.backends.cpu.result_memory import LARGE, ResultMemory, can_count
from nncomp.ir.types import TensorType, float32

import nncomp
from nncomp import nn

TYPES = [TensorType((LARGE // 4, 2), float32), None, TensorType((3,), float32)]

counting = pytest.mark.skipif(not can_count(), reason="this Python does not count references")


def address(array) -> int:
    return array.__array_interface__["data"][0]


@counting
def test_memory_is_taken_again_when_nobody_uses_it():
    memory = ResultMemory()
    first, nothing, small = memory.take(TYPES)
    assert nothing is None and first.shape == (LARGE // 4, 2) and small.shape == (3,)
    place = address(first)
    del first
    again, *_ = memory.take(TYPES)
    assert address(again) == place


@counting
@pytest.mark.parametrize(
    "use_of", [np.asarray, lambda x: x[1:2], memoryview], ids=["array", "part", "buffer"]
)
def test_memory_in_use_is_left_alone(use_of):
    memory = ResultMemory()
    first, *_ = memory.take(TYPES)
    first[...] = 7.0
    use = use_of(first)
    del first
    second, *_ = memory.take(TYPES)
    second[...] = 8.0
    assert (np.asarray(use) == 7.0).all()


def wide():
    nncomp.manual_seed(0)
    net = nn.Sequential(nn.Linear(768, 512), nn.ReLU(), nn.Linear(512, 3))
    return net, nncomp.compile(net), nncomp.randn(5, 768)


def step(net, compiled, x, scale=1.0):
    (compiled(x) * scale).sum().backward()
    return [p.grad for p in net.parameters()]


def test_gradients_that_are_kept_keep_their_values():
    net, compiled, x = wide()
    kept = step(net, compiled, x)
    values = [g.numpy().copy() for g in kept]
    net.zero_grad()
    other = step(net, compiled, x, 4.0)
    for g, value, more in zip(kept, values, other, strict=True):
        assert np.array_equal(g.numpy(), value)
        assert np.array_equal(more.numpy(), 4 * value)


@counting
def test_gradients_are_not_copied_and_their_memory_serves_again():
    net, compiled, x = wide()
    places = []
    for _ in range(3):
        net.zero_grad()
        weight, *_ = step(net, compiled, x)
        places.append(weight.data_ptr())
        del weight
    assert len(set(places)) == 1


def test_gradients_accumulate():
    net, compiled, x = wide()
    once = [g.numpy().copy() for g in step(net, compiled, x)]
    for g, value in zip(step(net, compiled, x), once, strict=True):
        assert np.allclose(g.numpy(), 2 * value, rtol=1e-5)


@pytest.mark.parametrize("hooked", ["tensor", "node"])
def test_what_a_hook_keeps_is_not_the_gradient_itself(hooked):
    net, compiled, x = wide()
    seen = []
    if hooked == "tensor":
        net[0].weight.register_hook(lambda g: seen.append(g))
        y = compiled(x)
    else:
        y = compiled(x)
        y.grad_fn.register_hook(lambda gradients, _: seen.extend(gradients))
    y.sum().backward()
    grad = net[0].weight.grad
    (same,) = [g for g in seen if g is not None and g.shape == grad.shape]
    value = same.numpy().copy()
    grad.zero_()
    assert np.array_equal(same.numpy(), value) and value.any()


def test_one_weight_used_inside_and_outside():
    net, compiled, x = wide()
    (expected,) = nncomp.autograd.grad(net(x).sum(), net[0].weight)
    (compiled(x).sum() + 2 * net[0].weight.sum()).backward()
    assert np.allclose(net[0].weight.grad.numpy(), expected.numpy() + 2, rtol=1e-4, atol=1e-5)


def test_equal_gradients_have_memory_of_their_own():
    nncomp.manual_seed(0)
    a, b, g = (nncomp.randn(600, 600, requires_grad=i < 2) for i in range(3))
    nncomp.compile(lambda x, y: x + y)(a, b).backward(g)
    value = g.numpy().copy()
    a.grad.zero_()
    assert np.array_equal(b.grad.numpy(), value) and np.array_equal(g.numpy(), value)


def gradients(net, *losses, **options):
    net.zero_grad()
    for loss in losses:
        loss.backward(**options)
    return [np.array(p.grad.numpy()) for p in net.parameters()]


def test_calls_in_flight_keep_their_values():
    net, compiled, x = wide()
    y = nncomp.randn(5, 768)
    alone = [gradients(net, compiled(t).square().sum()) for t in (x, y)]
    first, second = compiled(x).square().sum(), compiled(y).square().sum()
    for got, a, b in zip(gradients(net, second, first), *alone, strict=True):
        assert np.allclose(got, a + b, rtol=1e-4, atol=1e-3)


def test_a_kept_graph_keeps_its_values():
    net, compiled, x = wide()
    alone = gradients(net, compiled(x).square().sum())
    loss = compiled(x).square().sum()
    gradients(net, loss, retain_graph=True)
    compiled(nncomp.randn(5, 768)).square().sum().backward()
    for got, expected in zip(gradients(net, loss), alone, strict=True):
        assert np.array_equal(got, expected)
