"""Adagrad (torch.optim)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import nncomp

from ..tensor import Tensor
from ._state import check_rate, counted, counter, decayed
from .optimizer import Group, Optimizer, check_not_negative, check_speed_options


class Adagrad(Optimizer):
    """Adagrad (Duchi et al., 2011): the rate falls with the sum of squared gradients.

    The state is made by the constructor. ``foreach`` and ``fused`` have no effect: they are kept
    so that state dicts have torch's format.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        check_rate(lr)
        check_not_negative("learning rate", lr)
        check_not_negative("lr_decay value", lr_decay)
        check_not_negative("weight_decay value", weight_decay)
        check_not_negative("initial_accumulator_value value", initial_accumulator_value)
        check_not_negative("epsilon value", eps)
        check_speed_options(differentiable)
        defaults = {
            "lr": lr, "lr_decay": lr_decay, "eps": eps, "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value, "foreach": foreach,
            "maximize": maximize, "differentiable": differentiable, "fused": fused,
        }  # fmt: skip
        super().__init__(params, defaults)
        for group in self.param_groups:
            for param in group["params"]:
                self.init_param(group, param)

    def init_param(self, group: Group, param: Tensor) -> None:
        """Create the step counter and the sum of squares."""
        state = self.state[param]
        if not state:
            state["step"] = counter()
            start = group["initial_accumulator_value"]
            state["sum"] = nncomp.full_like(param, start).detach()

    def _update_param(self, group: Group, param: Tensor, grad: Tensor) -> None:
        self.init_param(group, param)
        state = self.state[param]
        steps = counted(state)
        grad = decayed(group, param, grad)
        rate = group["lr"] / (1 + (steps - 1) * group["lr_decay"])
        state["sum"].add_(grad * grad)
        param.sub_(grad * rate / (nncomp.sqrt(state["sum"]) + group["eps"]))

    def share_memory(self) -> None:
        """Nothing to do: the state is never shared between processes."""

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update all parameters that have a gradient; return what ``closure`` returns."""
        return self._step(closure)


__all__ = ["Adagrad"]
