"""Muon (torch.optim): momentum whose matrix is made orthogonal."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import nncomp

from ..tensor import Tensor
from ._state import check_rate, zeros
from .optimizer import Group, Optimizer


class Muon(Optimizer):
    """Muon (Jordan et al., 2024) for matrices; the rate fits ``adjust_lr_fn``.

    "original" (or None) scales the rate by sqrt(max(1, rows / columns)), "match_rms_adamw" by
    0.2 sqrt(max(rows, columns)) (Liu et al., 2025). ValueError for parameters that are not 2-d.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
    ) -> None:
        check_rate(lr)
        if not 0.0 <= lr:
            raise ValueError(f"Learning rate should be >= 0 but is: {lr}")
        if not 0.0 <= momentum:
            raise ValueError(f"momentum should be >= 0 but is: {momentum}")
        if not 0.0 <= weight_decay:
            raise ValueError(f"weight decay should be >= 0 but is: {weight_decay}")
        if adjust_lr_fn not in (None, "original", "match_rms_adamw"):
            raise ValueError(f"Adjust learning rate function {adjust_lr_fn} is not supported")
        defaults = {
            "lr": lr, "weight_decay": weight_decay, "momentum": momentum, "nesterov": nesterov,
            "ns_coefficients": ns_coefficients, "eps": eps, "ns_steps": ns_steps,
            "adjust_lr_fn": adjust_lr_fn,
        }  # fmt: skip
        super().__init__(params, defaults)
        for group in self.param_groups:
            for param in group["params"]:
                if param.dim() != 2:
                    raise ValueError(
                        "Muon only supports 2D parameters whereas we found a parameter with "
                        f"size: {param.size()}"
                    )

    def init_param(self, group: Group, param: Tensor) -> None:
        """Create the momentum buffer of zeros."""
        if not self.state[param]:
            self.state[param]["momentum_buffer"] = zeros(param)

    def _update_param(self, group: Group, param: Tensor, grad: Tensor) -> None:
        self.init_param(group, param)
        buffer, momentum, lr = self.state[param]["momentum_buffer"], group["momentum"], group["lr"]
        buffer.add_((grad - buffer) * (1 - momentum))
        update = grad + (buffer - grad) * momentum if group["nesterov"] else buffer
        update = _orthogonal(update, group["ns_coefficients"], group["ns_steps"], group["eps"])
        param.mul_(1 - lr * group["weight_decay"])
        rows, columns = param.shape
        if group["adjust_lr_fn"] == "match_rms_adamw":
            scale = 0.2 * math.sqrt(max(rows, columns))
        else:
            scale = math.sqrt(max(1, rows / columns))
        param.sub_(update * (lr * scale))

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update all parameters that have a gradient; return what ``closure`` returns."""
        return self._step(closure)


def _rounded(x: Tensor) -> Tensor:
    """float32 numbers rounded to those of bfloat16."""
    return x.to(nncomp.bfloat16).to(nncomp.float32)


def _orthogonal(x: Tensor, coefficients: tuple, steps: int, eps: float) -> Tensor:
    """An orthogonal matrix near ``x``, by Newton-Schulz iterations on bfloat16 numbers."""
    if steps >= 100:
        raise ValueError("Number of steps must be less than 100 for computational efficiency")
    if len(coefficients) != 3:
        raise ValueError("Coefficients must be a tuple of exactly 3 values.")
    a, b, c = coefficients
    y = _rounded(x.to(nncomp.float32))
    tall = y.shape[0] > y.shape[1]
    y = y.T if tall else y
    size = _rounded(y.norm())
    y = _rounded(y / nncomp.where(size < eps, size * 0 + eps, size))
    for _ in range(steps):
        gram = _rounded(y @ y.T)
        gram = _rounded(gram * b + (gram @ gram) * c)
        y = _rounded(y * a + gram @ y)
    return (y.T if tall else y).to(x.dtype)


__all__ = ["Muon"]
