"""Buffers and random numbers: compiled calls leave the state that eager calls leave."""

from __future__ import annotations

import random
import threading

import numpy as np
import pytest
from compile_helpers import Conv, assert_gradients_same, assert_same, programs, twins

import nncomp as torch
from nncomp import nn
from nncomp.trace_error import TraceError


@pytest.mark.parametrize("momentum", [0.1, None])
@pytest.mark.parametrize("grad", [True, False], ids=["grad", "no_grad"])
def test_batch_norm_statistics(momentum, grad, backend):
    net = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3, momentum=momentum))
    compiled, eager = twins(net, backend=backend)
    with torch.set_grad_enabled(grad):
        for step in range(4):
            x = torch.randn(6, 4)
            assert_same(compiled(x), eager(x))
            assert_same(dict(compiled.named_buffers()), dict(eager.named_buffers()))
            assert int(compiled[1].num_batches_tracked) == step + 1
        for net in (compiled, eager):
            net.eval()
        assert_same(compiled(x), eager(x))
        assert_same(dict(compiled.named_buffers()), dict(eager.named_buffers()))
    assert programs(compiled) == 2


def test_buffers_keep_their_identity_and_count_their_writes():
    compiled = torch.compile(nn.BatchNorm1d(3))
    mean, view = compiled.running_mean, compiled.running_mean[:2]
    version = mean._version
    compiled(torch.randn(5, 3) + 3)
    assert compiled.running_mean is mean and mean._version > version
    assert_same(view, mean[:2])
    assert float(mean.sum()) > 0.3


def test_a_whole_training_step_with_statistics_and_dropout(backend):
    compiled, eager = twins(Conv(), backend=backend)
    for net in (compiled, eager):
        torch.manual_seed(1)
        for _ in range(3):
            net(torch.randn(4, 2, 6, 6)).pow(2).sum().backward()
    assert_gradients_same(compiled, eager)
    assert_same(dict(compiled.named_buffers()), dict(eager.named_buffers()))


class Memory(nn.Module):
    """Buffers that are written, replaced, and read before and after."""

    def __init__(self):
        super().__init__()
        self.register_buffer("total", torch.zeros(3))
        self.register_buffer("last", torch.zeros(3))
        self.register_buffer("count", torch.tensor(0))

    def forward(self, x):
        before = self.total * 2
        self.total += x.detach()
        self.last = x.detach() - self.last
        self.count.add_(1)
        return x * before + self.total, self.count * 1, self.last


@pytest.mark.parametrize("requires", [True, False], ids=["grad", "plain"])
def test_buffers_that_are_read_written_and_replaced(requires, backend):
    compiled, eager = twins(Memory(), backend=backend)
    for _ in range(3):
        x = torch.randn(3)
        results = []
        for net in (compiled, eager):
            own = x.clone().requires_grad_(requires)
            y, count, last = net(own)
            if requires:
                y.sum().backward()
            results.append([y.detach(), count, last.clone(), own.grad])
        assert_same(results[0], results[1])
        assert_same(dict(compiled.named_buffers()), dict(eager.named_buffers()))
    assert programs(compiled) == 1


def test_tensors_of_the_caller_written_by_a_function(backend):
    history = torch.zeros(4)

    def f(x, out):
        history.mul_(0.5).add_(x)
        out[1:3] = x[:2]
        return history.sum()

    compiled = torch.compile(f, backend=backend)
    x, out = torch.arange(4.0), torch.zeros(4)
    assert float(compiled(x, out)) == 6 and float(compiled(x, out)) == 9
    assert_same(history, x * 1.5)
    assert_same(out, torch.tensor([0.0, 0.0, 1.0, 0.0]))


def test_state_that_a_graph_cannot_keep_is_refused_and_undone():
    class Counter(nn.Module):
        def __init__(self):
            super().__init__()
            self.calls, self.outputs = 0, []
            self.register_buffer("mean", torch.zeros(2))

        def forward(self, x):
            self.mean.add_(x)
            self.calls += 1
            self.outputs.append(x)
            return x

    compiled = torch.compile(Counter())
    with pytest.raises(TraceError, match="calls"):
        compiled(torch.ones(2))
    assert compiled.calls == 0 and compiled.outputs == []
    assert_same(compiled.mean, torch.zeros(2))
    assert compiled.mean._version == 0


# -- random numbers -------------------------------------------------------------------------------


def draws(x):
    masked = nn.functional.dropout(x, 0.5)
    return masked, torch.rand(3), torch.randn_like(x), torch.bernoulli(x * 0 + 0.5)


def test_same_numbers_as_eager_and_the_same_state_afterwards(backend):
    compiled = torch.compile(draws, backend=backend)
    x = torch.ones(50)
    runs = []
    for f in (compiled, draws):
        torch.manual_seed(7)
        results = [f(x), f(x), (torch.rand(2),), f(x)]
        runs.append((results, torch.get_rng_state()))
    assert_same(runs[0][0], runs[1][0])
    assert_same(runs[0][1], runs[1][1])
    first, second = runs[0][0][:2]
    assert not np.array_equal(first[0].numpy(), second[0].numpy())


def test_compiling_does_not_draw():
    x = torch.ones(10)
    torch.manual_seed(2)
    expected = draws(x)
    torch.manual_seed(2)
    assert_same(torch.compile(draws, backend="numpy")(x), expected)


def test_dropout_gradient_uses_the_mask_of_its_call(backend):
    compiled = torch.compile(nn.Dropout(0.5), backend=backend)
    x = torch.ones(200, requires_grad=True)
    first, second = compiled(x), compiled(x)
    second.sum().backward()
    assert_same(x.grad, second.detach())
    x.grad = None
    first.sum().backward()
    assert_same(x.grad, first.detach())


def test_reseeding_between_calls():
    compiled = torch.compile(nn.Dropout(0.3), backend="numpy")
    x = torch.ones(100)
    torch.manual_seed(5)
    a = compiled(x)
    b = compiled(x)
    torch.manual_seed(5)
    assert_same(compiled(x), a)
    assert_same(compiled(x), b)


def test_two_threads_never_share_a_mask():
    compiled = torch.compile(nn.Dropout(0.5))
    x = torch.ones(64)
    compiled(x)
    torch.manual_seed(0)
    masks: list = []

    def run():
        for _ in range(50):
            masks.append(compiled(x).numpy().tobytes())

    threads = [threading.Thread(target=run) for _ in range(2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(set(masks)) == 100
    assert torch.get_rng_state().tolist()[1] == 100


@pytest.mark.parametrize("draw", [lambda: random.random(), lambda: np.random.rand()])
def test_numbers_from_elsewhere_are_refused(draw):
    states = random.getstate(), np.random.get_state()[1].tolist()
    with pytest.raises(TraceError, match="random.*once, not at each call"):
        torch.compile(lambda x: x + draw())(torch.zeros(2))
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states


def test_other_generators_and_seeding_are_refused():
    generator = torch.Generator()
    with pytest.raises(TraceError, match="default generator"):
        torch.compile(lambda x: x + torch.rand(2, generator=generator))(torch.zeros(2))
    with pytest.raises(TraceError, match="manual_seed"):
        torch.compile(lambda x: torch.manual_seed(1) and x)(torch.zeros(2))
