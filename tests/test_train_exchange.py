"""A training run that moves from torch to a compiled step and back, files in between."""

from __future__ import annotations

import io

import numpy as np
import pytest

import nncomp

torch = pytest.importorskip("torch")

OPTIMIZERS = {
    "momentum": lambda m, p: m.optim.SGD(p, 0.05, momentum=0.9, weight_decay=1e-3),
    "nesterov": lambda m, p: m.optim.SGD(p, 0.05, momentum=0.9, nesterov=True),
    "adam": lambda m, p: m.optim.Adam(p, 0.01),
    "amsgrad": lambda m, p: m.optim.Adam(p, 0.01, amsgrad=True),
    "adamw": lambda m, p: m.optim.AdamW(p, 0.01, weight_decay=0.05),
    "rmsprop": lambda m, p: m.optim.RMSprop(p, 0.005, momentum=0.5),
    "adagrad": lambda m, p: m.optim.Adagrad(p, 0.05),
}
STEPS = 5


def build(m):
    nn = m.nn
    return nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(6 * 16, 20), nn.GELU(), nn.LayerNorm(20), nn.Linear(20, 4),
    )  # fmt: skip


def batches():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3 * STEPS, 16, 2, 8, 8)).astype(np.float32)
    return x, rng.integers(0, 4, (3 * STEPS, 16))


class Run:
    """A model and an optimizer of torch or of nncomp, from a checkpoint or fresh."""

    def __init__(self, m, make, file=None, kind=""):
        m.manual_seed(0)
        self.m, self.model = m, build(m)
        self.optimizer = make(m, self.model.parameters())
        if file is not None:
            file.seek(0)
            saved = m.load(file)
            self.model.load_state_dict(saved["model"])
            self.optimizer.load_state_dict(saved["optimizer"])
        self.loss = m.nn.CrossEntropyLoss()
        self.step = self._eager
        if kind == "compiled":
            self.step = nncomp.compile_train_step(self.model, self.loss, self.optimizer)

    def _eager(self, x, y):
        loss = self.loss(self.model(x), y)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return loss

    def train(self, number):
        """The losses of the batches of one third."""
        xs, ys = batches()
        part = range(number * STEPS, (number + 1) * STEPS)
        return [
            self.step(self.m.from_numpy(xs[i]), self.m.from_numpy(ys[i])).item() for i in part
        ]

    def save(self):
        file = io.BytesIO()
        state = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        self.m.save(state, file)
        return file


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_torch_then_compiled_then_torch(name):
    make = OPTIMIZERS[name]
    whole = Run(torch, make)
    expected = [whole.train(k) for k in range(3)]
    first = Run(torch, make)
    losses = [first.train(0)]
    second = Run(nncomp, make, first.save(), kind="compiled")
    losses.append(second.train(1))
    third = Run(torch, make, second.save())
    losses.append(third.train(2))
    np.testing.assert_allclose(losses, expected, rtol=1e-3)
    for key, value in whole.model.state_dict().items():
        ours = third.model.state_dict()[key].numpy()
        np.testing.assert_allclose(ours, value.numpy(), rtol=5e-3, atol=5e-4, err_msg=key)
