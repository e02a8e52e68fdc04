"""before_update: what happens to gradients between backward and update is part of the step."""

from __future__ import annotations

import numpy as np
import pytest
from compile_helpers import MLP, assert_same, programs
from train_helpers import LOSS, X, Y, assert_runs_same

import nncomp as torch
from nncomp import nn, optim
from nncomp.trace_error import TraceError

CLIPS = {
    "norm": lambda m: nn.utils.clip_grad_norm_(m.parameters(), 0.05),
    "norm of one": lambda m: nn.utils.clip_grad_norm_(next(m.parameters()), 0.01, 1.0),
    "largest": lambda m: nn.utils.clip_grad_norm_(m.parameters(), 0.02, float("inf")),
    "value": lambda m: nn.utils.clip_grad_value_(m.parameters(), 0.003),
    "by hand": lambda m: [p.grad.mul_(0.5) for p in m.parameters()],
    "noise-free replacement": lambda m: [
        setattr(p, "grad", p.grad - p.grad.mean()) for p in m.parameters()
    ],
}
OPTIMIZERS = {
    "momentum": lambda m: optim.SGD(m.parameters(), 0.5, momentum=0.9),
    "adamw": lambda m: optim.AdamW(m.parameters(), 0.01),
}


class Clipped:
    """A model that steps with clipped gradients, eagerly or compiled."""

    def __init__(self, make, clip, compiled):
        torch.manual_seed(0)
        self.model = MLP()
        self.optimizer = make(self.model)
        self.clip = clip
        self.step = torch.compile_train_step(
            self.model, LOSS, self.optimizer, before_update=lambda: clip(self.model)
        )
        self.compiled = compiled

    def __call__(self):
        if self.compiled:
            return self.step(X, Y)
        loss = LOSS(self.model(X), Y)
        loss.backward()
        self.clip(self.model)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.detach()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", CLIPS)
def test_steps_with_clipped_gradients(name, optimizer):
    runs = [Clipped(OPTIMIZERS[optimizer], CLIPS[name], compiled) for compiled in (True, False)]
    for _ in range(8):
        ours, eager = (run() for run in runs)
        assert_same(ours, eager, 1e-4)
    assert_runs_same(*runs)
    assert programs(runs[0].step) == 1
    assert all(p.grad is None for p in runs[0].model.parameters())


def test_clipping_makes_a_difference():
    losses = []
    for limit in (1e-4, 1e4):
        torch.manual_seed(0)
        model = MLP()
        step = torch.compile_train_step(
            model, LOSS, optim.SGD(model.parameters(), 0.5),
            before_update=lambda m=model, c=limit: nn.utils.clip_grad_norm_(m.parameters(), c),
        )  # fmt: skip
        losses.append([step(X, Y).item() for _ in range(5)])
    assert losses[0][0] == losses[1][0] and losses[0][-1] > losses[1][-1] + 0.01


def test_what_depends_on_values_is_refused():
    model = MLP()

    def skip():
        if next(model.parameters()).grad.abs().max() > 1:
            raise ArithmeticError

    optimizer = optim.SGD(model.parameters(), 0.5)
    before = [p.detach().numpy().copy() for p in model.parameters()]
    step = torch.compile_train_step(model, LOSS, optimizer, before_update=skip)
    with pytest.raises(TraceError, match="test_compile_before_update.py"):
        step(X, Y)
    for p, old in zip(model.parameters(), before, strict=True):
        np.testing.assert_array_equal(p.detach().numpy(), old)


def test_options_are_those_of_compile():
    model = nn.Sequential(nn.Conv2d(32, 32, 3, padding=1), nn.Flatten(), nn.Linear(32 * 144, 3))
    x, y = torch.randn(4, 32, 12, 12), torch.arange(4) % 3
    graphs = []
    for options in (None, {"winograd": False}):
        optimizer = optim.SGD(model.parameters(), 0.0)
        step = torch.compile_train_step(model, LOSS, optimizer, options=options)
        step(x, y)
        graphs.append(str(step.fused_graph))
    assert "winograd" in graphs[0] and "winograd" not in graphs[1]
    with pytest.raises(ValueError, match="unknown option 'fast'"):
        torch.compile_train_step(model, LOSS, optimizer, options={"fast": True})
