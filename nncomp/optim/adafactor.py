"""Adafactor (torch.optim)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import nncomp

from ..tensor import Tensor
from ._state import check_rate, counted, counter, zeros
from .optimizer import Group, Optimizer


class Adafactor(Optimizer):
    """Adafactor (Shazeer and Stern, 2018): second moments of a matrix kept as a row and a column.

    ``eps`` is (added to squares; None for the dtype's epsilon, smallest scale of a parameter).
    ``foreach`` has no effect: it is kept so that state dicts have torch's format.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
    ) -> None:
        check_rate(lr)
        if not isinstance(lr, Tensor) and not 0.0 <= lr:
            raise ValueError(f"Learning rate should be >= 0 but is: {lr}")
        if not 0.0 >= beta2_decay:
            raise ValueError(f"beta2_decay should be <= 0 but is: {beta2_decay}")
        if eps[0] is not None and not 0.0 <= eps[0]:
            raise ValueError(f"epsilon1 should be >= 0 but is: {eps[0]}")
        if not 0.0 <= eps[1]:
            raise ValueError(f"epsilon2 should be >= 0 but is: {eps[1]}")
        if not 1.0 <= d:
            raise ValueError(f"Clipping threshold d should be >= 1 but is: {d}")
        if not 0.0 <= weight_decay:
            raise ValueError(f"weight_decay should be >= 0 but is: {weight_decay}")
        defaults = {
            "lr": lr, "beta2_decay": beta2_decay, "eps": eps, "d": d,
            "weight_decay": weight_decay, "foreach": foreach, "maximize": maximize,
        }  # fmt: skip
        super().__init__(params, defaults)

    def init_param(self, group: Group, param: Tensor) -> None:
        """Create the step counter and the second moments: row and column, or whole for vectors."""
        state = self.state[param]
        if state:
            return
        state["step"] = counter()
        if param.dim() > 1:
            shape = tuple(param.shape)
            state["row_var"] = param.detach().new_zeros((*shape[:-1], 1))
            state["col_var"] = param.detach().new_zeros((*shape[:-2], 1, shape[-1]))
        else:
            state["variance"] = zeros(param)

    def _variance(self, state: dict[str, Any], grad: Tensor, share: Tensor, tiny: float) -> Tensor:
        """Move the second moments by ``share`` and return their estimate for each element."""
        squares = grad * grad
        if grad.dim() <= 1:
            moment = state["variance"]
            return moment.add_((squares - moment) * share)
        row, column = state["row_var"], state["col_var"]
        row.add_((squares.mean(-1, keepdim=True) - row) * share)
        column.add_((squares.mean(-2, keepdim=True) - column) * share)
        return row * column / _at_least(row.mean(-2, keepdim=True), tiny)

    def _update_param(self, group: Group, param: Tensor, grad: Tensor) -> None:
        self.init_param(group, param)
        state, lr, (tiny, smallest) = self.state[param], group["lr"], group["eps"]
        tiny = nncomp.finfo(param.dtype).eps if tiny is None else tiny
        steps = counted(state)
        share = steps ** group["beta2_decay"]
        rate = nncomp.sqrt(1 / steps)
        rate = nncomp.where(rate > lr, rate * 0 + lr, rate)
        root = math.sqrt(param.numel())
        rate = rate * _at_least(param.norm() / root, smallest)
        if group["weight_decay"] != 0:
            param.mul_(1 - lr * group["weight_decay"])
        variance = self._variance(state, grad, share, tiny)
        update = grad / nncomp.sqrt(_at_least(variance, tiny * tiny))
        clipped = _at_least(update.norm() / (root * group["d"]), 1.0)
        param.sub_(update * (rate / clipped))

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update all parameters that have a gradient; return what ``closure`` returns."""
        return self._step(closure)


def _at_least(x: Tensor, bound: float) -> Tensor:
    return nncomp.where(x < bound, x * 0 + bound, x)


__all__ = ["Adafactor"]
