"""Gradients that several calls of a compiled training step add up before one update.

Each call adds its gradients to tensors of its own; the last call of a row also updates with the sum
and clears it. The two kinds of calls are two programs.
"""

from __future__ import annotations

from collections.abc import Sequence

import nncomp

from .tensor import Tensor


class Accumulation:
    """Counts the calls of a step, and holds the sums of gradients between updates."""

    def __init__(self, calls: int):
        if isinstance(calls, bool) or not isinstance(calls, int):
            raise TypeError(f"accumulate is a number of calls, got {calls!r}")
        if calls < 1:
            raise ValueError(f"accumulate must be at least 1, got {calls}")
        self.calls, self.done = calls, 0
        self.sums: dict[Tensor, Tensor] = {}

    @property
    def is_last(self) -> bool:
        """Whether the next call updates the parameters."""
        return self.done + 1 == self.calls

    def advance(self) -> None:
        """A call is done."""
        self.done = (self.done + 1) % self.calls

    def prepare(self, params: Sequence[Tensor]) -> None:
        """Make room for the gradients of parameters that are new."""
        if self.calls > 1:
            for p in params:
                known = self.sums.get(p)
                if known is None or known._type != p._type:
                    self.sums[p] = nncomp.zeros(*p.shape, dtype=p.dtype)

    def add(self, params: Sequence[Tensor], grads: Sequence[Tensor | None]) -> list[Tensor | None]:
        """The gradients with those of earlier calls added; kept for the next call, or cleared."""
        if self.calls == 1:
            return list(grads)
        found: list[Tensor | None] = []
        with nncomp.no_grad():
            for p, g in zip(params, grads, strict=True):
                if g is None:
                    found.append(None)
                    continue
                total = self.sums[p] + g
                self.sums[p].copy_(nncomp.zeros_like(total) if self.is_last else total)
                found.append(total)
        return found


__all__ = ["Accumulation"]
