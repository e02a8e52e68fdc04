"""What weight_norm and spectral_norm share: norms of slices, and steps of the power method."""

from __future__ import annotations

import nncomp

from ...functions.statistics import vector_norm
from ...tensor import Tensor
from .._activation_functions import normalize


def norm_except_dim(v: Tensor, pow: float = 2, dim: int | None = 0) -> Tensor:
    """The norm over all dimensions but ``dim``, which are kept; over all of them for None or -1."""
    if dim is None or dim == -1:
        return vector_norm(v, float(pow))
    dims = [d for d in range(v.dim()) if d != dim]
    if not dims:
        return nncomp.abs(v)
    return vector_norm(v, float(pow), dims, keepdim=True)


def scaled(v: Tensor, g: Tensor, dim: int | None) -> Tensor:
    """v * g / |v|, the norm being taken over all dimensions but ``dim``."""
    return v * (g / norm_except_dim(v, 2, dim))


def as_matrix(weight: Tensor, dim: int) -> Tensor:
    """``weight`` with ``dim`` first and the other dimensions joined."""
    if dim != 0:
        weight = weight.permute(dim, *(d for d in range(weight.dim()) if d != dim))
    return weight.reshape([weight.shape[0], -1])


def power_steps(
    matrix: Tensor, u: Tensor, v: Tensor, steps: int, eps: float
) -> tuple[Tensor, Tensor]:
    """u and v moved towards the singular vectors of the largest singular value."""
    matrix = matrix.detach()
    for _ in range(steps):
        u = normalize(nncomp.mv(matrix, v), dim=0, eps=eps)
        v = normalize(nncomp.mv(matrix.t(), u), dim=0, eps=eps)
    return u, v


__all__ = ["as_matrix", "norm_except_dim", "power_steps", "scaled"]
