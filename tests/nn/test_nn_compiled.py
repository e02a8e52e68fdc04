"""Layers and optimizers under the compiler give what they give in eager mode."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from both import fill, numbers

import nncomp
from nncomp import nn, optim
from nncomp.optim.lr_scheduler import OneCycleLR, StepLR
from nncomp.train_step import compile_train_step


def make_net():
    return fill(
        nncomp,
        nn.Sequential(
            nn.Linear(6, 8),
            nn.LayerNorm(8),
            nn.GELU(),
            nn.BatchNorm1d(8, momentum=None),
            nn.Dropout(0.3),
            nn.Linear(8, 3),
        ),
    )


X, Y = nncomp.tensor(numbers(10, 6)), nncomp.tensor(np.arange(10) % 3)


def close(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(
            a.detach().double().numpy(), b.detach().double().numpy(), rtol=1e-4, atol=1e-5
        )


def test_compile_in_place_keeps_values_gradients_and_hooks():
    eager, compiled = make_net(), make_net()
    seen = []
    compiled.compile()
    compiled.register_forward_hook(lambda module, args, output: seen.append(output.shape))
    results = []
    for net in (eager, compiled):
        nncomp.manual_seed(4)
        for _ in range(2):
            output = net(X)
            nn.functional.cross_entropy(output, Y, label_smoothing=0.1).backward()
        results.append([output, *(p.grad for p in net.parameters()), *net.buffers()])
    close(results[1], results[0])
    assert len(seen) == 2
    assert list(compiled.state_dict()) == list(eager.state_dict())
    assert copy.deepcopy(compiled)._compiled_forward is None


def test_missing_target_class_raises_in_compiled_code_too():
    loss = nncomp.compile(nn.functional.cross_entropy)
    logits = nncomp.tensor(numbers(2, 3))
    assert np.isfinite(float(loss(logits, nncomp.tensor([1, -100]))))
    with pytest.raises(IndexError, match="out of bounds for an axis of length 3"):
        loss(logits, nncomp.tensor([3, 0]))


def test_constant_target_can_be_traced():
    loss = nncomp.compile(lambda x: nn.functional.cross_entropy(x, Y))
    logits = nncomp.tensor(numbers(10, 3))
    expected = nn.functional.cross_entropy(logits, Y)
    assert abs(float(loss(logits)) - float(expected)) < 1e-5


OPTIMIZERS = {
    "sgd dampening": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.2),
    "sgd nesterov": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "adam": lambda p: optim.Adam(p, lr=0.01, weight_decay=0.1, amsgrad=True),
    "adamw": lambda p: optim.AdamW(p, lr=0.01),
    "tensor rate": lambda p: optim.SGD(p, lr=nncomp.tensor(0.1), momentum=0.5),
}


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=list(OPTIMIZERS))
@pytest.mark.parametrize("schedule", [
    lambda o: StepLR(o, 2, gamma=0.5), lambda o: OneCycleLR(o, 0.1, 10)
])  # fmt: skip
def test_train_step_is_the_eager_step(make, schedule):
    loss = nn.CrossEntropyLoss(label_smoothing=0.1)
    runs = []
    for compiled in (False, True):
        nncomp.manual_seed(9)
        net = make_net()
        optimizer = make(net.parameters())
        scheduler = schedule(optimizer)
        step = compile_train_step(net, loss, optimizer) if compiled else None
        losses = []
        for _ in range(4):
            if compiled:
                losses.append(step(X, Y))
            else:
                optimizer.zero_grad()
                losses.append(loss(net(X), Y))
                losses[-1].backward()
                optimizer.step()
            scheduler.step()
        runs.append([*losses, *net.parameters(), *net.buffers()])
    close(runs[1], runs[0])
    assert step.reasons == ["first call"]
