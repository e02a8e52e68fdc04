"""RMSprop (torch.optim)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import nncomp

from ..tensor import Tensor
from ._state import check_rate, counter, decayed, zeros
from .optimizer import Group, Optimizer, check_not_negative, check_speed_options


class RMSprop(Optimizer):
    """RMSprop (Hinton, 2012), with momentum and the centered form (Graves, 2013) on demand.

    ``foreach`` and ``capturable`` have no effect: they are kept so that state dicts have torch's
    format.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_rate(lr)
        check_not_negative("learning rate", lr)
        check_not_negative("epsilon value", eps)
        check_not_negative("momentum value", momentum)
        check_not_negative("weight_decay value", weight_decay)
        check_not_negative("alpha value", alpha)
        check_speed_options(differentiable)
        defaults = {
            "lr": lr, "momentum": momentum, "alpha": alpha, "eps": eps, "centered": centered,
            "weight_decay": weight_decay, "capturable": capturable, "foreach": foreach,
            "maximize": maximize, "differentiable": differentiable,
        }  # fmt: skip
        super().__init__(params, defaults)

    def init_param(self, group: Group, param: Tensor) -> None:
        """Create the step counter and the averages that the options need."""
        state = self.state[param]
        if state:
            return
        state["step"] = counter()
        state["square_avg"] = zeros(param)
        if group["momentum"] > 0:
            state["momentum_buffer"] = zeros(param)
        if group["centered"]:
            state["grad_avg"] = zeros(param)

    def _update_param(self, group: Group, param: Tensor, grad: Tensor) -> None:
        self.init_param(group, param)
        state, alpha = self.state[param], group["alpha"]
        state["step"].add_(1)
        grad = decayed(group, param, grad)
        square = state["square_avg"]
        square.mul_(alpha).add_(grad * grad * (1 - alpha))
        if group["centered"]:
            average = state["grad_avg"]
            average.add_((grad - average) * (1 - alpha))
            square = square - average * average
        update = grad / (nncomp.sqrt(square) + group["eps"])
        if group["momentum"] > 0:
            update = state["momentum_buffer"].mul_(group["momentum"]).add_(update)
        param.sub_(update * group["lr"])

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update all parameters that have a gradient; return what ``closure`` returns."""
        return self._step(closure)


__all__ = ["RMSprop"]
