"""What a compiled training step does with autocast and a GradScaler.

Forward and loss run in the mode of the caller, everything behind them without autocast. With a
scaler the step is what eager code does with it, as one graph: where a gradient is inf or nan, all
parameters and states keep their values, and scale and growth count move on as tensors.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import nncomp

from ..autograd.modes import no_grad, state
from ..tensor import Tensor
from .grad_scaler import GradScaler, unscale


class Scaling:
    """The part of a GradScaler in a step that is recorded; without one it changes nothing."""

    def __init__(self, scaler: GradScaler | None):
        self.scaler = scaler if scaler is not None and scaler.is_enabled() else None
        self.found: Tensor | None = None
        self.settings = self._settings()

    def _settings(self) -> tuple:
        s = self.scaler
        if s is None:
            return ()
        return s._growth_factor, s._backoff_factor, s._growth_interval, id(s._scale)

    def stale(self) -> str | None:
        """Why the recorded step does not fit the scaler any more; None if it does."""
        return None if self._settings() == self.settings else "a setting of the GradScaler changed"

    def loss(self, loss: Tensor) -> Tensor:
        """The loss whose gradients are taken."""
        return loss if self.scaler is None else self.scaler.scale(loss)

    def unscale(self, gradients: Iterable[Tensor | None]) -> None:
        """Divide the gradients by the scale, and note whether one is inf or nan."""
        if self.scaler is not None:
            self.found = unscale([g for g in gradients if g is not None], self.scaler._scale)

    @contextmanager
    def update(self, optimizer: Any) -> Iterator[None]:
        """Undo what the body does to parameters and states if a gradient was inf or nan."""
        if self.scaler is None or self.found is None:
            yield
            return
        tensors = list(_tensors(optimizer))
        with no_grad():
            before = [x.clone() for x in tensors]
            yield
            bad = self.found > 0
            for x, old in zip(tensors, before, strict=True):
                x.copy_(nncomp.where(bad, old, x))
        self.scaler.move(self.found)


def _tensors(optimizer: Any) -> Iterator[Tensor]:
    for group in optimizer.param_groups:
        for p in group["params"]:
            if p.grad is not None:
                yield p
                yield from (v for v in optimizer.state.get(p, {}).values() if isinstance(v, Tensor))


@contextmanager
def without_autocast() -> Iterator[None]:
    """Run the body as it would run outside of `autocast`."""
    before, state.autocast = state.autocast, None
    try:
        yield
    finally:
        state.autocast = before


__all__ = ["Scaling", "without_autocast"]
