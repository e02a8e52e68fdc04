"""What the tests of compiled training steps share: a run that steps eagerly or compiled."""

from __future__ import annotations

import copy

import pytest
from compile_helpers import assert_same

import nncomp as torch
from nncomp import nn, optim

X = torch.randn(16, 5)
Y = torch.arange(16) % 3
LOSS = nn.CrossEntropyLoss()


def eager_step(model, loss_fn, optimizer, *args):
    *inputs, target = args
    loss = loss_fn(model(*inputs), target)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return loss.detach()


class Run:
    """A model with its optimizer, stepping eagerly or compiled."""

    def __init__(self, model, make, compiled, loss_fn=LOSS, backend="cpu"):
        self.model = copy.deepcopy(model)
        self.optimizer = make(self.model)
        self.loss_fn = loss_fn
        options = dict(backend=backend)
        made = torch.compile_train_step(self.model, loss_fn, self.optimizer, **options)
        self.compiled = made if compiled else None

    def __call__(self, *args):
        if self.compiled is not None:
            return self.compiled(*args)
        return eager_step(self.model, self.loss_fn, self.optimizer, *args)


def pair(model, make, **options):
    """(compiled run, eager run) from the same start."""
    return Run(model, make, True, **options), Run(model, make, False, **options)


def assert_runs_same(compiled, eager, rtol=1e-4):
    """The same parameters, buffers and optimizer state."""
    assert_same(dict(compiled.model.state_dict()), dict(eager.model.state_dict()), rtol)
    a, b = compiled.optimizer.state_dict(), eager.optimizer.state_dict()
    extra = "first"  # of SGD with dampening: has the first gradient been seen?
    states = [
        {p: {k: v for k, v in entries.items() if k != extra} for p, entries in d["state"].items()}
        for d in (a, b)
    ]
    assert_same(states[0], states[1], rtol)
    assert_same(a["param_groups"], b["param_groups"])


def train(runs, steps, *args, between=None, rtol=2e-5):
    """Step both runs and compare each loss."""
    for number in range(steps):
        losses = [float(run(*args)) for run in runs]
        assert losses[0] == pytest.approx(losses[1], rel=rtol, abs=1e-6), number
        if between is not None:
            for run in runs:
                between(run, number)


OPTIMIZERS = {
    "sgd": lambda p: optim.SGD(p, lr=0.1),
    "momentum": lambda p: optim.SGD(p, lr=0.1, momentum=0.9),
    "nesterov": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "decay": lambda p: optim.SGD(p, lr=0.1, weight_decay=0.01),
    "dampening": lambda p: optim.SGD(p, lr=0.1, momentum=0.8, dampening=0.3, weight_decay=0.01),
    "maximize": lambda p: optim.SGD(p, lr=0.001, momentum=0.5, maximize=True),
    "adam": lambda p: optim.Adam(p, lr=0.01),
    "amsgrad": lambda p: optim.Adam(p, lr=0.01, amsgrad=True, weight_decay=0.01),
    "adamw": lambda p: optim.AdamW(p, lr=0.01, weight_decay=0.1),
    "adamw maximize": lambda p: optim.AdamW(p, lr=0.0001, maximize=True),
}  # fmt: skip
