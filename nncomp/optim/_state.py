"""What several optimizers share: checks of options, new state tensors, weight decay."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import nncomp

from ..tensor import Tensor
from .optimizer import Group


def check_betas(betas: Sequence[Any]) -> None:
    """Raise ValueError for a decay rate outside [0, 1); a tensor is not looked at."""
    for index, beta in enumerate(betas):
        if not isinstance(beta, Tensor) and not 0.0 <= beta < 1.0:
            raise ValueError(f"Invalid beta parameter at index {index}: {beta}")


def check_rate(lr: Any) -> None:
    """Raise ValueError for a learning rate that is a tensor of more than one element."""
    if isinstance(lr, Tensor) and lr.numel() != 1:
        raise ValueError("Tensor lr must be 1-element")


def counter() -> Tensor:
    """A step counter: a 0-d float32 tensor, as in torch's state dicts."""
    return nncomp.zeros((), dtype=nncomp.float32)


def zeros(param: Tensor) -> Tensor:
    """A state tensor of zeros with the shape and dtype of ``param``."""
    return nncomp.zeros_like(param).detach()


def counted(state: dict[str, Any]) -> Tensor:
    """Add one to the step counter; the count as a 0-d float64 tensor.

    Powers of decay rates near 1 lose four digits in float32, so that they are taken in float64.
    """
    state["step"].add_(1)
    return state["step"].double()


def decayed(group: Group, param: Tensor, grad: Tensor) -> Tensor:
    """The gradient with L2 weight decay added; decoupled decay shrinks ``param`` instead."""
    decay = group["weight_decay"]
    if decay == 0:
        return grad
    if group.get("decoupled_weight_decay", False):
        param.mul_(1 - group["lr"] * decay)
        return grad
    return grad + param * decay
