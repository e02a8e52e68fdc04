"""The functions of linalg that torch has in its own namespace, some with older signatures.

They are looked up when they are called, since linalg imports this package.
"""

from __future__ import annotations

from collections import namedtuple
from importlib import import_module
from typing import Any

from .autocasting import full_precision

_SVD = namedtuple("svd", "U S V")
_Triangular = namedtuple("triangular_solve", "solution cloned_coefficient")


def _linalg() -> Any:
    return import_module("nncomp.linalg")


def det(input: Any) -> Any:
    """The determinant of each matrix."""
    return _linalg().det(input)


def slogdet(input: Any) -> Any:
    """(sign, log of the size) of the determinant of each matrix."""
    return _linalg().slogdet(input)


def logdet(input: Any) -> Any:
    """log(det(input)); nan for negative determinants, -inf for 0."""
    return import_module("nncomp.linalg._solve").logdet(input)


def inverse(input: Any) -> Any:
    """The inverse of each matrix."""
    return _linalg().inv(input)


def pinverse(input: Any, rcond: float = 1e-15) -> Any:
    """The pseudo-inverse; singular values up to `rcond` times the largest count as 0."""
    return _linalg().pinv(input, rtol=rcond)


def matrix_power(input: Any, n: int) -> Any:
    """The n-th power of square matrices."""
    return _linalg().matrix_power(input, n)


def matrix_exp(input: Any) -> Any:
    """The exponential of square matrices."""
    return _linalg().matrix_exp(input)


def cholesky(input: Any, upper: bool = False) -> Any:
    """The Cholesky factor; linalg.cholesky is the newer name."""
    return _linalg().cholesky(input, upper=upper)


def cholesky_solve(input: Any, L: Any, upper: bool = False) -> Any:
    """X with A X = input for the matrix A whose Cholesky factor is `L`."""
    return import_module("nncomp.linalg._factor").cholesky_solve(input, L, upper)


def cholesky_inverse(L: Any, upper: bool = False) -> Any:
    """The inverse of the matrix whose Cholesky factor is `L`."""
    return import_module("nncomp.linalg._factor").cholesky_inverse(L, upper)


def qr(input: Any, some: bool = True) -> Any:
    """(Q, R); linalg.qr is the newer name."""
    return _linalg().qr(input, "reduced" if some else "complete")


def svd(input: Any, some: bool = True, compute_uv: bool = True) -> Any:
    """(U, S, V) with input = U diag(S) V^T; linalg.svd, the newer name, gives V^T."""
    u, s, vh = _linalg().svd(input, not some)
    if not compute_uv:
        return _SVD(u.detach() * 0, s, vh.detach() * 0)
    return _SVD(u, s, vh.transpose(-2, -1))


@full_precision
def triangular_solve(
    input: Any, A: Any, upper: bool = True, transpose: bool = False, unitriangular: bool = False
) -> Any:
    """(X, A) with A X = input; linalg.solve_triangular is the newer name."""
    matrix = A.transpose(-2, -1) if transpose else A
    x = _linalg().solve_triangular(
        matrix, input, upper=upper != transpose, unitriangular=unitriangular
    )
    return _Triangular(x, A)


def frobenius_norm(input: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """The square root of the sum of squares over `dim`."""
    return _linalg().vector_norm(input, 2, dim, keepdim)


def nuclear_norm(input: Any, dim: Any = (-2, -1), keepdim: bool = False) -> Any:
    """The sum of the singular values."""
    return _linalg().matrix_norm(input, "nuc", dim, keepdim)
