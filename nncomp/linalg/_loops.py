"""Factorizations as loops of a graph, for matrices in compiled code; eager mode calls numpy.

Each is one `scan` over rows, columns or rounds, so that the graph does not grow with the matrix.
Operands are (..., m, n), batches included. A matrix without a result (singular, not positive
definite) gives inf or nan: a graph has no way to raise. Sources: Golub and Van Loan, "Matrix
Computations", 4th edition: 3.4 (pivoting), 4.2 (Cholesky), 5.2 (Householder), 8.5 (Jacobi), 8.6.3
(one-sided Jacobi); the order of rotations is that of Brent and Luk, 1985.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..functions.creation import arange
from ..functions.join import cat, stack
from ..functions.linalg import matmul
from ..functions.promotion import expand_to
from ..functions.rearrange import tril, triu
from ..functions.selection import where
from ..functions.unary import abs, log, sqrt
from ..trace_loop import loop
from ._common import identity, mT

SWEEPS = {4: 10, 8: 14}  # of Jacobi's method, by bytes of a number; 6 to 8 are usual


def _at(places: Any, x: Any, dim: int) -> Any:
    """The element of x along `dim` where `places` is True, with length 1."""
    return where(places, x, 0.0).sum(dim, keepdim=True)


# -- elimination ----------------------------------------------------------------------------------


def _eliminate(a: Any, b: Any, safe: bool = False) -> tuple[Any, Any]:
    """Gauss-Jordan elimination of [a | b] with row pivoting: (a^-1 b, pivots (n, ..., 1, 1)).

    The product of the pivots is the determinant: each exchange of rows changes a sign. With `safe`,
    a pivot of 0 does not spoil those after it.
    """
    n = a.shape[-1]
    rows, columns = arange(n)[:, None], arange(n + b.shape[-1])

    def eliminate(m: Any, k: Any) -> tuple[Any, Any]:
        column = _at(columns == k, m, -1)
        size = where(rows < k, -1.0, abs(column))
        best = rows == size.argmax(-2, keepdim=True)
        row, old = _at(best, m, -2), _at(rows == k, m, -2)
        pivot, top = _at(best, column, -2), _at(rows == k, column, -2)
        row = row / (where(pivot == 0, 1.0, pivot) if safe else pivot)
        rest = where(best, old - top * row, m - column * row)
        stays = (best & (rows == k)).any(-2, keepdim=True)
        return where(rows == k, row, rest), where(stays, pivot, -pivot)

    (last,), (pivots,) = loop(eliminate, [cat([a, b], -1)], [arange(n)])
    return last[..., n:], pivots


def solve(a: Any, b: Any) -> Any:
    """X with a X = b."""
    return _eliminate(a, b)[0]


def inv(a: Any) -> Any:
    """The inverse."""
    return solve(a, expand_to(identity(a), tuple(a.shape)))


def det(a: Any) -> Any:
    """The determinant."""
    return _eliminate(a, a[..., :0], safe=True)[1].prod(0)[..., 0, 0]


def slogdet(a: Any) -> tuple[Any, Any]:
    """The sign of the determinant and the logarithm of its size."""
    pivots = _eliminate(a, a[..., :0], safe=True)[1][..., 0, 0]
    return pivots.sign().prod(0), log(abs(pivots)).sum(0)


def cofactors(a: Any) -> Any:
    """det(a) a^-T, from singular values: it exists for singular matrices, too."""
    u, s, vh = svd(a, False)
    n = s.shape[-1]
    others = where(arange(n)[:, None] == arange(n), 1.0, s[..., None, :]).prod(-1)
    return matmul(u * (others * (det(u) * det(vh))[..., None])[..., None, :], vh)


def cholesky(a: Any) -> Any:
    """The lower factor; only the lower triangle is read."""
    rows = arange(a.shape[-1])[:, None]

    def eliminate(m: Any, k: Any) -> tuple[Any, Any]:
        column = where(rows < k, 0.0, _at(mT(rows) == k, m, -1))
        column = column / sqrt(_at(rows == k, column, -2))
        return m - column * mT(column), column

    _, (columns,) = loop(eliminate, [a], [arange(a.shape[-1])])
    return columns[..., 0].moveaxis(0, -1)


# -- QR -------------------------------------------------------------------------------------------


def _reflect(x: Any, v: Any, tau: Any) -> Any:
    return x - tau * v * matmul(mT(v), x)


def qr(a: Any, mode: str) -> tuple[Any, Any]:
    """(Q, R) by Householder's reflections, with the signs of LAPACK; `mode` as numpy has it."""
    m, n = a.shape[-2:]
    rows, columns, steps = arange(m)[:, None], arange(n), min(m, n)

    def reflect(x: Any, k: Any) -> tuple[Any, Any, Any]:
        column = _at(columns == k, x, -1)
        head, below = _at(rows == k, column, -2), where(rows > k, column, 0.0)
        rest = (below * below).sum(-2, keepdim=True)
        size = sqrt(head * head + rest)
        beta = where(head < 0, size, -size)
        done = rest == 0
        tau = where(done, 0.0, (beta - head) / where(done, 1.0, beta))
        v = where(rows == k, 1.0, below / where(done, 1.0, head - beta))
        return _reflect(x, v, tau), v, tau

    (r,), reflections = loop(reflect, [a], [arange(steps)])
    width = m if mode == "complete" else steps
    start = expand_to(identity(a, m)[:, :width], (*a.shape[:-2], m, width))
    (q,), _ = loop(lambda x, v, tau: (_reflect(x, v, tau),), [start], reflections, reverse=True)
    return q, triu(r[..., :width, :])


# -- Jacobi's rotations ---------------------------------------------------------------------------


def _pairs(x: Any) -> Any:
    """Neighbours along the last dim."""
    return x.reshape([*x.shape[:-1], x.shape[-1] // 2, 2])


def _turned(x: Any) -> Any:
    """The last dim in the order of the next round; after n - 1 rounds all have met all."""
    pairs = _pairs(x)
    top, bottom = pairs[..., 0], pairs[..., 1]
    if top.shape[-1] == 1:
        return x
    top, bottom = (
        cat([top[..., :1], bottom[..., :1], top[..., 1:-1]], -1),
        cat([bottom[..., 1:], top[..., -1:]], -1),
    )
    return stack([top, bottom], -1).reshape(list(x.shape))


def _rotated(x: Any, c: Any, s: Any) -> Any:
    """Each pair (p, q) of the last dim as (c p - s q, s p + c q)."""
    p, q = _pairs(x)[..., 0], _pairs(x)[..., 1]
    return stack([c * p - s * q, s * p + c * q], -1).reshape(list(x.shape))


def _angles(first: Any, second: Any, both: Any) -> tuple[Any, Any]:
    """Cosine and sine of the rotation that makes [[first, both], [both, second]] diagonal."""
    none = both == 0
    tau = (second - first) / where(none, 1.0, both * 2)
    t = where(tau < 0, -1.0, 1.0) / (abs(tau) + sqrt(tau * tau + 1))
    t = where(none, 0.0, t)
    c = 1 / sqrt(t * t + 1)
    return c, t * c


def _even(x: Any, dims: int) -> Any:
    """x with zeros behind its last dims, so that their length is even."""
    from ..nn.functional import pad

    return pad(x, [0, 1] * dims) if x.shape[-1] % 2 else x


def _rounds(step: Callable, start: list[Any], n: int) -> list[Any]:
    sweeps = SWEEPS[start[0].dtype.itemsize]
    return loop(step, start, length=sweeps * max(n - 1, 1))[0]


def _ordered(values: Any, *vectors: Any, descending: bool) -> list[Any]:
    """Values in order, and the columns that belong to them."""
    order = values.argsort(-1, descending=descending)
    columns = [
        x.gather(-1, expand_to(order[..., None, :], (*x.shape[:-1], order.shape[-1])))
        for x in vectors
    ]
    return [values.gather(-1, order), *columns]


def eigh(a: Any, uplo: str) -> tuple[Any, Any]:
    """Eigenvalues in ascending order and eigenvectors; numpy's may have other signs."""
    n = a.shape[-1]
    a = tril(a) + mT(tril(a, -1)) if uplo == "L" else triu(a) + mT(triu(a, 1))
    a = _even(a, 2)

    def rotate(m: Any, v: Any) -> tuple[Any, Any]:
        ends = _pairs(m.diagonal(0, -2, -1))
        c, s = _angles(ends[..., 0], ends[..., 1], m.diagonal(1, -2, -1)[..., ::2])
        c, s = c[..., None, :], s[..., None, :]
        m = _turned(_rotated(m, c, s))
        m = mT(_turned(_rotated(mT(m), c, s)))
        return m, _turned(_rotated(v, c, s))

    start = expand_to(identity(a), tuple(a.shape))
    m, v = _rounds(rotate, [a, start], a.shape[-1])
    values, vectors = m.diagonal(0, -2, -1)[..., :n], v[..., :n, :n]
    return tuple(_ordered(values, vectors, descending=False))


def svd(a: Any, full: bool) -> tuple[Any, Any, Any]:
    """(U, S, Vh), S in descending order; numpy's vectors may have other signs."""
    if a.shape[-2] < a.shape[-1]:
        u, s, vh = svd(mT(a), full)
        return mT(vh), s, mT(u)
    n = a.shape[-1]
    w = _even(a, 1)

    def rotate(w: Any, v: Any) -> tuple[Any, Any]:
        pairs = _pairs(w)
        p, q = pairs[..., 0], pairs[..., 1]
        c, s = _angles((p * p).sum(-2), (q * q).sum(-2), (p * q).sum(-2))
        c, s = c[..., None, :], s[..., None, :]
        return _turned(_rotated(w, c, s)), _turned(_rotated(v, c, s))

    start = identity(w, w.shape[-1])
    start = expand_to(start, (*w.shape[:-2], *start.shape))
    w, v = _rounds(rotate, [w, start], w.shape[-1])
    w, v = w[..., :n], v[..., :n, :n]
    s, w, v = _ordered(sqrt((w * w).sum(-2)), w, v, descending=True)
    # The columns of w are orthogonal, so that QR finds them again, and more where s is 0.
    u, r = qr(w, "complete" if full else "reduced")
    signs = where(r.diagonal(0, -2, -1) < 0, -1.0, 1.0)[..., None, :]
    return cat([u[..., :n] * signs, u[..., n:]], -1), s, mT(v)


def pinv(a: Any, rtol: float) -> Any:
    """The pseudo-inverse; singular values up to `rtol` times the largest count as 0."""
    u, s, vh = svd(a, False)
    small = s <= s[..., :1] * rtol
    weight = where(small, 0.0, 1 / where(small, 1.0, s))
    return matmul(mT(vh) * weight[..., None, :], mT(u))


# -- the exponential ------------------------------------------------------------------------------

SQUARINGS = {4: 30, 8: 60}  # for norms up to 2^29 and 2^59; exp() of such overflows anyway


def matrix_exp(a: Any) -> Any:
    """Taylor's series of a / 2^s, squared s times; 2^s makes the largest 1-norm at most 1/2."""
    wide = a.double()
    size = abs(wide).sum(-2).amax(-1)[..., None, None]
    needed = where(size > 0.5, (size * 2).log2().ceil(), 0.0)
    wide = wide / needed.exp2()
    eye = expand_to(identity(wide), tuple(a.shape))

    def add(result: Any, term: Any, k: Any) -> tuple[Any, Any]:
        term = matmul(term, wide) / k
        return result + term, term

    def square(x: Any, k: Any) -> tuple[Any]:
        return (where(k < needed, matmul(x, x), x),)

    (result, _), _ = loop(add, [eye, eye], [arange(1, 19).double()])
    (result,), _ = loop(square, [result], [arange(SQUARINGS[a.dtype.itemsize]).double()])
    return result.to(a.dtype)
