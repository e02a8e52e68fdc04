"""Adadelta (torch.optim)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import nncomp

from ..tensor import Tensor
from ._state import check_rate, counter, decayed, zeros
from .optimizer import Group, Optimizer, check_not_negative, check_speed_options


class Adadelta(Optimizer):
    """Adadelta (Zeiler, 2012): steps in units of the parameter, from two running averages.

    ``foreach`` and ``capturable`` have no effect: they are kept so that state dicts have torch's
    format.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_rate(lr)
        check_not_negative("learning rate", lr)
        if not 0.0 <= rho <= 1.0:
            raise ValueError(f"Invalid rho value: {rho}")
        check_not_negative("epsilon value", eps)
        check_not_negative("weight_decay value", weight_decay)
        check_speed_options(differentiable)
        defaults = {
            "lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay, "maximize": maximize,
            "capturable": capturable, "foreach": foreach, "differentiable": differentiable,
        }  # fmt: skip
        super().__init__(params, defaults)

    def init_param(self, group: Group, param: Tensor) -> None:
        """Create the step counter and the averages of squares, which start at zero."""
        state = self.state[param]
        if not state:
            state["step"] = counter()
            state["square_avg"], state["acc_delta"] = zeros(param), zeros(param)

    def _update_param(self, group: Group, param: Tensor, grad: Tensor) -> None:
        self.init_param(group, param)
        state, rho, eps = self.state[param], group["rho"], group["eps"]
        state["step"].add_(1)
        grad = decayed(group, param, grad)
        square, moved = state["square_avg"], state["acc_delta"]
        square.mul_(rho).add_(grad * grad * (1 - rho))
        delta = nncomp.sqrt(moved + eps) / nncomp.sqrt(square + eps) * grad
        moved.mul_(rho).add_(delta * delta * (1 - rho))
        param.sub_(delta * group["lr"])

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update all parameters that have a gradient; return what ``closure`` returns."""
        return self._step(closure)


__all__ = ["Adadelta"]
