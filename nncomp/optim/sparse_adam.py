"""SparseAdam (torch.optim): there are no sparse gradients here, so that its step is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from ..tensor import Tensor
from ._state import check_betas, check_rate
from .optimizer import Group, Optimizer


class SparseAdam(Optimizer):
    """Adam for sparse gradients. Gradients of nncomp are dense, and dense ones are refused.

    RuntimeError in ``step()`` if a parameter has a gradient, as in torch for a dense one.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        maximize: bool = False,
    ) -> None:
        check_rate(lr)
        if not isinstance(lr, Tensor) and not 0.0 < lr:
            raise ValueError(f"Invalid learning rate: {lr}")
        if not 0.0 < eps:
            raise ValueError(f"Invalid epsilon value: {eps}")
        check_betas(betas)
        defaults = {"lr": lr, "betas": betas, "eps": eps, "maximize": maximize}
        super().__init__(params, defaults)

    def _update_param(self, group: Group, param: Tensor, grad: Tensor) -> None:
        raise RuntimeError(
            "SparseAdam does not support dense gradients, please consider Adam instead"
        )

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Refuse the first parameter that has a gradient; return what ``closure`` returns."""
        return self._step(closure)


__all__ = ["SparseAdam"]
