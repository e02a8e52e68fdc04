"""Tensors that forward leaves behind, in modules, hooks, closures and objects: as in eager mode."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from compile_helpers import assert_same, programs

import nncomp as torch
from nncomp import nn
from nncomp.trace_error import TraceError

FEATURES: dict = {}
LAST = None


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(3, 4), nn.Linear(4, 2)
        self.features = {}

    def forward(self, x):
        return self.second(torch.relu(self.first(x)))


class Observer:
    """An object whose method is a hook; its attribute is not there before the first call."""

    def hook(self, module, inputs, output):
        self.seen = output.detach()


def by_global_dict(net):
    FEATURES.clear()

    def hook(module, inputs, output):
        FEATURES["first"] = output.detach()

    net.first.register_forward_hook(hook)
    return lambda: FEATURES["first"]


def by_global_name(net):
    def hook(module, inputs, output):
        global LAST
        LAST = output

    net.first.register_forward_hook(hook)
    return lambda: LAST


def by_closure(net):
    kept = None

    def hook(module, inputs, output):
        nonlocal kept
        kept = {"in": inputs, "out": output}

    net.first.register_forward_hook(hook)
    return lambda: kept


def by_module_dict(net):
    def hook(module, inputs, output):
        net.features["first"] = output, inputs[0]

    net.first.register_forward_hook(hook)
    return lambda: net.features["first"]


def by_object(net):
    observer = Observer()
    net.first.register_forward_hook(observer.hook)
    return lambda: observer.seen


def by_attribute(net):
    net.first.register_forward_pre_hook(lambda m, inputs: setattr(m, "given", inputs[0]))
    return lambda: net.first.given


WAYS = (by_global_dict, by_global_name, by_closure, by_module_dict, by_object, by_attribute)


@pytest.mark.parametrize("way", WAYS, ids=lambda f: f.__name__)
def test_hooks_that_keep_tensors(way, backend):
    model = Net()
    results = []
    for net in (torch.compile(copy.deepcopy(model), backend=backend), copy.deepcopy(model)):
        found = way(net)
        kept = []
        torch.manual_seed(3)
        for _ in range(4):
            net(torch.randn(5, 3))
            kept.append(found())
        results.append(kept)
        if net._compiled_forward is not None:
            assert programs(net) <= 2, net.explain()
    assert_same(results[0], results[1])  # the earlier ones, too, are what they were


class Stateful(nn.Module):
    """A recurrent net that carries its state from call to call in an attribute."""

    def __init__(self, detach=True):
        super().__init__()
        self.cell = nn.LSTMCell(3, 4)
        self.state, self.detach = None, detach

    def forward(self, x):
        h, c = self.cell(x, self.state)
        self.state = (h.detach(), c.detach()) if self.detach else (h, c)
        return h


@pytest.mark.parametrize("detach", [True, False])
def test_state_in_a_tuple(detach, backend):
    eager = Stateful(detach)
    compiled = torch.compile(copy.deepcopy(eager), backend=backend)
    for _ in range(2):
        gradients = []
        torch.manual_seed(1)
        xs = [torch.randn(2, 3) for _ in range(4)]
        for net in (compiled, eager):
            net.zero_grad()
            net.state = None
            sum(net(x).pow(2).sum() for x in xs).backward()
            gradients.append([p.grad for p in net.parameters()])
        assert_same(gradients[0], gradients[1])
        assert_same(compiled.state[1].detach(), eager.state[1].detach())
    assert programs(compiled) == 2, compiled.explain()  # with and without a state


class Replaced(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(3))
        self.plain = torch.zeros(3)

    def forward(self, x):
        self.mean = 0.5 * self.mean + x.detach()
        self.plain = x
        return self.mean * 2


def test_what_was_there_before_keeps_its_values(backend):
    net = torch.compile(Replaced(), backend=backend)
    before = net.mean
    x = torch.ones(3)
    net(x)
    first = net.mean
    assert net.plain is x  # the argument itself
    net(x * 3)
    assert_same(before, torch.zeros(3))
    assert_same(first, torch.ones(3))
    assert_same(net.mean, torch.full((3,), 3.5))
    assert_same(net.state_dict()["mean"], net.mean)
    assert programs(net) == 1


def test_a_result_that_stays_behind_is_the_same_tensor(backend):
    class Keep(nn.Module):
        def forward(self, x):
            self.y = x * 2
            return self.y, self.y[0]

    net = torch.compile(Keep(), backend=backend)
    for _ in range(3):
        y, row = net(torch.ones(2, 2))
        assert net.y is y
        y.zero_()
        assert_same(row, torch.zeros(2))


def test_a_tensor_with_two_places_is_read_from_the_right_one(backend):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.start = torch.ones(2)
            self.now = self.start

        def forward(self, x):
            self.now = self.now + x
            return self.now * 1, self.start * 1

    eager, compiled = Two(), torch.compile(Two(), backend=backend)
    for _ in range(3):
        assert_same(compiled(torch.ones(2)), eager(torch.ones(2)))


def test_places_that_begin_to_share_memory(backend):
    class Share(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = torch.zeros(2), torch.zeros(2)

        def forward(self, x):
            self.a.add_(1)
            y = self.a + self.b + x
            self.a = self.b = y.detach() * 1
            return y

    net, eager = torch.compile(Share(), backend=backend), Share()
    for _ in range(4):
        assert_same(net(torch.ones(2)), eager(torch.ones(2)))
        assert_same([net.a, net.b], [eager.a, eager.b])


def test_changed_by_the_user_between_calls(backend):
    net = torch.compile(Replaced(), backend=backend)
    net(torch.ones(3))
    net.mean = torch.full((3,), 10.0)
    assert_same(net(torch.zeros(3)), torch.full((3,), 10.0))
    net.mean = torch.full((1, 3), 4.0)
    assert_same(net(torch.zeros(3)), torch.full((1, 3), 4.0))


def test_in_a_compiled_training_step():
    def losses(compiled):
        torch.manual_seed(0)
        net = Net()
        by_module_dict(net)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        loss_fn = nn.MSELoss()
        x, target = torch.randn(5, 3), torch.randn(5, 2)
        step = torch.compile_train_step(net, loss_fn, optimizer)
        kept = []
        for _ in range(3):
            if compiled:
                step(x, target)
            else:
                optimizer.zero_grad()
                loss_fn(net(x), target).backward()
                optimizer.step()
            kept.append(net.features["first"][0].detach())
        return kept

    assert_same(losses(True), losses(False))


@pytest.mark.parametrize("how", ["count", "append", "object"])
def test_other_state_is_refused_and_put_back(how):
    class Other(nn.Module):
        def __init__(self):
            super().__init__()
            self.calls, self.kept, self.tensor = 0, [], None

        def forward(self, x):
            self.tensor = x * 2
            if how == "count":
                self.calls += 1
            elif how == "append":
                self.kept.append(x * 3)
            else:
                self.tensor = [x * 2, np.float32]
            return x

    net = torch.compile(Other())
    with pytest.raises(TraceError, match=r"test_compile_slots.py:\d+: forward changes"):
        net(torch.ones(2))
    assert net.calls == 0 and net.kept == [] and net.tensor is None
