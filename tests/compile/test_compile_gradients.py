"""Gradients through compiled calls are those of eager code."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from compile_helpers import MLP, assert_gradients_same, assert_same, programs, twins

import nncomp as torch
from nncomp import nn
from nncomp.autograd import grad

X = torch.randn(4, 5)


def test_parameters_and_inputs(backend):
    compiled, eager = twins(MLP(), backend=backend)
    xs = [X.clone().requires_grad_() for _ in range(2)]
    for net, x in zip((compiled, eager), xs, strict=True):
        net(x).pow(2).sum().backward()
    assert_gradients_same(compiled, eager)
    assert_same(xs[0].grad, xs[1].grad, 1e-4)
    assert xs[0].grad.shape == (4, 5)


def test_float64_is_tight(backend):
    compiled, eager = twins(MLP().double(), backend=backend)
    for net in (compiled, eager):
        torch.tanh(net(X.double())).sum().backward()
    assert_gradients_same(compiled, eager, 1e-12)


def test_a_scalar_loss_inside_of_the_compiled_function(backend):
    net = MLP()
    loss = torch.compile(lambda x, y: nn.functional.cross_entropy(net(x), y), backend=backend)
    y = torch.tensor([0, 2, 1, 1])
    got = loss(X, y)
    got.backward()
    eager = copy.deepcopy(net)
    for p in eager.parameters():
        p.grad = None
    wanted = nn.functional.cross_entropy(eager(X), y)
    wanted.backward()
    assert_same(got, wanted)
    assert_gradients_same(net, eager)


def test_gradients_accumulate():
    compiled, eager = twins(MLP(), backend="numpy")
    for net in (compiled, eager):
        for _ in range(3):
            net(X).sum().backward()
    assert_gradients_same(compiled, eager)
    before = compiled.fc1.weight.grad
    compiled(X).sum().backward()
    assert compiled.fc1.weight.grad is before


def test_retain_graph_and_the_error_without_it():
    compiled, eager = twins(MLP(), backend="numpy")
    for net in (compiled, eager):
        y = net(X).sum()
        y.backward(retain_graph=True)
        y.backward()
        with pytest.raises(RuntimeError, match="a second time"):
            y.backward()
    assert_gradients_same(compiled, eager)


def several(x, w):
    h = torch.relu(x @ w)
    return h.sum(), {"mean": h.mean(0), "max": h.argmax(1), "raw": x * 2}, h.detach()


def test_several_outputs_each_alone_and_together(backend):
    compiled = torch.compile(several, backend=backend)
    w = torch.randn(5, 3)
    for pick in (
        lambda r: r[0], lambda r: r[1]["mean"].sum(), lambda r: r[1]["raw"].sum(),
        lambda r: r[0] + (r[1]["mean"] * r[1]["raw"].sum()).sum(),
    ):  # fmt: skip
        grads = []
        for f in (compiled, several):
            a, b = X.clone().requires_grad_(), w.clone().requires_grad_()
            pick(f(a, b)).backward()
            grads.append((a.grad, b.grad))
        for got, wanted in zip(*grads, strict=True):
            assert (got is None) == (wanted is None)
            if wanted is not None:
                assert_same(got, wanted, 1e-4)
    assert programs(compiled) == 1


def test_which_outputs_require_grad():
    compiled = torch.compile(several, backend="numpy")
    for requires in (True, False):
        w = torch.randn(5, 3).requires_grad_(requires)
        total, table, plain = compiled(X, w)
        assert total.requires_grad is requires and table["mean"].requires_grad is requires
        assert not table["max"].requires_grad and not plain.requires_grad
        assert not table["raw"].requires_grad
        assert total.is_leaf is not requires


def test_unused_parameters_have_no_gradient():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused, self.cut = nn.Linear(5, 2), nn.Linear(5, 2), nn.Linear(5, 2)

        def forward(self, x):
            with torch.no_grad():
                shift = self.cut(x)
            return self.used(x) + shift + self.cut(x).detach(), self.unused(x)

    compiled, eager = twins(Net(), backend="numpy")
    for net in (compiled, eager):
        net(X)[0].sum().backward()
    assert_gradients_same(compiled, eager)
    y = compiled(X)[0]
    with pytest.raises(RuntimeError, match="not have been used"):
        grad(y.sum(), [compiled.cut.weight])
    assert grad(compiled(X)[0].sum(), [compiled.cut.weight], allow_unused=True) == (None,)


def test_frozen_parameters_and_inputs():
    compiled, eager = twins(MLP(), backend="numpy")
    for net in (compiled, eager):
        net.fc1.requires_grad_(False)
        net(X).sum().backward()
    assert_gradients_same(compiled, eager)
    assert compiled.fc1.weight.grad is None and X.grad is None


def test_autograd_grad_of_some_inputs():
    compiled, eager = twins(MLP(), backend="numpy")
    found = []
    for net in (compiled, eager):
        x = X.clone().requires_grad_()
        y = net(x)
        found.append(grad(y, [x, net.fc2.bias], torch.ones(4, 3)))
        assert net.fc1.weight.grad is None
    assert_same(found[0], found[1], 1e-4)


def test_calls_chained_with_eager_operations():
    compiled, eager = twins(MLP(5, 7, 5), backend="numpy")
    for net in (compiled, eager):
        torch.sin(net(torch.exp(net(X * 2)) + X)).sum().backward()
    assert_gradients_same(compiled, eager)


def test_non_leaf_and_view_arguments():
    compiled = torch.compile(lambda a, b: (a * b).sum(), backend="numpy")
    grads = []
    for f in (compiled, lambda a, b: (a * b).sum()):
        base = torch.arange(6.0).requires_grad_()
        f(base[:3], (base * 2)[3:]).backward()
        grads.append(base.grad)
    assert_same(grads[0], grads[1])


def test_non_contiguous_gradients_and_zero_sizes(backend):
    compiled = torch.compile(lambda x: x * 3, backend=backend)
    x = torch.randn(3, 4, requires_grad=True)
    compiled(x).t().sum(0).backward(torch.randn(8)[::2][:3].flip(0))
    assert x.grad.shape == (3, 4)
    empty = torch.zeros(0, 4, requires_grad=True)
    compiled(empty).sum().backward()
    assert empty.grad.shape == (0, 4)


# -- in-place changes between forward and backward ------------------------------------------------

MODIFIED = "modified by an inplace operation"


def test_a_changed_parameter_is_an_error():
    compiled = torch.compile(MLP(), backend="numpy")
    y = compiled(X.clone().requires_grad_()).sum()
    with torch.no_grad():
        compiled.fc2.weight.add_(1)
    with pytest.raises(RuntimeError, match=MODIFIED):
        y.backward()


def test_a_changed_input_is_an_error_and_a_bias_is_not():
    compiled, eager = twins(MLP(), backend="numpy")
    for net in (compiled, eager):
        x = X.clone()
        y = net(x).sum()
        x.add_(1)
        with pytest.raises(RuntimeError, match=MODIFIED):
            y.backward()
        for p in net.parameters():
            p.grad = None
        y = net(X).sum()
        with torch.no_grad():
            net.fc2.bias.add_(1)
        y.backward()
    assert_gradients_same(compiled, eager)


def test_a_changed_lender_of_memory_does_not_matter():
    grads = []
    for f in (torch.compile(lambda a, b: a * b, backend="numpy"), lambda a, b: a * b):
        big, w = torch.arange(4096.0), torch.ones(1, 4096, requires_grad=True)
        lent = torch.flip(big.reshape(1, -1), (0,))
        y = f(lent, w)
        big.zero_()
        y.sum().backward()
        grads.append(w.grad)
    assert_same(grads[0], grads[1])
    assert float(grads[0].sum()) > 0


def test_a_changed_result_is_not_what_backward_reads():
    compiled = torch.compile(lambda x: torch.exp(x), backend="numpy")
    x = torch.ones(3, requires_grad=True)
    y = compiled(x)
    with torch.no_grad():
        y.zero_()
    y.sum().backward()
    assert_same(x.grad, torch.exp(torch.ones(3)))


def test_gradients_against_torch():
    theirs = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((4, 5)), rng.standard_normal((5, 3))

    def f(lib, x, w):
        h = lib.softmax(x @ w, -1)
        return (h * lib.log(h + 1e-3)).sum(), h.amax(0)

    found = []
    for lib in (torch, theirs):
        a = lib.tensor(x, requires_grad=True)
        b = lib.tensor(w, requires_grad=True)
        run = torch.compile(f) if lib is torch else f
        total, top = run(lib, a, b)
        (total * 2 + top.sum()).backward()
        found.append([np.asarray(v.grad) for v in (a, b)])
    for got, wanted in zip(*found, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-10, atol=1e-12)
