"""Factorizations: Cholesky, QR, symmetric eigenvalues, singular values; and what they give.

numpy computes them. Gradients: Cholesky by Murray (2016), QR by Walter and Lehmann (2018), the
others by Giles (2008) and Townsend (2016). Gradients of eigenvectors and singular vectors are
infinite where values are equal.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..autograd.function import Function
from ..autograd.modes import state
from ..functions.autocasting import full_precision
from ..functions.linalg import matmul
from ..functions.rearrange import diag_embed, tril
from ..functions.reduce import sum
from ..functions.selection import where
from . import _loops
from ._common import computed, identity, made, matrix, mT, square
from ._solve import _Solve, solve_triangular


class qr_result(NamedTuple):
    """Orthogonal and upper triangular factor."""

    Q: Any
    R: Any


class eigh_result(NamedTuple):
    """Eigenvalues in ascending order and eigenvectors as columns."""

    eigenvalues: Any
    eigenvectors: Any


class svd_result(NamedTuple):
    """Left singular vectors, singular values in descending order, right vectors as rows."""

    U: Any
    S: Any
    Vh: Any


class cholesky_ex_result(NamedTuple):
    """The factor and, per matrix, 0 or a sign of failure."""

    L: Any
    info: Any


# -- Cholesky -------------------------------------------------------------------------------------


class _Cholesky(Function):
    @staticmethod
    def forward(ctx: Any, a: Any) -> Any:
        result = computed("cholesky", np.linalg.cholesky, a, loop=_loops.cholesky)
        ctx.save_for_backward(result)
        return result

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        (factor,) = ctx.saved_tensors
        inner = tril(matmul(mT(factor), grad))
        inner = inner - identity(inner) * inner * 0.5
        turned = mT(factor)
        # factor^-T inner factor^-1
        half = mT(_Solve.apply(turned, mT(_Solve.apply(turned, inner))))
        return (half + mT(half)) * 0.5


@full_precision
def cholesky(A: Any, *, upper: bool = False, out: Any = None) -> Any:
    """Lower triangular L with A = L L^T (upper: its transpose); LinAlgError if there is none."""
    square("cholesky", A)
    factor = _Cholesky.apply(A)
    return mT(factor) if upper else factor


@full_precision
def cholesky_ex(
    A: Any, *, upper: bool = False, check_errors: bool = False, out: Any = None
) -> cholesky_ex_result:
    """(factor, info); failures raise LinAlgError, so that info is always 0."""
    info = made(np.zeros(tuple(A.shape[:-2]), np.int32), np.dtype(np.float32))
    return cholesky_ex_result(cholesky(A, upper=upper), info)


@full_precision
def cholesky_solve(input: Any, L: Any, upper: bool = False, *, out: Any = None) -> Any:
    """X with A X = input for the matrix A whose Cholesky factor is `L`."""
    lower = mT(L) if upper else L
    half = solve_triangular(lower, input, upper=False)
    return solve_triangular(mT(lower), half, upper=True)


@full_precision
def cholesky_inverse(L: Any, upper: bool = False, *, out: Any = None) -> Any:
    """The inverse of the matrix whose Cholesky factor is `L`."""
    return cholesky_solve(identity(L).expand(L.shape), L, upper)


# -- QR -------------------------------------------------------------------------------------------


class _QR(Function):
    @staticmethod
    def forward(ctx: Any, a: Any, mode: str) -> Any:
        q, r = computed(
            "qr", lambda x: tuple(np.linalg.qr(x, mode)), a, loop=lambda x: _loops.qr(x, mode)
        )
        ctx.save_for_backward(q, r)
        ctx.tall = a.shape[-2] >= a.shape[-1] and q.shape[-1] == r.shape[-1]
        return q, r

    @staticmethod
    def backward(ctx: Any, grad_q: Any, grad_r: Any) -> Any:
        if not ctx.tall:
            raise NotImplementedError(
                "The derivative of linalg.qr is there for mode='reduced' and matrices with at "
                "least as many rows as columns only"
            )
        q, r = ctx.saved_tensors
        m = matmul(r, mT(grad_r)) - matmul(mT(grad_q), q)
        both = tril(m) + mT(tril(m, -1))
        inner = grad_q + matmul(q, both)
        return mT(_Solve.apply(r, mT(inner))), None


@full_precision
def qr(A: Any, mode: str = "reduced", *, out: Any = None) -> qr_result:
    """(Q, R) with A = Q R; mode "complete" has square Q, "r" leaves Q out (empty)."""
    matrix("qr", A)
    if mode not in ("reduced", "complete", "r"):
        raise RuntimeError(
            f"qr received unrecognized mode '{mode}' but expected one of 'reduced' (default), 'r', "
            "or 'complete'"
        )
    q, r = _QR.apply(A, "reduced" if mode == "r" else mode)
    return qr_result(A.new_zeros((0,)) if mode == "r" else q, r)


# -- eigenvalues ----------------------------------------------------------------------------------


def _gaps(values: Any) -> Any:
    """1 / (values[j] - values[i]), 0 on the diagonal."""
    gap = values[..., None, :] - values[..., :, None]
    eye = identity(gap)
    return (1 - eye) / (gap + eye)


class _Eigh(Function):
    @staticmethod
    def forward(ctx: Any, a: Any, uplo: str) -> Any:
        values, vectors = computed(
            "eigh", lambda x: tuple(np.linalg.eigh(x, uplo)), a,
            loop=lambda x: _loops.eigh(x, uplo),
        )  # fmt: skip
        ctx.save_for_backward(values, vectors)
        return values, vectors

    @staticmethod
    def backward(ctx: Any, grad_values: Any, grad_vectors: Any) -> Any:
        values, v = ctx.saved_tensors
        inner = matmul(mT(v), grad_vectors) * _gaps(values) + diag_embed(grad_values)
        return matmul(v, matmul(inner, mT(v))), None


@full_precision
def eigh(A: Any, UPLO: str = "L", *, out: Any = None) -> eigh_result:
    """(eigenvalues, eigenvectors) of symmetric matrices, reading the triangle `UPLO`."""
    square("eigh", A)
    if UPLO not in ("L", "U", "l", "u"):
        raise RuntimeError(f"Expected UPLO argument to be 'L' or 'U', but got {UPLO}")
    return eigh_result(*_Eigh.apply(A, UPLO.upper()))


@full_precision
def eigvalsh(A: Any, UPLO: str = "L", *, out: Any = None) -> Any:
    """The eigenvalues of symmetric matrices, in ascending order."""
    return eigh(A, UPLO).eigenvalues


# -- singular values ------------------------------------------------------------------------------


class _SVD(Function):
    @staticmethod
    def forward(ctx: Any, a: Any, full: bool) -> Any:
        u, s, vh = computed(
            "svd", lambda x: tuple(np.linalg.svd(x, full_matrices=full)), a,
            loop=lambda x: _loops.svd(x, full),
        )  # fmt: skip
        ctx.save_for_backward(u, s, vh)
        ctx.full = full and a.shape[-1] != a.shape[-2]
        return u, s, vh

    @staticmethod
    def backward(ctx: Any, gu: Any, gs: Any, gvh: Any) -> Any:
        if ctx.full:
            raise NotImplementedError(
                "The derivative of linalg.svd is there for full_matrices=False only"
            )
        u, s, vh = ctx.saved_tensors
        v, gv = mT(vh), mT(gvh)
        gaps = _gaps(s * s)
        row, column = s[..., None, :], s[..., :, None]
        left, right = matmul(mT(u), gu), matmul(mT(v), gv)
        inner = (gaps * (left - mT(left))) * row + column * (gaps * (right - mT(right)))
        inner = inner + diag_embed(gs)
        outside_u = (gu - matmul(u, left)) / row
        outside_v = mT((gv - matmul(v, right)) / row)
        total = matmul(matmul(u, inner) + outside_u, vh) + matmul(u, outside_v)
        return total, None


@full_precision
def svd(
    A: Any, full_matrices: bool = True, *, driver: str | None = None, out: Any = None
) -> svd_result:
    """(U, S, Vh) with A = U diag(S) Vh."""
    matrix("svd", A)
    return svd_result(*_SVD.apply(A, bool(full_matrices)))


class _SingularValues(Function):
    @staticmethod
    def forward(ctx: Any, a: Any) -> Any:
        u, s, vh = computed(
            "svdvals", lambda x: tuple(np.linalg.svd(x, full_matrices=False)), a,
            loop=lambda x: _loops.svd(x, False),
        )  # fmt: skip
        ctx.save_for_backward(a, u, vh)
        return s

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        a, u, vh = ctx.saved_tensors
        if state.grad_enabled:  # a recorded pass: the vectors depend on the matrix too
            u, _, vh = svd(a, full_matrices=False)
        return matmul(u * grad[..., None, :], vh)


@full_precision
def svdvals(A: Any, *, driver: str | None = None, out: Any = None) -> Any:
    """The singular values, in descending order."""
    return _SingularValues.apply(matrix("svdvals", A))


# -- what singular values tell --------------------------------------------------------------------


class _Pinv(Function):
    @staticmethod
    def forward(ctx: Any, a: Any, rtol: float) -> Any:
        result = computed(
            "pinv", lambda x: np.linalg.pinv(x, rtol), a, loop=lambda x: _loops.pinv(x, rtol)
        )
        ctx.save_for_backward(a, result)
        return result

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        a, p = ctx.saved_tensors
        pt, gt = mT(p), mT(grad)
        total = -matmul(pt, matmul(grad, pt))
        total = total + matmul(gt - matmul(a, matmul(p, gt)), matmul(p, pt))
        return total + matmul(matmul(pt, p), gt - matmul(matmul(gt, p), a)), None


def _tolerance(A: Any, rtol: Any) -> float:
    from ..functions.limits import finfo

    return max(A.shape[-2:]) * finfo(A.dtype).eps if rtol is None else float(rtol)


@full_precision
def pinv(
    A: Any, *, atol: Any = None, rtol: Any = None, hermitian: bool = False, rcond: Any = None,
    out: Any = None,
) -> Any:  # fmt: skip
    """The pseudo-inverse; singular values up to `rtol` times the largest count as 0."""
    matrix("pinv", A)
    if atol is not None:
        raise NotImplementedError("linalg.pinv: atol is not supported; give rtol")
    return _Pinv.apply(A, _tolerance(A, rcond if rtol is None else rtol))


@full_precision
def matrix_rank(
    A: Any, tol: Any = None, hermitian: bool = False, *, atol: Any = None, rtol: Any = None,
    out: Any = None,
) -> Any:  # fmt: skip
    """How many singular values are above max(atol, rtol times the largest)."""
    values = svdvals(A)
    floor = 0.0 if atol is None and tol is None else float(tol if atol is None else atol)
    share = 0.0 if rtol is None and floor else _tolerance(A, rtol)
    largest = values[..., :1] * share
    limit = where(largest > floor, largest, floor)
    return sum(values > limit, -1)


class lstsq_result(NamedTuple):
    """Solution, sums of squared residuals, rank, singular values (the last three may be empty)."""

    solution: Any
    residuals: Any
    rank: Any
    singular_values: Any


@full_precision
def lstsq(A: Any, B: Any, rcond: Any = None, *, driver: str | None = None) -> lstsq_result:
    """The X for which the norm of A X - B is least (and of these the shortest)."""
    matrix("lstsq", A)
    vector = len(A.shape) - 1 == len(B.shape)
    b = B[..., None] if vector else B
    x = matmul(pinv(A, rtol=rcond), b)
    rank = matrix_rank(A.detach(), rtol=rcond)
    tall = A.shape[-2] > A.shape[-1] and bool((rank == A.shape[-1]).all())
    away = matmul(A, x) - b
    residuals = sum(away * away, -2) if tall else A.new_zeros((0,))
    return lstsq_result(x[..., 0] if vector else x, residuals, rank, A.new_zeros((0,)))


__all__ = [
    "cholesky", "cholesky_ex", "cholesky_inverse", "cholesky_solve", "eigh", "eigvalsh", "lstsq",
    "matrix_rank", "pinv", "qr", "svd", "svdvals",
]  # fmt: skip
