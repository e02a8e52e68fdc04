"""RAdam (torch.optim)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import nncomp

from ..tensor import Tensor
from ._state import check_betas, check_rate, counted, counter, decayed, zeros
from .optimizer import Group, Optimizer, check_not_negative, check_speed_options


class RAdam(Optimizer):
    """Rectified Adam (Liu et al., 2019): plain momentum until the variance is tractable.

    ``foreach`` and ``capturable`` have no effect: they are kept so that state dicts have torch's
    format.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_rate(lr)
        check_not_negative("learning rate", lr)
        check_not_negative("epsilon value", eps)
        check_betas(betas)
        check_not_negative("weight_decay value", weight_decay)
        check_speed_options(differentiable)
        defaults = {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
            "maximize": maximize, "foreach": foreach, "capturable": capturable,
            "decoupled_weight_decay": decoupled_weight_decay, "differentiable": differentiable,
        }  # fmt: skip
        super().__init__(params, defaults)

    def init_param(self, group: Group, param: Tensor) -> None:
        """Create the step counter and the averages, which start at zero."""
        state = self.state[param]
        if not state:
            state["step"] = counter()
            state["exp_avg"], state["exp_avg_sq"] = zeros(param), zeros(param)

    def _update_param(self, group: Group, param: Tensor, grad: Tensor) -> None:
        self.init_param(group, param)
        state, lr, (beta1, beta2) = self.state[param], group["lr"], group["betas"]
        average, square = state["exp_avg"], state["exp_avg_sq"]
        steps = counted(state)
        grad = decayed(group, param, grad)
        average.add_((grad - average) * (1 - beta1))
        square.mul_(beta2).add_(grad * grad * (1 - beta2))
        power = beta2**steps
        limit = 2 / (1 - beta2) - 1
        length = limit - 2 * steps * power / (1 - power)
        tractable = length > 5
        safe = nncomp.where(tractable, length, 5.0)  # the root of the untaken branch may be nan
        top = (safe - 4) * (safe - 2) * limit
        ratio = nncomp.sqrt(top / (safe * ((limit - 4) * (limit - 2))))
        adaptive = ratio * nncomp.sqrt(1 - power) / (nncomp.sqrt(square) + group["eps"])
        factor = nncomp.where(tractable, adaptive, 1.0)
        param.sub_(average * (lr / (1 - beta1**steps)) * factor)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update all parameters that have a gradient; return what ``closure`` returns."""
        return self._step(closure)


__all__ = ["RAdam"]
