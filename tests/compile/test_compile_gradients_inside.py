"""Gradients of gradients, code that asks for gradients itself, custom functions, hooks, modes."""

from __future__ import annotations

from compile_helpers import MLP, assert_gradients_same, assert_same, programs, twins

import nncomp as torch
from nncomp import nn
from nncomp.autograd import Function, grad

X = torch.randn(4, 5)


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
