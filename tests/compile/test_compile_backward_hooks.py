"""Module backward hooks in compiled code: the same gradients as eagerly, or an error."""

from __future__ import annotations

import copy

import pytest
from compile_helpers import MLP, assert_gradients_same, assert_same, last_reason, programs

import nncomp as torch
from nncomp import nn
from nncomp.nn.module import (
    register_module_full_backward_hook,
    register_module_full_backward_pre_hook,
)
from nncomp.trace_error import TraceError

X = torch.linspace(-1, 1, 20).reshape(4, 5)
Y = torch.linspace(0, 1, 12).reshape(4, 3)


class Pair(nn.Module):
    """Two tensors in, two out, one number in between."""

    def forward(self, a, number, b):
        return a * b * number, a + b


class Deep(nn.Module):
    """Modules with hooks inside of modules with hooks; one is called twice."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.BatchNorm1d(6))
        self.pair, self.drop = Pair(), nn.Dropout(0.0)
        self.twice, self.head = nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        x = self.stem(x)
        a, b = self.pair(self.twice(x), 0.5, self.twice(x * 2))
        return self.head(self.drop(a.sin() + b))


def doubled(module, grad_input, grad_output):
    return tuple(g if g is None else g * 2 for g in grad_input)


def mixed(module, grad_input, grad_output):
    size = sum((g * g).mean() for g in grad_output)
    return tuple(g if g is None else g + size for g in grad_input)


def clamped(module, grad_output):
    return tuple(g.clamp(-0.05, 0.1) for g in grad_output)


def hook_all(net):
    for number, (name, module) in enumerate(net.named_modules()):
        if name:
            module.register_full_backward_hook(mixed if number % 2 else doubled)
        if number % 3 == 1:
            module.register_full_backward_pre_hook(clamped)


def gradients(net, x, loss=None):
    """The loss and the gradient of x, with those of the parameters in .grad."""
    x = x.clone().requires_grad_()
    found = net(x)
    loss = (found * found).sum() if loss is None else loss(found)
    loss.backward()
    return loss.detach(), x.grad


def same_as_eager(net, backend, x=X):
    eager = copy.deepcopy(net)
    compiled = torch.compile(net, backend=backend)
    for _ in range(2):
        net.zero_grad(), eager.zero_grad()
        assert_same(gradients(compiled, x), gradients(eager, x), 1e-4)
        assert_gradients_same(net, eager)
    return compiled


def test_hooks_everywhere(backend):
    net = Deep()
    plain = gradients(copy.deepcopy(net), X)[1]
    hook_all(net)
    same_as_eager(net, backend)
    assert not torch.allclose(plain, gradients(copy.deepcopy(net), X)[1])


def test_a_training_step(backend):
    net = Deep()
    hook_all(net)
    net.register_full_backward_hook(doubled)
    eager, start = copy.deepcopy(net), copy.deepcopy(net.state_dict())
    optimizers = [torch.optim.SGD(m.parameters(), lr=0.1) for m in (net, eager)]
    step = torch.compile_train_step(net, nn.functional.mse_loss, optimizers[0], backend=backend)
    for _ in range(3):
        loss = nn.functional.mse_loss(eager(X), Y)
        optimizers[1].zero_grad()
        loss.backward()
        optimizers[1].step()
        assert_same(step(X, Y), loss.detach(), 1e-4)
    assert_same(dict(net.state_dict()), dict(eager.state_dict()), 1e-4)
    assert (net.state_dict()["head.weight"] != start["head.weight"]).any()


def test_without_gradients_hooks_cost_nothing(backend):
    net = Deep().requires_grad_(False)
    compiled = torch.compile(net, backend=backend)
    compiled(X)
    plain = len(compiled.graph.nodes)
    net.stem.register_full_backward_hook(doubled)
    compiled(X)
    assert len(compiled.graph.nodes) == plain and programs(compiled) == 2


def test_other_hooks_and_other_factors_make_other_programs(backend):
    factor = 2.0
    net = MLP()
    compiled = same_as_eager(net, backend)
    handle = net.fc1.register_full_backward_hook(lambda m, gi, go: (gi[0] * factor,))
    same_as_eager(net, backend)
    gradients(compiled, X)
    assert "backward_hook" in last_reason(compiled)
    factor = 5.0
    wanted = gradients(copy.deepcopy(net), X)
    assert_same(gradients(compiled, X), wanted, 1e-4)
    assert "'factor'" in last_reason(compiled)
    handle.remove()
    assert_same(gradients(compiled, X), gradients(copy.deepcopy(net), X), 1e-4)


def test_hooks_of_one_factory_are_told_apart(backend):
    def times(factor):
        return lambda m, gi, go: (gi[0] * factor,)

    net = MLP()
    net.fc1.register_full_backward_hook(times(2.0))
    net.fc2.register_full_backward_hook(times(3.0))
    same_as_eager(net, backend)


def test_a_hook_reads_the_modules_attributes_and_tensors(backend):
    net = MLP()
    net.fc1.factor, net.fc1.weights = 2.0, torch.arange(5.0)
    net.fc1.register_full_backward_hook(lambda m, gi, go: (gi[0] * m.factor * m.weights,))
    compiled = same_as_eager(net, backend)
    net.fc1.factor = 3.0
    assert_same(gradients(compiled, X), gradients(copy.deepcopy(net), X), 1e-4)


def test_a_tensor_hook_reads_a_tensor_from_outside(backend):
    weights = torch.arange(3.0)

    def scaled(x):
        y = x[:, :3].sin()
        y.register_hook(lambda g: g * weights)
        return y

    assert_same(gradients(torch.compile(scaled, backend=backend), X), gradients(scaled, X), 1e-4)


def test_global_hooks(backend):
    handles = [
        register_module_full_backward_hook(doubled),
        register_module_full_backward_pre_hook(lambda m, go: (go[0] * 3,)),
    ]
    try:
        compiled = same_as_eager(MLP(), backend)
    finally:
        for handle in handles:
            handle.remove()
    gradients(compiled, X)
    assert "global module hooks changed" in last_reason(compiled)


def test_gradients_of_gradients(backend):
    def penalty(net):
        x = X.clone().requires_grad_()
        (g,) = torch.autograd.grad(net(x).sin().sum(), x, create_graph=True)
        (g * g).sum().backward()
        return x.grad

    net = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))
    net[1].register_full_backward_hook(lambda m, gi, go: (gi[0].sin(),))
    eager = copy.deepcopy(net)
    assert_same(penalty(torch.compile(net, backend=backend)), penalty(eager), 1e-4)
    assert_gradients_same(net, eager)


def test_a_gradient_inside_of_the_compiled_function(backend):
    net = MLP()
    net.fc1.register_full_backward_hook(mixed)

    def sensitivity(x):
        x = x.detach().requires_grad_()
        return torch.autograd.grad(net(x).sum(), x)[0]

    assert_same(torch.compile(sensitivity, backend=backend)(X), sensitivity(X), 1e-4)


def test_hooks_of_the_compiled_module_itself_run_in_python():
    calls, net = [], MLP()
    compiled = torch.compile(net)
    gradients(compiled, X)
    net.register_full_backward_hook(lambda m, gi, go: calls.append(float(go[0].sum())))
    for count in (1, 2, 3):
        gradients(compiled, X)
        assert len(calls) == count
    assert calls[0] == calls[1]


# -- what cannot be recorded -----------------------------------------------------------------------


def test_hooks_that_return_nothing_are_refused():
    net = MLP()
    net.fc1.register_full_backward_hook(lambda m, gi, go: None)
    with pytest.raises(TraceError, match=r"hook of a module \(Linear\) returned None; what it"):
        torch.compile(net)(X)
    net = MLP()
    net.fc2.register_full_backward_pre_hook(lambda m, go: None)
    with pytest.raises(TraceError, match="returned None"):
        torch.compile(net)(X)
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    with pytest.raises(TraceError, match="returned None"):
        torch.compile_train_step(net, nn.functional.mse_loss, optimizer)(X, Y)


def test_hooks_that_change_python_state_are_refused():
    calls, net = [], MLP()

    def hook(module, grad_input, grad_output):
        calls.append(1)
        return (grad_output[0].sum() * grad_input[0],)

    net.fc2.register_full_backward_hook(hook)
    with pytest.raises(TraceError, match="changes Python state .* 'calls' changed"):
        torch.compile(net)(X)
    assert calls == []


def test_hooks_that_read_values_are_refused():
    net = MLP()
    net.fc2.register_full_backward_hook(lambda m, gi, go: (gi[0] * go[0].sum().item(),))
    with pytest.raises(TraceError, match="item"):
        torch.compile(net)(X)


@pytest.mark.parametrize("count", [0, 2])
def test_a_wrong_number_of_gradients(count):
    net = MLP()
    net.fc2.register_full_backward_hook(lambda m, gi, go: gi * count)
    with pytest.raises(RuntimeError, match=f"invalid number of grad_input, got {count}, but"):
        torch.compile(net)(X)


def test_legacy_hooks_are_refused():
    net = MLP()
    net.fc2.register_backward_hook(lambda m, gi, go: gi)
    with pytest.raises(TraceError, match="grad_fn"):
        torch.compile(net)(X)


def test_a_hook_inside_of_a_custom_function_is_refused():
    net = MLP()
    net.fc1.register_full_backward_hook(doubled)

    class Through(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            with torch.enable_grad():
                return net(x.detach().requires_grad_()).detach()

        @staticmethod
        def backward(ctx, g):
            return g @ torch.ones(3, 5)

    with pytest.raises(TraceError, match="inside of a custom Function"):
        torch.compile(lambda x: Through.apply(x))(X.clone().requires_grad_())
