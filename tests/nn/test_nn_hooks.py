"""Module hooks compared with torch: order, arguments, replacements, gradients, errors."""

from __future__ import annotations

import pickle
from collections import OrderedDict

import pytest
from both import agree, cases, fill, numbers

import nncomp
from nncomp import nn
from nncomp.utils.hooks import RemovableHandle


def model(t):
    return fill(t, t.nn.Sequential(t.nn.Linear(3, 4), t.nn.Tanh(), t.nn.Linear(4, 2)))


def data(t, requires_grad=False):
    return t.tensor(numbers(5, 3)).requires_grad_(requires_grad)


def forward_order(t):
    net, log = model(t), []
    net.register_forward_pre_hook(lambda m, args: log.append("pre 1"))
    net.register_forward_pre_hook(lambda m, args: log.append("pre 0"), prepend=True)
    net.register_forward_hook(lambda m, args, out: log.append("post 1"))
    net.register_forward_hook(lambda m, args, out: log.append("post 0"), prepend=True)
    net(data(t))
    return log


def forward_replace(t):
    net = model(t)
    net.register_forward_pre_hook(lambda m, args: args[0] * 2)
    net.register_forward_pre_hook(lambda m, args: (args[0] + 1,))
    net.register_forward_hook(lambda m, args, out: out - args[0].sum())
    return net(data(t))


def forward_kwargs(t):
    class Scaled(t.nn.Module):
        def forward(self, x, *, by=1.0):
            return x * by

    net, log = Scaled(), []

    def pre(module, args, kwargs):
        return (args[0] + 1,), {"by": kwargs["by"] * 10}

    def post(module, args, kwargs, out):
        log.append(sorted(kwargs))
        return out + kwargs["by"]

    net.register_forward_pre_hook(pre, with_kwargs=True)
    net.register_forward_hook(post, with_kwargs=True)
    return [net(data(t), by=2.0), log]


def forward_always(t):
    class Fails(t.nn.Module):
        def forward(self, x):
            raise ValueError("no")

    net, log = Fails(), []
    net.register_forward_hook(lambda m, args, out: log.append("skipped"))
    net.register_forward_hook(lambda m, args, out: log.append(repr(out)), always_call=True)
    try:
        net(data(t))
    except ValueError as error:
        log.append(str(error))
    return log


def removal(t):
    net, log = model(t), []
    handle = net.register_forward_hook(lambda m, args, out: log.append("a"))
    with net.register_forward_hook(lambda m, args, out: log.append("b")):
        net(data(t))
    net(data(t))
    handle.remove()
    handle.remove()
    net(data(t))
    return log


def describe(grads):
    return [None if grad is None else grad.clone() for grad in grads]


def full_backward(t, requires_grad=True):
    net, log = model(t), []
    for layer in net:
        layer.register_full_backward_pre_hook(
            lambda m, out: log.append([type(m).__name__, describe(out)])
        )
        layer.register_full_backward_hook(
            lambda m, inp, out: log.append([type(m).__name__, describe(inp), describe(out)])
        )
    x = data(t, requires_grad)
    (net(x) ** 2).sum().backward()
    return [log, x.grad, [p.grad for p in net.parameters()]]


def full_backward_replace(t):
    net = model(t)
    net[1].register_full_backward_pre_hook(lambda m, out: (out[0] * 3,))
    net[1].register_full_backward_hook(lambda m, inp, out: (inp[0] + 1,))
    net[2].register_full_backward_hook(lambda m, inp, out: (inp[0] * 2,))
    x = data(t, True)
    net(x).sum().backward()
    return [x.grad, net[0].weight.grad, net[2].weight.grad]


def two_in_two_out(t):
    class Two(t.nn.Module):
        def forward(self, a, b, c):
            return a * b, b.sum() + c

    net, log = Two(), []
    net.register_full_backward_hook(
        lambda m, inp, out: log.append([describe(inp), describe(out)])
    )
    a, b = data(t, True), data(t, True)
    first, second = net(a, b, 2.0)
    (first.sum() * 2 + second * 3).backward()
    return [log, a.grad, b.grad]


def legacy_backward(t):
    net, log = model(t), []
    net[1].register_backward_hook(lambda m, inp, out: log.append(describe(out)))
    net(data(t)).sum().backward()
    return log


def global_hooks(t):
    module = t.nn.modules.module if t.__name__ == "torch" else t.nn.module
    log = []
    handles = [
        module.register_module_forward_pre_hook(lambda m, a: log.append("pre")),
        module.register_module_forward_hook(lambda m, a, o: log.append(type(m).__name__)),
        module.register_module_full_backward_hook(lambda m, i, o: log.append("back")),
        module.register_module_parameter_registration_hook(
            lambda m, name, p: log.append(f"param {name}")
        ),
        module.register_module_buffer_registration_hook(
            lambda m, name, b: log.append(f"buffer {name}")
        ),
        module.register_module_module_registration_hook(
            lambda m, name, c: log.append(f"module {name}")
        ),
    ]
    try:
        net = t.nn.Sequential(t.nn.BatchNorm1d(3), t.nn.Tanh())
        net(data(t, True)).sum().backward()
    finally:
        for handle in handles:
            handle.remove()
    net(data(t))
    return log


SCENARIOS = {
    "forward order": forward_order,
    "forward replace": forward_replace,
    "forward kwargs": forward_kwargs,
    "always_call": forward_always,
    "removal": removal,
    "full backward": full_backward,
    "full backward without input grad": lambda t: full_backward(t, requires_grad=False),
    "full backward replace": full_backward_replace,
    "two in, two out": two_in_two_out,
    "legacy backward": legacy_backward,
    "global": global_hooks,
}


@cases(SCENARIOS)
def test_hooks_act_as_in_torch(case):
    agree(case, ok=True)


def bad_pre_hook(t):
    net = model(t)
    net.register_forward_pre_hook(lambda m, args, kwargs: 3, with_kwargs=True)
    net(data(t))


def mixed(t, first, second):
    net = model(t)
    getattr(net, first)(lambda m, i, o: None)
    getattr(net, second)(lambda m, i, o: None)


def bad_backward(t, register, value, requires_grad=True):
    net = model(t)
    getattr(net, register)(lambda *args: value)
    net(data(t, requires_grad)).sum().backward()


FAILURES = {
    "pre hook kwargs": bad_pre_hook,
    "full after legacy": lambda t: mixed(
        t, "register_backward_hook", "register_full_backward_hook"
    ),
    "legacy after full": lambda t: mixed(
        t, "register_full_backward_hook", "register_backward_hook"
    ),
    "too many grads": lambda t: bad_backward(t, "register_full_backward_hook", (None, None)),
    "too many grad outputs": lambda t: bad_backward(
        t, "register_full_backward_pre_hook", (None, None)
    ),
    "grad without input grad": lambda t: bad_backward(
        t, "register_full_backward_hook", (t.ones(5, 3),), requires_grad=False
    ),
}


@cases(FAILURES)
def test_hook_errors_are_torchs(case):
    agree(case, ok=False)


def test_backward_hook_runs_on_every_backward():
    layer, calls = nn.Linear(2, 2), []
    layer.register_full_backward_hook(lambda m, i, o: calls.append(1))
    x = nncomp.ones(1, 2).requires_grad_()
    for _ in range(2):
        layer(x).sum().backward()
    assert len(calls) == 2


def test_no_backward_hook_under_no_grad():
    layer = nn.Linear(2, 2)
    layer.register_full_backward_hook(lambda m, i, o: pytest.fail("called"))
    with nncomp.no_grad():
        assert not layer(nncomp.ones(1, 2)).requires_grad


def test_handle_survives_pickling():
    hooks = OrderedDict()
    handle = RemovableHandle(hooks)
    hooks[handle.id] = "hook"
    copied = pickle.loads(pickle.dumps((hooks, handle)))
    copied[1].remove()
    assert not copied[0] and hooks
    assert RemovableHandle(hooks).id > handle.id
