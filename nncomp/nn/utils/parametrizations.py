"""orthogonal, weight_norm and spectral_norm as parametrizations."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

import nncomp

from ...functions.masks import known_values
from ...ir import Graph, input_node, ops
from ...ir.types import DType, TensorType
from ...tensor import Tensor
from .._activation_functions import normalize
from ..module import Module
from . import parametrize
from ._norms import as_matrix, norm_except_dim, power_steps, scaled


class _WeightNorm(Module):
    """weight = g v / |v| (Salimans and Kingma, 2016)."""

    def __init__(self, dim: int | None = 0) -> None:
        super().__init__()
        self.dim = -1 if dim is None else dim

    def forward(self, weight_g: Tensor, weight_v: Tensor) -> Tensor:
        """The weight of length g in the direction of v."""
        return scaled(weight_v, weight_g, self.dim)

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """(g, v) of a weight."""
        return norm_except_dim(weight, 2, self.dim), weight


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """Separate the length of the slices along ``dim`` of a weight from its direction."""
    parametrize.register_parametrization(module, name, _WeightNorm(dim), unsafe=True)

    def load_old_keys(state_dict: dict, prefix: str, *rest: Any) -> None:
        old = [f"{prefix}{name}_{part}" for part in "gv"]
        if all(key in state_dict for key in old):
            for number, key in enumerate(old):
                new = f"{prefix}parametrizations.{name}.original{number}"
                state_dict[new] = state_dict.pop(key)

    module._register_load_state_dict_pre_hook(load_old_keys)
    return module


class _SpectralNorm(Module):
    """weight / its largest singular value, which the power method follows (Miyato, 2018)."""

    def __init__(
        self, weight: Tensor, n_power_iterations: int = 1, dim: int = 0, eps: float = 1e-12
    ) -> None:
        super().__init__()
        ndim = weight.dim()
        if dim >= ndim or dim < -ndim:
            raise IndexError(
                "Dimension out of range (expected to be in range of "
                f"[-{ndim}, {ndim - 1}] but got {dim})"
            )
        if n_power_iterations <= 0:
            raise ValueError(
                "Expected n_power_iterations to be positive, but got "
                f"n_power_iterations={n_power_iterations}"
            )
        self.dim = dim if dim >= 0 else dim + ndim
        self.eps = eps
        if ndim > 1:
            self.n_power_iterations = n_power_iterations
            matrix = as_matrix(weight.detach(), self.dim)
            rows, columns = matrix.shape
            u = normalize(nncomp.randn(rows, dtype=weight.dtype), dim=0, eps=eps)
            v = normalize(nncomp.randn(columns, dtype=weight.dtype), dim=0, eps=eps)
            with nncomp.no_grad():
                u, v = power_steps(matrix, u, v, 15, eps)
            self.register_buffer("_u", u)
            self.register_buffer("_v", v)

    def forward(self, weight: Tensor) -> Tensor:
        """The weight divided by the norm; in training the estimate takes further steps."""
        if weight.dim() == 1:
            return normalize(weight, dim=0, eps=self.eps)
        matrix = as_matrix(weight, self.dim)
        if self.training:
            with nncomp.no_grad():
                u, v = power_steps(matrix, self._u, self._v, self.n_power_iterations, self.eps)
                self._u.copy_(u)
                self._v.copy_(v)
        u, v = self._u.clone(), self._v.clone()
        return weight / nncomp.dot(u, nncomp.mv(matrix, v))

    def right_inverse(self, value: Tensor) -> Tensor:
        """The value itself: it is only scaled."""
        return value


def _tensor_of(module: Module, name: str) -> Tensor:
    weight = getattr(module, name, None)
    if not isinstance(weight, Tensor):
        raise ValueError(f"Module '{module}' has no parameter or buffer with name '{name}'")
    return weight


def spectral_norm(
    module: Module,
    name: str = "weight",
    n_power_iterations: int = 1,
    eps: float = 1e-12,
    dim: int | None = None,
) -> Module:
    """Keep the largest singular value of a weight at 1; ``dim`` counts its outputs."""
    weight = _tensor_of(module, name)
    if dim is None:
        dim = int(type(module).__name__.startswith("ConvTranspose"))
    made = _SpectralNorm(weight, n_power_iterations, dim, eps)
    parametrize.register_parametrization(module, name, made)
    return module


# -- orthogonal -----------------------------------------------------------------------------------

_MAPS = ("matrix_exp", "cayley", "householder")


@functools.lru_cache(maxsize=64)
def _reflection(n: int, k: int, dtype: DType) -> Graph:
    """(E, v, tau) -> E - tau v v^T E: one reflection of the columns of E."""
    e, v, tau = (
        input_node(name, TensorType(shape, dtype))
        for name, shape in (("e", (n, k)), ("v", (n, 1)), ("tau", (1, 1)))
    )
    row = ops.matmul(ops.permute(v, dims=(1, 0)), e)
    scaled_v = ops.mul(v, ops.expand(tau, shape=(n, 1)))
    return Graph("reflection", (e, v, tau), (ops.sub(e, ops.matmul(scaled_v, row)),))


def _reflections(below: Tensor, tau: Tensor) -> Tensor:
    """The first k columns of H_1 ... H_k; v_i is column i of ``below`` (n, k), with 1 on top."""
    n, k = below.shape
    eye = nncomp.eye(n, k, dtype=below.dtype)
    columns = (below + eye).t().reshape([k, n, 1])
    found = ops.scan(
        eye, columns, tau.reshape([k, 1, 1]), body=_reflection(n, k, below.dtype), carries=1,
        consts=0, length=k, reverse=True,
    )  # fmt: skip
    return found[0] if isinstance(found, tuple) else found


def _each(function: Any, x: Tensor) -> Tensor:
    """``function`` of every matrix of a batch."""
    if x.dim() == 2:
        return function(x)
    flat = x.reshape([-1, *x.shape[-2:]])
    return nncomp.stack([function(part) for part in flat.unbind(0)]).reshape(x.shape)


def _is_orthogonal(q: Tensor) -> bool:
    values = known_values(q, "the check of an orthogonal matrix")
    k = values.shape[-1]
    away = np.swapaxes(values, -1, -2) @ values - np.eye(k, dtype=values.dtype)
    return bool(np.abs(away).max() <= 10.0 * values.shape[-2] * np.finfo(values.dtype).eps)


def _made_orthogonal(a: Tensor) -> Tensor:
    """The Q of A = Q R with a positive diagonal of R."""
    values = known_values(a, "making a matrix orthogonal")
    q, r = np.linalg.qr(values)
    sign = np.sign(np.diagonal(r, axis1=-2, axis2=-1))
    return nncomp.tensor((q * np.where(sign == 0, 1, sign)[..., None, :]).astype(values.dtype))


class _Orthogonal(Module):
    """A matrix with orthonormal columns (or rows, if it is wide), from any matrix.

    matrix_exp and cayley map the skew part of its lower triangle, householder takes its columns as
    reflections. A fixed ``base`` in front lets any orthogonal matrix be assigned (Lezcano, 2019).
    """

    base: Tensor | None

    def __init__(
        self, weight: Tensor, orthogonal_map: str, *, use_trivialization: bool = True
    ) -> None:
        super().__init__()
        self.shape = weight.shape
        self.orthogonal_map = orthogonal_map
        if use_trivialization:
            self.register_buffer("base", None)

    def forward(self, X: Tensor) -> Tensor:
        """The orthogonal matrix of a tensor of the same shape."""
        wide = X.shape[-2] < X.shape[-1]
        x = X.transpose(-2, -1) if wide else X
        q = self._skew(x) if self.orthogonal_map != "householder" else _each(self._mirrored, x)
        base = getattr(self, "base", None)
        if base is not None:
            q = nncomp.matmul(base, q)
        return q.transpose(-2, -1) if wide else q

    def _skew(self, x: Tensor) -> Tensor:
        n, k = x.shape[-2:]
        x = x.tril()
        if n != k:
            x = nncomp.constant_pad_nd(x, (0, n - k))
        a = x - x.transpose(-2, -1)
        if self.orthogonal_map == "matrix_exp":
            q = nncomp.matrix_exp(a)
        else:
            eye = nncomp.eye(n, dtype=a.dtype)
            q = nncomp.linalg.solve(eye - 0.5 * a, eye + 0.5 * a)
        return q if n == k else q[..., :k]

    @staticmethod
    def _mirrored(x: Tensor) -> Tensor:
        below = x.tril(-1)
        tau = 2.0 / (1.0 + (below * below).sum(-2))
        signs = nncomp.diagonal(x, 0, -2, -1).int().to(x.dtype)
        return _reflections(below, tau) * signs.unsqueeze(-2)

    def right_inverse(self, Q: Tensor) -> Tensor:
        """The tensor that gives ``Q``, or the nearest that QR makes of it."""
        if tuple(Q.shape) != tuple(self.shape):
            raise ValueError(
                f"Expected a matrix or batch of matrices of shape {self.shape}. Got a tensor of "
                f"shape {Q.shape}."
            )
        wide = Q.shape[-2] < Q.shape[-1]
        q = Q.transpose(-2, -1) if wide else Q
        if "base" not in self._buffers:
            if self.orthogonal_map != "householder":
                raise NotImplementedError(
                    "It is not possible to assign to the matrix exponential or the Cayley "
                    "parametrizations when use_trivialization=False."
                )
            made = _as_reflections(q)
            return made.transpose(-2, -1) if wide else made
        n, k = q.shape[-2:]
        if n == k:
            base = q.clone() if _is_orthogonal(q) else _made_orthogonal(q)
        else:
            noise = nncomp.randn(*q.shape[:-1], n - k, dtype=q.dtype)
            base = _made_orthogonal(nncomp.cat([q, noise], -1))
        self.base = base.detach()
        return -nncomp.eye(*Q.shape[-2:], dtype=Q.dtype).expand(Q.shape).clone()


def _as_reflections(q: Tensor) -> Tensor:
    """LAPACK's reflections of a QR decomposition, with signs of R on the diagonal."""
    values = known_values(q, "the reflections of a matrix")
    flat = values.reshape(-1, *values.shape[-2:])
    made = []
    for matrix in flat:
        raw, tau = np.linalg.qr(matrix, mode="raw")
        a = np.tril(raw.T, -1)
        signs = np.sign(np.diagonal(raw.T)) * np.where(tau == 0, -1, 1)
        np.fill_diagonal(a, signs)
        made.append(a)
    return nncomp.tensor(np.stack(made).reshape(values.shape).astype(values.dtype))


def orthogonal(
    module: Module,
    name: str = "weight",
    orthogonal_map: str | None = None,
    *,
    use_trivialization: bool = True,
) -> Module:
    """Keep a matrix orthogonal; ``orthogonal_map`` is matrix_exp, cayley or householder."""
    weight = _tensor_of(module, name)
    if weight.dim() < 2:
        raise ValueError(
            f"Expected a matrix or batch of matrices. Got a tensor of {weight.dim()} dimensions."
        )
    if orthogonal_map is None:
        square = weight.shape[-2] == weight.shape[-1]
        orthogonal_map = "matrix_exp" if square else "householder"
    if orthogonal_map not in _MAPS:
        raise ValueError(
            'orthogonal_map has to be one of "matrix_exp", "cayley", "householder". Got: '
            f"{orthogonal_map}"
        )
    made = _Orthogonal(weight, orthogonal_map, use_trivialization=use_trivialization)
    parametrize.register_parametrization(module, name, made, unsafe=True)
    return module


__all__ = ["orthogonal", "spectral_norm", "weight_norm"]
