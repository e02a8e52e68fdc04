"""What the programs share: the same weights and data for torch and nncomp, and a training loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


def fill(torch: Any, model: Any) -> Any:
    """The model with weights that depend on nothing but their names' order and shapes."""
    random = np.random.RandomState(0)
    state = {}
    for name, x in model.state_dict().items():
        is_weight = x.dtype in (torch.float32, torch.float64) and "running_var" not in name
        if is_weight:
            x = torch.tensor((random.randn(*x.shape) * 0.1).astype(np.float32))
        state[name] = x
    model.load_state_dict(state)
    return model


def normal(torch: Any, *shape: int, seed: int = 1) -> Any:
    """Normal numbers, float32."""
    return torch.tensor(np.random.RandomState(seed).randn(*shape).astype(np.float32))


def array(x: Any) -> np.ndarray:
    """The values of a tensor."""
    return np.asarray(x.detach().cpu().numpy())


def train(
    torch: Any, compiled: bool, model: Any, inputs: tuple, loss_fn: Callable, optimizer: Any,
    steps: int = 4,
) -> list[np.ndarray]:  # fmt: skip
    """The losses of a few steps."""
    run = torch.compile(model) if compiled else model
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = loss_fn(run(*inputs))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return [np.array(losses)]
