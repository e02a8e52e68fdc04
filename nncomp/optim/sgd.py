"""Stochastic gradient descent with momentum (torch.optim.SGD)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import nncomp

from ..tensor import Tensor
from .optimizer import Group, Optimizer, check_not_negative, check_speed_options


class SGD(Optimizer):
    """Gradient descent with weight decay, momentum and Nesterov's form of it.

    ``lr`` is a number or a 0-d tensor. ``foreach`` and ``fused`` have no effect: they are kept so
    that state dicts have torch's format.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        check_not_negative("learning rate", lr)
        check_not_negative("momentum value", momentum)
        check_not_negative("weight_decay value", weight_decay)
        check_speed_options(differentiable)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")
        defaults = {
            "lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay,
            "nesterov": nesterov, "maximize": maximize, "foreach": foreach,
            "differentiable": differentiable, "fused": fused,
        }  # fmt: skip
        super().__init__(params, defaults)

    def init_param(self, group: Group, param: Tensor) -> None:
        """Create a momentum buffer of zeros.

        The first gradient enters the buffer undamped; with dampening, a 0-d counter "first" tells
        the first step from the later ones.
        """
        if group["momentum"] == 0 or "momentum_buffer" in self.state[param]:
            return
        state = self.state[param]
        state["momentum_buffer"] = nncomp.zeros_like(param).detach()
        if group["dampening"] != 0:
            state["first"] = nncomp.ones((), dtype=nncomp.float32)

    def _momentum(self, group: Group, param: Tensor, grad: Tensor) -> Tensor:
        """Move the buffer and return it."""
        state = self.state[param]
        buffer = state.get("momentum_buffer")
        if buffer is None:
            state["momentum_buffer"] = buffer = grad.detach().clone()
            return buffer
        if "first" in state:
            share = 1 - group["dampening"] * (1 - state["first"])
            buffer.mul_(group["momentum"]).add_(grad * share)
            state["first"].zero_()
        else:
            buffer.mul_(group["momentum"]).add_(grad * (1 - group["dampening"]))
        return buffer

    def _update_param(self, group: Group, param: Tensor, grad: Tensor) -> None:
        if group["weight_decay"] != 0:
            grad = grad + param * group["weight_decay"]
        if group["momentum"] != 0:
            buffer = self._momentum(group, param, grad)
            grad = grad + buffer * group["momentum"] if group["nesterov"] else buffer
        param.sub_(grad * group["lr"])

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update all parameters that have a gradient; return what ``closure`` returns."""
        return self._step(closure)


__all__ = ["SGD"]
