"""Distances of nn.functional: pairwise_distance and pdist."""

from __future__ import annotations

import nncomp

from ..functions.statistics import vector_norm
from ..tensor import Tensor


def pairwise_distance(
    x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> Tensor:
    """The p-norm of x1 - x2 + eps along the last dimension."""
    return vector_norm(x1 - x2 + eps, float(p), -1, keepdim)


def pdist(input: Tensor, p: float = 2.0) -> Tensor:
    """The p-norm distances of all pairs of rows of (N, M): N (N - 1) / 2 numbers."""
    if input.dim() != 2:
        raise RuntimeError(
            f"pdist only supports 2D tensors, got: {input.dim()}D"
        )
    if p < 0:
        raise RuntimeError("pdist only supports non-negative p values")
    count = input.shape[0]
    pairs = [(i, j) for i in range(count) for j in range(i + 1, count)]
    if not pairs:
        return nncomp.zeros(0, dtype=input.dtype)
    rows = nncomp.tensor(pairs)
    first, second = (nncomp.index_select(input, 0, rows[:, side]) for side in (0, 1))
    return vector_norm(first - second, float(p), -1)


__all__ = ["pairwise_distance", "pdist"]
