"""Norms and condition numbers, powers, exponentials and products of matrices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..autograd.function import Function
from ..functions.autocasting import as_given, full_precision, lowered
from ..functions.base import wrap_dim
from ..functions.join import cat
from ..functions.linalg import matmul
from ..functions.promotion import cast
from ..functions.reduce import amax, amin, sum
from ..functions.statistics import vector_norm as _vector_norm
from ..functions.unary import abs
from ..functions.views import movedim
from . import _loops
from ._common import computed, identity, mT, square
from ._factor import svdvals
from ._solve import inv


def vector_norm(
    x: Any, ord: float = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None,
    out: Any = None,
) -> Any:  # fmt: skip
    """(sum |x|^ord)^(1/ord) over `dim` (all elements if None)."""
    x = x if dtype is None else cast(x, dtype)
    if x.dtype.kind != "f":
        raise RuntimeError(
            "linalg.vector_norm: Expected a floating point or complex tensor as input. Got "
            f"{x.dtype.name}"
        )
    return _vector_norm(x, float(ord), dim, keepdim)


def matrix_norm(
    A: Any, ord: Any = "fro", dim: Any = (-2, -1), keepdim: bool = False, *, dtype: Any = None,
    out: Any = None,
) -> Any:  # fmt: skip
    """"fro", "nuc", or a number: 1 and inf are the largest column and row sum, 2 the largest
    singular value; negative ones the smallest.
    """
    A = A if dtype is None else cast(A, dtype)
    row, column = (wrap_dim(d, len(A.shape)) for d in dim)
    if row == column:
        raise RuntimeError("linalg.matrix_norm: dims must be different")
    if ord == "fro":
        return _vector_norm(A, 2.0, (row, column), keepdim)
    if ord == "nuc" or ord in (2, -2):
        values = svdvals(movedim(A, (row, column), (-2, -1)))
        result = sum(values, -1) if ord == "nuc" else (amax if ord == 2 else amin)(values, -1)
        return _kept(result, A, row, column) if keepdim else result
    if ord not in (1, -1, math.inf, -math.inf):
        raise RuntimeError(f"linalg.matrix_norm: Order {ord} not supported.")
    summed, other = (row, column) if ord in (1, -1) else (column, row)
    sums = sum(abs(A), summed, True)
    result = (amax if ord > 0 else amin)(sums, other, True)
    if keepdim:
        return result
    shape = tuple(n for i, n in enumerate(result.shape) if i not in (row, column))
    return result.reshape(shape)


def _kept(result: Any, A: Any, row: int, column: int) -> Any:
    return result.reshape(tuple(1 if i in (row, column) else n for i, n in enumerate(A.shape)))


def norm(
    A: Any, ord: Any = None, dim: Any = None, keepdim: bool = False, *, out: Any = None,
    dtype: Any = None,
) -> Any:  # fmt: skip
    """vector_norm() over one dim (or everything), matrix_norm() over two dims or with a name."""
    if ord is None:
        return vector_norm(A, 2, dim, keepdim, dtype=dtype)
    dims = dim
    if dims is None:
        dims = tuple(range(len(A.shape))) if len(A.shape) <= 2 else None
    count = 1 if isinstance(dims, int) else len(dims) if dims is not None else 0
    if count == 1:
        return vector_norm(A, ord, dims, keepdim, dtype=dtype)
    if count != 2:
        raise RuntimeError(
            "linalg.norm: If dim is not specified but ord is, the input must be 1D or 2D. Got "
            f"{len(A.shape)}D."
        )
    return matrix_norm(A, ord, dims, keepdim, dtype=dtype)


@full_precision
def cond(A: Any, p: Any = None, *, out: Any = None) -> Any:
    """The condition number: norm(A) norm(A^-1), for 2 (None) from singular values."""
    if p in (None, 2, -2):
        values = svdvals(A)
        first, last = values[..., 0], values[..., -1]
        return last / first if p == -2 else first / last
    square("cond", A)
    return matrix_norm(A, p) * matrix_norm(inv(A), p)


def matrix_power(A: Any, n: int, *, out: Any = None) -> Any:
    """The n-th power of square matrices; the inverse is taken first for negative n."""
    square("matrix_power", A)
    if n < 0:
        return matrix_power(inv(A), -n)
    if n == 0:
        return A * 0 + identity(A)
    result, power = None, A
    while n:
        if n & 1:
            result = power if result is None else matmul(result, power)
        n >>= 1
        power = matmul(power, power) if n else power
    return result.clone() if result is A else result


class _MatrixExp(Function):
    @staticmethod
    def forward(ctx: Any, a: Any) -> Any:
        ctx.save_for_backward(a)
        return computed("matrix_exp", _exponential, a, loop=_loops.matrix_exp)

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        """The upper right block of exp([[A^T, G], [0, A^T]]) (Najfeld and Havel, 1995)."""
        turned = mT(ctx.saved_tensors[0])
        n = turned.shape[-1]
        top, bottom = cat([turned, grad], -1), cat([grad * 0, turned], -1)
        return _MatrixExp.apply(cat([top, bottom], -2))[..., :n, n:]


def _exponential(a: np.ndarray) -> np.ndarray:
    """Taylor's series of A / 2^s, squared s times; 2^s makes the norm at most 1/2."""
    if a.size == 0:
        return a
    wide = a.astype(np.float64)
    size = np.abs(wide).sum(-2).max()
    if not np.isfinite(size):
        return np.full_like(a, np.nan)
    squarings = max(0, int(np.ceil(np.log2(size))) + 1) if size > 0 else 0
    wide = wide / 2.0**squarings
    eye = np.broadcast_to(np.eye(a.shape[-1]), a.shape)
    result, term = eye.copy(), eye
    for k in range(1, 19):
        term = term @ wide / k
        result = result + term
    for _ in range(squarings):
        result = result @ result
    return result


@as_given
def matrix_exp(A: Any) -> Any:
    """The exponential of square matrices."""
    return _MatrixExp.apply(square("matrix_exp", A))


def multi_dot(tensors: Sequence[Any], *, out: Any = None) -> Any:
    """The product of several matrices in the cheapest order; first and last may be vectors."""
    parts = list(tensors)
    if len(parts) < 2:
        raise RuntimeError(f"multi_dot(): expected at least 2 tensors but got {len(parts)}")
    row, column = len(parts[0].shape) == 1, len(parts[-1].shape) == 1
    if row:
        parts[0] = parts[0].unsqueeze(0)
    if column:
        parts[-1] = parts[-1].unsqueeze(1)
    sizes = [parts[0].shape[0], *(x.shape[-1] for x in parts)]
    result = _product(parts, _cuts(sizes), 0, len(parts) - 1)
    if row:
        result = result[0]
    return result[..., 0] if column else result


def _cuts(sizes: list[int]) -> dict[tuple[int, int], int]:
    """Where to cut each run of matrices (dynamic programming over runs of growing length)."""
    count = len(sizes) - 1
    cost = {(i, i): 0 for i in range(count)}
    cuts = {}
    for length in range(1, count):
        for i in range(count - length):
            j = i + length
            cost[i, j], cuts[i, j] = min(
                (cost[i, k] + cost[k + 1, j] + sizes[i] * sizes[k + 1] * sizes[j + 1], k)
                for k in range(i, j)
            )
    return cuts


def _product(parts: list[Any], cuts: dict[tuple[int, int], int], i: int, j: int) -> Any:
    if i == j:
        return parts[i]
    k = cuts[i, j]
    return matmul(_product(parts, cuts, i, k), _product(parts, cuts, k + 1, j))


def vecdot(x: Any, y: Any, *, dim: int = -1, out: Any = None) -> Any:
    """The sum of products along `dim`."""
    x, y = lowered(x, y)
    return sum(x * y, dim)


def vander(x: Any, N: int | None = None, *, out: Any = None) -> Any:
    """Powers 0 ... N - 1 of each element, along a new last dim."""
    count = x.shape[-1] if N is None else N
    if count < 1:
        raise RuntimeError("N must be greater than 1.")
    powers = [x[..., None] ** k if k else x[..., None] * 0 + 1 for k in range(count)]
    return cat(powers, -1)
