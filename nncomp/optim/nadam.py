"""NAdam (torch.optim)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import nncomp

from ..tensor import Tensor
from ._state import check_betas, check_rate, counted, counter, decayed, zeros
from .optimizer import Group, Optimizer, check_not_negative, check_speed_options


class NAdam(Optimizer):
    """Adam with Nesterov momentum (Dozat, 2016).

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
        momentum_decay: float = 4e-3,
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
        check_not_negative("momentum_decay value", momentum_decay)
        check_speed_options(differentiable)
        defaults = {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
            "momentum_decay": momentum_decay, "decoupled_weight_decay": decoupled_weight_decay,
            "maximize": maximize, "foreach": foreach, "capturable": capturable,
            "differentiable": differentiable,
        }  # fmt: skip
        super().__init__(params, defaults)

    def init_param(self, group: Group, param: Tensor) -> None:
        """Create the step counter, the product of the momenta and the averages."""
        state = self.state[param]
        if not state:
            state["step"] = counter()
            state["mu_product"] = nncomp.ones((), dtype=nncomp.float32)
            state["exp_avg"], state["exp_avg_sq"] = zeros(param), zeros(param)

    def _update_param(self, group: Group, param: Tensor, grad: Tensor) -> None:
        self.init_param(group, param)
        state, lr, (beta1, beta2) = self.state[param], group["lr"], group["betas"]
        average, square, product = state["exp_avg"], state["exp_avg_sq"], state["mu_product"]
        steps = counted(state)
        grad = decayed(group, param, grad)
        decay = group["momentum_decay"]
        mu = beta1 * (1 - 0.5 * 0.96 ** (steps * decay))
        mu_next = beta1 * (1 - 0.5 * 0.96 ** ((steps + 1) * decay))
        product.mul_(mu)
        average.add_((grad - average) * (1 - beta1))
        square.mul_(beta2).add_(grad * grad * (1 - beta2))
        denominator = nncomp.sqrt(square / (1 - beta2**steps)) + group["eps"]
        long = product.double()
        param.sub_(grad * (lr * (1 - mu) / (1 - long)) / denominator)
        param.sub_(average * (lr * mu_next / (1 - long * mu_next)) / denominator)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update all parameters that have a gradient; return what ``closure`` returns."""
        return self._step(closure)


__all__ = ["NAdam"]
