"""Checkpointed calls: the same values and gradients, computed again with the same random draws."""

from __future__ import annotations

import numpy as np
import pytest

import nncomp
from nncomp import nn
from nncomp.utils.checkpoint import CheckpointError, checkpoint, checkpoint_sequential


def model():
    nncomp.manual_seed(1)
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, 8), nn.ReLU(),
                         nn.Linear(8, 2))  # fmt: skip


def gradients(run, net, x):
    nncomp.manual_seed(7)
    net.zero_grad()
    x.grad = None
    y = run(net, x)
    (y * y).sum().backward()
    after = nncomp.rand(2).tolist()
    return y.tolist(), [p.grad.numpy().copy() for p in net.parameters()], x.grad, after


@pytest.mark.parametrize("run", [
    lambda net, x: checkpoint(net, x, use_reentrant=False),
    lambda net, x: checkpoint(net, x, use_reentrant=True),
    lambda net, x: checkpoint_sequential(net, 3, x),
    lambda net, x: checkpoint_sequential(list(net), 2, x, use_reentrant=False),
    lambda net, x: checkpoint(lambda x: checkpoint(net, x), x),
], ids=["plain", "reentrant", "sequential", "list", "nested"])  # fmt: skip
@pytest.mark.parametrize("needs", [True, False])
def test_values_and_gradients_are_those_of_the_plain_call(run, needs):
    net, x = model(), nncomp.randn(5, 3).requires_grad_(needs)
    plain = gradients(lambda net, x: net(x), net, x)
    ours = gradients(run, net, x)
    assert plain[0] == ours[0] and plain[3] == ours[3]
    for a, b in zip(plain[1], ours[1], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    if needs:
        np.testing.assert_allclose(plain[2].numpy(), ours[2].numpy(), rtol=1e-6)


def test_the_function_runs_again_in_backward_only():
    calls = []

    def f(x, *, scale):
        calls.append(x.requires_grad)
        return {"y": nncomp.exp(x) * scale, "n": 3}, [x.detach()]

    x = nncomp.ones(2, requires_grad=True)
    out, rest = checkpoint(f, x, scale=2.0)
    assert len(calls) == 1 and out["n"] == 3 and not rest[0].requires_grad
    assert "Checkpoint" in out["y"].grad_fn.name()
    out["y"].sum().backward()
    assert len(calls) == 2 and x.grad.tolist() == pytest.approx([2 * np.e] * 2)
    with nncomp.no_grad():
        assert not checkpoint(f, x, scale=1.0)[0]["y"].requires_grad


def test_inner_tensors_and_second_gradients():
    x = nncomp.tensor([0.5, -1.0], requires_grad=True)
    h = nncomp.sin(x)  # reached through the closure and the argument

    def f(a):
        return a * h * nncomp.exp(x)

    plain = nncomp.autograd.grad((h * h * nncomp.exp(x)).sum(), x, retain_graph=True)[0]
    y = checkpoint(f, h)
    (ours,) = nncomp.autograd.grad(y.sum(), x, create_graph=True)
    np.testing.assert_allclose(ours.detach().numpy(), plain.numpy(), rtol=1e-6)
    (second,) = nncomp.autograd.grad(ours.sum(), x)
    numeric = 2 * np.cos(2 * x.detach().numpy()) + np.sin(2 * x.detach().numpy())
    base = np.exp(x.detach().numpy())
    s = np.sin(x.detach().numpy()) ** 2
    ds = np.sin(2 * x.detach().numpy())
    np.testing.assert_allclose(second.numpy(), base * (s + ds + numeric), rtol=1e-5)


def test_random_numbers_are_drawn_anew_without_preserve():
    def f(x):
        return x * nncomp.rand(50)

    x = nncomp.ones(50, requires_grad=True)
    y = checkpoint(f, x)
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), y.detach().numpy())
    x.grad = None
    y = checkpoint(f, x, preserve_rng_state=False)
    y.sum().backward()
    assert (x.grad != y).any()


def test_other_results_are_refused():
    shapes = iter([2, 3])

    def f(x):
        return x.sum() * nncomp.ones(next(shapes))

    y = checkpoint(f, nncomp.ones(2, requires_grad=True))
    with pytest.raises(CheckpointError, match="different metadata"):
        y.sum().backward()
    with pytest.raises(ValueError, match="determinism_check"):
        checkpoint(f, nncomp.ones(2), determinism_check="x")
    with pytest.raises(TypeError, match="Unexpected keyword"):
        checkpoint_sequential([], 1, nncomp.ones(1), nonsense=1)


def test_a_compiled_function_may_contain_a_checkpoint():
    net = model().eval()
    x = nncomp.randn(4, 3, requires_grad=True)
    compiled = nncomp.compile(lambda x: checkpoint(net, x, use_reentrant=False))
    y = compiled(x)
    np.testing.assert_allclose(y.detach().numpy(), net(x).detach().numpy(), rtol=1e-5)
    y.sum().backward()
    assert x.grad is not None
