"""ASGD: averaged stochastic gradient descent (torch.optim)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import nncomp

from ..tensor import Tensor
from ._state import check_rate, counted, counter, decayed, zeros
from .optimizer import Group, Optimizer, check_not_negative, check_speed_options


class ASGD(Optimizer):
    """Averaged gradient descent (Polyak and Juditsky, 1992); ``ax`` in the state is the average.

    Averaging begins after ``t0`` steps. ``foreach`` and ``capturable`` have no effect: they are
    kept so that state dicts have torch's format.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        check_rate(lr)
        check_not_negative("learning rate", lr)
        check_not_negative("weight_decay value", weight_decay)
        check_speed_options(differentiable)
        defaults = {
            "lr": lr, "lambd": lambd, "alpha": alpha, "t0": t0, "weight_decay": weight_decay,
            "foreach": foreach, "maximize": maximize, "differentiable": differentiable,
            "capturable": capturable,
        }  # fmt: skip
        super().__init__(params, defaults)

    def init_param(self, group: Group, param: Tensor) -> None:
        """Create the step counter, the step size, the weight of the average and the average."""
        state = self.state[param]
        if not state:
            state["step"] = counter()
            state["eta"] = nncomp.full((), float(group["lr"]), dtype=nncomp.float32)
            state["mu"] = nncomp.ones((), dtype=nncomp.float32)
            state["ax"] = zeros(param)

    def _update_param(self, group: Group, param: Tensor, grad: Tensor) -> None:
        self.init_param(group, param)
        state, lr, lambd = self.state[param], group["lr"], group["lambd"]
        steps = counted(state)
        grad = decayed(group, param, grad)
        eta, average = state["eta"], state["ax"]
        param.mul_(1 - eta * lambd)
        param.sub_(grad * eta)
        average.add_((param - average) * state["mu"])
        eta.copy_(lr / (1 + steps * (lambd * lr)) ** group["alpha"])
        passed = steps - group["t0"]
        state["mu"].copy_(1 / nncomp.where(passed > 1, passed, 1.0))

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update all parameters that have a gradient; return what ``closure`` returns."""
        return self._step(closure)


__all__ = ["ASGD"]
