"""Gradients through compiled calls are those of eager code."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from compile_helpers import MLP, assert_gradients_same, assert_same, programs, twins

import nncomp as torch
from nncomp import nn
from nncomp.autograd import Function, grad

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


# -- second order ---------------------------------------------------------------------------------


def test_create_graph():
    compiled, eager = twins(nn.Sequential(MLP().double(), nn.Tanh()), backend="numpy")
    found = []
    for net in (compiled, eager):
        x = X.double().requires_grad_()
        (g,) = grad(net(x).sum(), x, create_graph=True)
        assert g.requires_grad
        g.pow(2).sum().backward()
        found.append([x.grad, *(p.grad for p in net.parameters() if p.grad is not None)])
    assert_same(found[0], found[1], 1e-10)
    assert_gradients_same(compiled, eager, 1e-10)


def test_third_order():
    compiled = torch.compile(lambda x: (x**4).sum(), backend="numpy")
    x = torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=True)
    (g1,) = grad(compiled(x), x, create_graph=True)
    (g2,) = grad(g1.sum(), x, create_graph=True)
    (g3,) = grad(g2.sum(), x)
    assert_same(g3, torch.tensor([24.0, 48.0], dtype=torch.float64))


def test_create_graph_with_dropout_and_running_statistics():
    net = nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Tanh()).double()
    compiled, eager = twins(net, backend="numpy")
    found = []
    for model in (compiled, eager):
        torch.manual_seed(3)
        x = X.double().requires_grad_()
        (g,) = grad(model(x).pow(2).sum(), x, create_graph=True)
        g.pow(2).sum().backward()
        found.append(x.grad)
    assert_same(found[0], found[1], 1e-9)
    assert_gradients_same(compiled, eager, 1e-9)


def test_gradgradcheck():
    from nncomp.autograd import gradcheck, gradgradcheck

    compiled = torch.compile(lambda x, w: torch.sigmoid(x @ w).pow(2), backend="numpy")
    x = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    w = torch.randn(3, 2, dtype=torch.float64, requires_grad=True)
    assert gradcheck(compiled, (x, w)) and gradgradcheck(compiled, (x, w))


def test_gradient_penalty_inside(backend):
    net = MLP(5, 6, 1).double()

    def penalty(x):
        x = x.requires_grad_() if x.is_leaf else x
        y = torch.tanh(net(x))
        (g,) = grad(y.sum(), x, create_graph=True)
        return ((g.pow(2).sum(1) + 1e-12).sqrt() - 1).pow(2).mean() + y.mean()

    compiled = torch.compile(penalty, backend=backend)
    results = []
    for f in (compiled, penalty):
        loss = f(X.double().requires_grad_())
        loss.backward()
        results.append((loss, [p.grad for p in net.parameters()]))
        for p in net.parameters():
            p.grad = None
    assert_same(results[0], results[1], 1e-10)


# -- functions that call backward() ---------------------------------------------------------------


def test_backward_inside_fills_and_accumulates_grad(backend):
    compiled_net, eager_net = MLP(), MLP()
    eager_net.load_state_dict(compiled_net.state_dict())

    def step(net):
        def run(x):
            loss = net(x).pow(2).mean()
            loss.backward()
            return loss

        return run

    compiled, eager = torch.compile(step(compiled_net), backend=backend), step(eager_net)
    for clear in (False, False, False, True, False):
        for net in (compiled_net, eager_net):
            if clear:
                net.zero_grad()
        got, wanted = compiled(X), eager(X)
        assert_same(got.detach(), wanted.detach())
        assert_gradients_same(compiled_net, eager_net)
    assert programs(compiled) == 2
    assert not compiled_net.fc1.weight.grad.requires_grad


def test_backward_inside_to_an_argument():
    def f(x):
        (x * x).sum().backward()
        return x.grad * 2

    compiled = torch.compile(f, backend="numpy")
    xs = [torch.ones(3, requires_grad=True) for _ in range(2)]
    for _ in range(3):
        got, wanted = compiled(xs[0]), f(xs[1])
        assert_same(got, wanted)
        assert_same(xs[0].grad, xs[1].grad)


# -- custom functions, hooks, modes ---------------------------------------------------------------


class Scaled(Function):
    """New style; the gradient is ten times what it should be, so that its use is seen."""

    @staticmethod
    def forward(ctx, x, factor):
        ctx.save_for_backward(x)
        ctx.factor = factor
        return x * factor

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g * ctx.factor * 10 + x * 0, None


class OldStyle(Function):
    """Old style: an instance is called."""

    def forward(self, x):
        self.save_for_backward(x)
        return x.clamp(min=0)

    def backward(self, g):
        (x,) = self.saved_tensors
        return g * (x > 0).to(g.dtype) * 100


def test_custom_functions_keep_their_backward(backend):
    compiled = torch.compile(lambda x: OldStyle()(Scaled.apply(x, 2.0)), backend=backend)
    x = torch.tensor([1.0, -1.0, 2.0], requires_grad=True)
    y = compiled(x)
    assert_same(y, torch.tensor([2.0, 0.0, 4.0]))
    y.sum().backward()
    assert_same(x.grad, torch.tensor([2000.0, 0.0, 2000.0]))


def test_tensor_hooks_inside_and_on_parameters():
    seen = []

    def f(x, w):
        h = x * w
        h.register_hook(lambda g: g * 3)
        return h.sum()

    compiled = torch.compile(f, backend="numpy")
    w = torch.ones(3, requires_grad=True)
    w.register_hook(lambda g: seen.append(1) or g + 1)
    compiled(torch.arange(3.0), w).backward()
    assert_same(w.grad, torch.arange(3.0) * 3 + 1)
    assert seen == [1]


def test_hooks_on_results_and_retain_grad():
    compiled, eager = twins(MLP(), backend="numpy")
    for net in (compiled, eager):
        y = net(X)
        y.register_hook(lambda g: g * 2)
        y.retain_grad()
        y.sum().backward()
        assert_same(y.grad, torch.full((4, 3), 2.0))
    assert_gradients_same(compiled, eager)


def test_no_grad_detach_and_enable_grad_inside():
    net = nn.Linear(5, 5)

    def f(x):
        with torch.no_grad():
            a = net(x)
            with torch.enable_grad():
                b = net(x) * 2
        return a * b.detach() + b, a

    compiled = torch.compile(f, backend="numpy")
    grads = []
    for function in (compiled, f):
        y, a = function(X)
        assert y.requires_grad and not a.requires_grad
        y.sum().backward()
        grads.append((net.weight.grad, net.bias.grad))
        net.zero_grad()
    assert_same(grads[0], grads[1], 1e-4)
    with torch.no_grad():
        y, a = compiled(X)
        assert y.requires_grad == f(X)[0].requires_grad and not a.requires_grad


def test_inference_mode():
    compiled, eager = twins(MLP(), backend="numpy")
    with torch.inference_mode():
        y = compiled(X)
    assert not y.requires_grad
    assert_same(y, eager(X).detach())


def test_tied_parameters():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(5, 5, bias=False), nn.Linear(5, 5, bias=False)
            self.b.weight = self.a.weight

        def forward(self, x):
            return self.b(torch.tanh(self.a(x)))

    compiled, eager = twins(Tied(), backend="numpy")
    for net in (compiled, eager):
        net(X).sum().backward()
    assert_gradients_same(compiled, eager)
    assert len(list(compiled.parameters())) == 1


def test_in_place_work_inside(backend):
    def f(x, w):
        y = x * w
        y[0] = w.sum()
        y.add_(w)
        z = y.clone()
        z[1:].mul_(y[:-1])
        return z

    compiled = torch.compile(f, backend=backend)
    grads = []
    for function in (compiled, f):
        w = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)
        function(torch.arange(9.0).reshape(3, 3), w).pow(2).sum().backward()
        grads.append(w.grad)
    assert_same(grads[0], grads[1], 1e-4)


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
