"""Adam and AdamW (torch.optim).

The step counter of each parameter is a 0-d float32 tensor. The bias corrections are computed from
it in float64, as 1 - beta2^t loses four digits in float32 in the first steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import nncomp

from ..tensor import Tensor
from .optimizer import Group, Optimizer, check_not_negative, check_speed_options


class Adam(Optimizer):
    """Adam (Kingma and Ba, 2014), with AMSGrad (Reddi et al., 2018) on demand.

    ``lr`` is a number or a 0-d tensor. ``foreach``, ``fused`` and ``capturable`` have no effect:
    they are kept so that state dicts have torch's format.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ) -> None:
        check_not_negative("learning rate", lr)
        check_not_negative("epsilon value", eps)
        for index, beta in enumerate(betas):
            if not isinstance(beta, Tensor) and not 0.0 <= beta < 1.0:
                raise ValueError(f"Invalid beta parameter at index {index}: {beta}")
        check_not_negative("weight_decay value", weight_decay)
        check_speed_options(differentiable)
        defaults = {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
            "amsgrad": amsgrad, "maximize": maximize, "foreach": foreach,
            "capturable": capturable, "differentiable": differentiable, "fused": fused,
            "decoupled_weight_decay": decoupled_weight_decay,
        }  # fmt: skip
        super().__init__(params, defaults)

    def init_param(self, group: Group, param: Tensor) -> None:
        """Create the step counter and the averages, which start at zero."""
        state = self.state[param]
        if state:
            return
        state["step"] = nncomp.zeros((), dtype=nncomp.float32)
        names = ["exp_avg", "exp_avg_sq"] + ["max_exp_avg_sq"] * group["amsgrad"]
        for name in names:
            state[name] = nncomp.zeros_like(param).detach()

    def _update_param(self, group: Group, param: Tensor, grad: Tensor) -> None:
        self.init_param(group, param)
        state, lr, (beta1, beta2) = self.state[param], group["lr"], group["betas"]
        average, square = state["exp_avg"], state["exp_avg_sq"]
        state["step"].add_(1)
        if group["weight_decay"] != 0:
            if group["decoupled_weight_decay"]:
                param.mul_(1 - lr * group["weight_decay"])
            else:
                grad = grad + param * group["weight_decay"]
        average.add_((grad - average) * (1 - beta1))
        square.mul_(beta2).add_(grad * grad * (1 - beta2))
        if group["amsgrad"]:
            highest = state["max_exp_avg_sq"]
            square = highest.copy_(nncomp.maximum(highest, square))
        steps = state["step"].double()
        step_size = lr / (1 - beta1**steps)
        root = nncomp.sqrt(1 - beta2**steps)
        # one division per element is enough: 1 / root is a number
        denominator = nncomp.sqrt(square) * (1 / root) + group["eps"]
        param.sub_(average * step_size / denominator)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update all parameters that have a gradient; return what ``closure`` returns."""
        return self._step(closure)


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2017)."""

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(
            params, lr, betas, eps, weight_decay, amsgrad, decoupled_weight_decay=True, **options
        )


__all__ = ["Adam", "AdamW"]
