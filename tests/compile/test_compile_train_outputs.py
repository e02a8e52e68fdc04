"""Train steps that return the model's output too, and steps without a target or a loss function."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from compile_helpers import programs

import nncomp as torch
import nncomp.nn.functional as F
from nncomp import nn, optim

X, TARGETS = torch.randn(6, 4), torch.randint(0, 3, (6,))


class Codec(nn.Module):
    """Returns a reconstruction and a code; `loss` needs no target."""

    def __init__(self):
        super().__init__()
        self.narrow, self.wide = nn.Linear(4, 2), nn.Linear(2, 4)

    def forward(self, x):
        code = self.narrow(x).tanh()
        return {"input": x, "code": code, "output": self.wide(code)}


class WithLoss(nn.Module):
    """Returns its own loss, as many language models do."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x, labels):
        return F.cross_entropy(self.net(x), labels)


def reconstruction(result):
    return F.mse_loss(result["output"], result["input"])


def steps(model, loss, runs=3):
    """Losses of eager SGD steps, with `loss(model)`."""
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    losses = []
    for _ in range(runs):
        value = loss(model)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        losses.append(value.item())
    return losses


def test_outputs_come_with_the_loss():
    model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 3))
    step = torch.compile_train_step(
        model, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1), outputs=True
    )
    for _ in range(3):
        loss, scores = step(X, TARGETS)
        assert not loss.requires_grad and not scores.requires_grad and scores.shape == (6, 3)
        # the very outputs that the loss was computed from: dropout drew once
        np.testing.assert_allclose(F.cross_entropy(scores, TARGETS).item(), loss.item(), rtol=1e-6)
    assert programs(step) == 1


def test_structured_outputs_without_a_target():
    model = Codec()
    twin = copy.deepcopy(model)
    step = torch.compile_train_step(
        model, reconstruction, optim.SGD(model.parameters(), lr=0.1), outputs=True
    )
    losses = []
    for _ in range(3):
        expected = model(X)
        loss, result = step(X)
        losses.append(loss.item())
        assert list(result) == ["input", "code", "output"]
        for name, value in result.items():
            np.testing.assert_allclose(value.numpy(), expected[name].detach().numpy(), atol=1e-6)
    np.testing.assert_allclose(losses, steps(twin, lambda m: reconstruction(m(X))), rtol=1e-6)


def test_a_model_that_returns_its_loss():
    x, labels = torch.randn(4, 5), torch.randint(0, 2, (4,))
    model = WithLoss(nn.Linear(5, 2))
    twin = copy.deepcopy(model)
    step = torch.compile_train_step(model, None, optim.SGD(model.parameters(), lr=0.1))
    losses = [step(x, labels).item() for _ in range(3)]
    np.testing.assert_allclose(losses, steps(twin, lambda m: m(x, labels)), rtol=1e-6)


def test_wrong_numbers_of_arguments():
    model = nn.Linear(4, 3)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(TypeError, match="takes inputs and a target, got 1"):
        torch.compile_train_step(model, F.cross_entropy, optimizer)(X)
    with pytest.raises(TypeError, match="takes the model's inputs, got 0"):
        torch.compile_train_step(model, lambda y: y.mean(), optimizer)()
    with pytest.raises(TypeError, match="a model without loss_fn must return a Tensor, got dict"):
        codec = Codec()
        torch.compile_train_step(codec, None, optim.SGD(codec.parameters(), lr=0.1))(X)
    with pytest.raises(TypeError, match="outputs must be True or False"):
        torch.compile_train_step(model, F.cross_entropy, optimizer, outputs="all")
