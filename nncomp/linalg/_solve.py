"""Determinants, inverses and linear systems.

numpy computes them; the gradients are the standard formulas (Giles, "An extended collection of
matrix derivative results", 2008). While a graph is recorded, matrices of up to 3 rows go through
their cofactors, which are static formulas, and larger ones through the loops of _loops.py.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..autograd.function import Function
from ..autograd.modes import state
from ..functions.autocasting import as_given, full_precision
from ..functions.join import stack
from ..functions.linalg import matmul
from ..functions.promotion import broadcast_shapes, expand_to, reshaped
from ..functions.rearrange import tril, triu
from ..functions.selection import where
from ..functions.unary import abs, log, sign
from ..ir import ops
from . import _loops
from ._common import computed, identity, made, matrix, mT, square

_SMALL = 3  # rows of a matrix whose cofactors are written out


class slogdet_result(NamedTuple):
    """The sign of the determinant and the logarithm of its size."""

    sign: Any
    logabsdet: Any


class inv_ex_result(NamedTuple):
    """The inverse and, per matrix, 0 or a sign of failure."""

    inverse: Any
    info: Any


class solve_ex_result(NamedTuple):
    """The solution and, per matrix, 0 or a sign of failure."""

    result: Any
    info: Any


# -- small matrices as formulas -------------------------------------------------------------------


def _entry(a: Any, i: int, j: int) -> Any:
    return a[..., i, j]


def _minor(a: Any, i: int, j: int) -> Any:
    """The determinant of a 3 x 3 matrix without row i and column j."""
    (r, s), (c, d) = ([k for k in range(3) if k != x] for x in (i, j))
    return _entry(a, r, c) * _entry(a, s, d) - _entry(a, r, d) * _entry(a, s, c)


def _cofactors(a: Any) -> list[list[Any]]:
    n = a.shape[-1]
    if n == 1:
        return [[_entry(a, 0, 0) * 0 + 1]]
    if n == 2:
        return [[_entry(a, 1, 1), -_entry(a, 1, 0)], [-_entry(a, 0, 1), _entry(a, 0, 0)]]
    return [[_minor(a, i, j) * (-1) ** (i + j) for j in range(3)] for i in range(3)]


def _small_det(a: Any, cofactors: list[list[Any]]) -> Any:
    total = _entry(a, 0, 0) * cofactors[0][0]
    for j in range(1, a.shape[-1]):
        total = total + _entry(a, 0, j) * cofactors[0][j]
    return total


def _small_inverse(a: Any) -> Any:
    cofactors = _cofactors(a)
    n = a.shape[-1]
    rows = [stack([cofactors[j][i] for j in range(n)], -1) for i in range(n)]
    return stack(rows, -2) / _small_det(a, cofactors)[..., None, None]


def _as_formula(a: Any) -> bool:
    return a.is_traced and 0 < a.shape[-1] <= _SMALL


# -- functions ------------------------------------------------------------------------------------


class _Det(Function):
    @staticmethod
    def forward(ctx: Any, a: Any) -> Any:
        result = computed("det", np.linalg.det, a, loop=_loops.det)
        ctx.save_for_backward(a, result)
        return result

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        a, result = ctx.saved_tensors
        if state.grad_enabled:
            return (grad * result)[..., None, None] * mT(inv(a))
        return grad[..., None, None] * computed(
            "det", _cofactor_matrix, a, loop=_loops.cofactors
        )


def _cofactor_matrix(a: np.ndarray) -> np.ndarray:
    """det(A) A^-T from singular values, so that it exists for singular matrices too."""
    u, s, vh = np.linalg.svd(a)
    n = s.shape[-1]
    others = np.stack([np.prod(np.delete(s, i, -1), -1) for i in range(n)], -1)
    turned = np.linalg.det(u) * np.linalg.det(vh)
    return turned[..., None, None] * ((u * others[..., None, :]) @ vh)


@as_given
def det(A: Any, *, out: Any = None) -> Any:
    """The determinant of each matrix."""
    square("det", A)
    if _as_formula(A):
        return _small_det(A, _cofactors(A))
    return _Det.apply(A)


class _Slogdet(Function):
    @staticmethod
    def forward(ctx: Any, a: Any) -> Any:
        ctx.save_for_backward(a)
        signs, logs = computed(
            "slogdet", lambda x: tuple(np.linalg.slogdet(x)), a, loop=_loops.slogdet
        )
        ctx.mark_non_differentiable(signs)
        return signs, logs

    @staticmethod
    def backward(ctx: Any, _: Any, grad: Any) -> Any:
        (a,) = ctx.saved_tensors
        return grad[..., None, None] * mT(inv(a))


@as_given
def slogdet(A: Any, *, out: Any = None) -> slogdet_result:
    """(sign, log of the size) of the determinant of each matrix; (0, -inf) for singular ones."""
    square("slogdet", A)
    if _as_formula(A):
        value = _small_det(A, _cofactors(A))
        return slogdet_result(sign(value), log(abs(value)))
    return slogdet_result(*_Slogdet.apply(A))


def logdet(A: Any) -> Any:
    """log(det(A)); nan for negative determinants, -inf for 0."""
    signs, logs = slogdet(A)
    return where(signs < 0, float("nan"), logs)


class _Inverse(Function):
    @staticmethod
    def forward(ctx: Any, a: Any) -> Any:
        result = computed("inv", np.linalg.inv, a, loop=_loops.inv)
        ctx.save_for_backward(result)
        return result

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        turned = mT(ctx.saved_tensors[0])
        return -matmul(turned, matmul(grad, turned))


@full_precision
def inv(A: Any, *, out: Any = None) -> Any:
    """The inverse of each matrix; LinAlgError for a singular one."""
    square("inv", A)
    return _small_inverse(A) if _as_formula(A) else _Inverse.apply(A)


def _info(A: Any) -> Any:
    return made(np.zeros(tuple(A.shape[:-2]), np.int32), np.dtype(np.float32))


@full_precision
def inv_ex(A: Any, *, check_errors: bool = False, out: Any = None) -> inv_ex_result:
    """(inverse, info); singular matrices raise LinAlgError, so that info is always 0."""
    return inv_ex_result(inv(A), _info(A))


class _Solve(Function):
    @staticmethod
    def forward(ctx: Any, a: Any, b: Any) -> Any:
        result = computed("solve", np.linalg.solve, a, b, loop=_loops.solve)
        ctx.save_for_backward(a, result)
        return result

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        a, x = ctx.saved_tensors
        right = _Solve.apply(mT(a), grad)
        return -matmul(right, mT(x)), right


@full_precision
def solve(A: Any, B: Any, *, left: bool = True, out: Any = None) -> Any:
    """X with A X = B (X A = B if not `left`); B may be a (batch of) vector(s).

    LinAlgError if A is singular.
    """
    square("solve", A)
    matrix("solve", B, 1)
    if A.dtype is not B.dtype:
        raise RuntimeError(
            f"linalg.solve: Expected A and B to have the same dtype, but found A of type {A.dtype} "
            f"and B of type {B.dtype} instead"
        )
    vector = len(B.shape) == 1 or (
        len(A.shape) - 1 == len(B.shape) and tuple(B.shape) == tuple(A.shape[:-1])
    )
    if vector and not left:
        raise RuntimeError("linalg.solve: Vector broadcasting of the left hand side is not "
                           "supported for left=False")  # fmt: skip
    b = reshaped(B, (*B.shape, 1)) if vector else B
    if not left:
        return mT(solve(mT(A), mT(b)))
    if A.shape[-1] != b.shape[-2]:
        raise RuntimeError(
            f"linalg.solve: Incompatible shapes of A and B for the equation AX = B ({A.shape[-2]}x"
            f"{A.shape[-1]} and {b.shape[-2]}x{b.shape[-1]})"
        )
    lead = broadcast_shapes(tuple(A.shape[:-2]), tuple(b.shape[:-2]))
    a, b = (expand_to(x, (*lead, *x.shape[-2:])) for x in (A, b))
    x = matmul(_small_inverse(a), b) if _as_formula(a) or _as_formula(b) and _is_small(a) else (
        _Solve.apply(a, b)
    )
    return reshaped(x, tuple(x.shape[:-1])) if vector else x


def _is_small(a: Any) -> bool:
    return 0 < a.shape[-1] <= _SMALL


def solve_ex(
    A: Any, B: Any, *, left: bool = True, check_errors: bool = False, out: Any = None
) -> solve_ex_result:
    """(solution, info); a singular matrix raises LinAlgError, so that info is always 0."""
    return solve_ex_result(solve(A, B, left=left), _info(A))


@as_given
def solve_triangular(
    A: Any, B: Any, *, upper: bool, left: bool = True, unitriangular: bool = False,
    out: Any = None,
) -> Any:  # fmt: skip
    """X with A X = B (X A = B if not `left`), reading only one triangle of A.

    With `unitriangular` the diagonal counts as ones.
    """
    square("solve_triangular", A)
    inner = (1 if upper else -1) if unitriangular else 0
    part = triu(A, inner) if upper else tril(A, inner)
    if unitriangular:
        part = part + identity(A)
    if not left:
        return mT(_solved(mT(part), mT(B)))
    return _solved(part, B)


def _solved(a: Any, b: Any) -> Any:
    lead = broadcast_shapes(tuple(a.shape[:-2]), tuple(b.shape[:-2]))
    return _Solve.apply(*(expand_to(x, (*lead, *x.shape[-2:])) for x in (a, b)))


@full_precision
def tensorinv(A: Any, ind: int = 2, *, out: Any = None) -> Any:
    """The inverse of A as a map from its last dims to its first `ind` ones."""
    front, back = tuple(A.shape[:ind]), tuple(A.shape[ind:])
    if ind <= 0:
        raise RuntimeError("Expected a strictly positive integer for 'ind'")
    rows = int(np.prod(front, dtype=int))
    if rows != int(np.prod(back, dtype=int)):
        raise RuntimeError(
            "Expected self to satisfy the requirement prod(self.shape[ind:]) == "
            f"prod(self.shape[:ind]), but got {list(back)} and {list(front)}"
        )
    return ops.reshape(inv(reshaped(A, (rows, rows))), shape=(*back, *front))


@full_precision
def tensorsolve(A: Any, B: Any, dims: Any = None, *, out: Any = None) -> Any:
    """X with tensordot(A, X, X.ndim) = B; the dims `dims` of A are moved to its end first."""
    if dims is not None:
        rest = [i for i in range(len(A.shape)) if i not in [d % len(A.shape) for d in dims]]
        A = ops.permute(A, dims=(*rest, *(d % len(A.shape) for d in dims)))
    shape = tuple(A.shape[len(B.shape) :])
    flat = reshaped(A, (B.numel(), int(np.prod(shape, dtype=int))))
    return reshaped(solve(flat, reshaped(B, (B.numel(),))), shape)
