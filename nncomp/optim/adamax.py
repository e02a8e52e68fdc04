"""Adamax (torch.optim)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import nncomp

from ..tensor import Tensor
from ._state import check_betas, check_rate, counted, counter, decayed, zeros
from .optimizer import Group, Optimizer, check_not_negative, check_speed_options


class Adamax(Optimizer):
    """Adamax (Kingma and Ba, 2014): Adam with the decayed largest gradient as its scale.

    ``foreach`` and ``capturable`` have no effect: they are kept so that state dicts have torch's
    format.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        check_rate(lr)
        check_not_negative("learning rate", lr)
        check_not_negative("epsilon value", eps)
        check_betas(betas)
        check_not_negative("weight_decay value", weight_decay)
        check_speed_options(differentiable)
        defaults = {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
            "foreach": foreach, "maximize": maximize, "differentiable": differentiable,
            "capturable": capturable,
        }  # fmt: skip
        super().__init__(params, defaults)

    def init_param(self, group: Group, param: Tensor) -> None:
        """Create the step counter, the average and the norm, which start at zero."""
        state = self.state[param]
        if not state:
            state["step"] = counter()
            state["exp_avg"], state["exp_inf"] = zeros(param), zeros(param)

    def _update_param(self, group: Group, param: Tensor, grad: Tensor) -> None:
        self.init_param(group, param)
        state, (beta1, beta2) = self.state[param], group["betas"]
        steps = counted(state)
        grad = decayed(group, param, grad)
        average, highest = state["exp_avg"], state["exp_inf"]
        average.add_((grad - average) * (1 - beta1))
        highest.copy_(nncomp.maximum(highest * beta2, nncomp.abs(grad) + group["eps"]))
        param.sub_(average * (group["lr"] / (1 - beta1**steps)) / highest)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update all parameters that have a gradient; return what ``closure`` returns."""
        return self._step(closure)


__all__ = ["Adamax"]
