"""Rprop (torch.optim)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import nncomp

from ..tensor import Tensor
from ._state import check_rate, counter, zeros
from .optimizer import Group, Optimizer, check_not_negative, check_speed_options


class Rprop(Optimizer):
    """Resilient backpropagation (Riedmiller and Braun, 1993): only signs of gradients count.

    ``foreach`` and ``capturable`` have no effect: they are kept so that state dicts have torch's
    format.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50),
        *,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check_rate(lr)
        check_not_negative("learning rate", lr)
        if not 0.0 < etas[0] < 1.0 < etas[1]:
            raise ValueError(f"Invalid eta values: {etas[0]}, {etas[1]}")
        check_speed_options(differentiable)
        defaults = {
            "lr": lr, "etas": etas, "step_sizes": step_sizes, "foreach": foreach,
            "maximize": maximize, "differentiable": differentiable, "capturable": capturable,
        }  # fmt: skip
        super().__init__(params, defaults)

    def init_param(self, group: Group, param: Tensor) -> None:
        """Create the step counter, the previous gradient and the step sizes, which start at lr."""
        state = self.state[param]
        if not state:
            state["step"] = counter()
            state["prev"] = zeros(param)
            state["step_size"] = nncomp.full_like(param, float(group["lr"])).detach()

    def _update_param(self, group: Group, param: Tensor, grad: Tensor) -> None:
        self.init_param(group, param)
        state, (smaller, larger) = self.state[param], group["etas"]
        lowest, highest = group["step_sizes"]
        state["step"].add_(1)
        previous, size = state["prev"], state["step_size"]
        agreement = grad * previous
        turned = agreement < 0
        grown = nncomp.where(agreement > 0, size * larger, size)
        grown = nncomp.where(turned, size * smaller, grown)
        grown = nncomp.where(grown < lowest, size * 0 + lowest, grown)
        size.copy_(nncomp.where(grown > highest, size * 0 + highest, grown))
        kept = nncomp.where(turned, 0.0, grad)
        param.sub_(nncomp.sign(kept) * size)
        previous.copy_(kept)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update all parameters that have a gradient; return what ``closure`` returns."""
        return self._step(closure)


__all__ = ["Rprop"]
