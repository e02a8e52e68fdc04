"""Convolution with a long kernel along one axis by Winograd's method, as a backend may choose it.

With p = 3 a + b and t = 9 r + 3 i + j, the sum y[p] = sum over t of w[t] x[p + t] is

    Y[a, b] = sum over r, i, j of W[r][i, j] X[r][a + i, b + j],  X[r][a, c] = x[9 r + 3 a + c]

That is a convolution of an image whose rows overlap, and whose results are three wide, under 3 x 3
kernels: nine taps each, the parts r being further input channels. Nesting short algorithms in this
way: Agarwal and Cooley, "New algorithms for digital convolution", 1977, section III. Of the six
points across, the one at infinity serves a fourth result only and is left out: 30 products give 12
results of nine taps.
"""

from __future__ import annotations

import numpy as np

from ..op import OPS, Op, op, require
from ..types import TensorType
from .winograd import KERNEL, as_array, matrices, points_of
from .winograd_gradient import POINTS, TILE, WINDOWS, points_matrix

PART = KERNEL * KERNEL  # taps of a part
WIDTH = 2 * KERNEL - 1  # columns of the image
LINE_POINTS = POINTS * (POINTS - 1)  # of a tile of 4 x 3 results


def image_of(x: np.ndarray, first: int, step: int, rows: int, parts: int) -> np.ndarray:
    """Every `step`-th element of x [N, L, C] from `first` on, with zeros around, as the overlapping
    image [N, rows, 5, parts * C]."""
    at = KERNEL * np.arange(rows)[:, None] + np.arange(WIDTH)
    at = first + step * (at[..., None] + PART * np.arange(parts))
    inside = (at >= 0) & (at < x.shape[1])
    image = np.where(inside[..., None], x[:, np.where(inside, at, 0)], 0)
    return image.reshape(x.shape[0], rows, WIDTH, -1)


@op
class winograd_line(Op):
    """x [N, L, C] under a long kernel at the points, u [36, .., parts * C, ..] -> [N, length, n].

    Taps are `dilation` elements apart; `low` zeros stand in front of x, and as many behind it as
    are needed. `u`, `blocking` and `workspace` are those of `winograd`.
    """

    differentiable = False

    def type(x, u, *, low, dilation, length, n, blocking, workspace):
        fits = len(x.shape) == 3 and len(u.shape) == 4 and x.dtype is u.dtype
        fits = fits and u.shape[0] == points_of(TILE) and min(low, length) >= 0 < dilation
        fits = fits and x.shape[2] > 0 and u.shape[2] % x.shape[2] == 0
        fits = fits and u.shape[1] == -(-n // u.shape[3])
        require(fits, f"winograd_line: {x} and {u} do not fit with low={low} and n={n}")
        return TensorType((x.shape[0], length, n), x.dtype)

    def eval(x, u, *, low, dilation, length, n, blocking, workspace):
        rows, parts = rows_of(length, dilation), u.shape[2] // x.shape[2]
        plain = dict(tile=TILE, padding=((0, 0), (0, 0)), n=n, blocking=blocking)
        phases = [image_of(x, f - low, dilation, rows + 2, parts) for f in range(dilation)]
        found = [OPS["winograd"].eval(p, u, **plain, workspace=workspace) for p in phases]
        lines = np.stack([y.reshape(x.shape[0], -1, n) for y in found], 2)
        return np.ascontiguousarray(lines.reshape(x.shape[0], -1, n)[:, :length])


def rows_of(length: int, dilation: int) -> int:
    """Rows of three results for each of `dilation` phases."""
    return -(-length // (KERNEL * dilation))


# -- the gradient of the kernel --------------------------------------------------------------------


def tiles_of_line(length: int, dilation: int) -> int:
    """Tiles of 4 x 3 results along each phase."""
    return -(-rows_of(length, dilation) // TILE)


def line_matrices(side: str) -> tuple[np.ndarray, np.ndarray]:
    """What rows and columns of a tile of `side` are multiplied by, for 6 x 5 points."""
    matrix = as_array(points_matrix(side))
    if side == "data":
        return matrix, matrix[:-1, :-1]
    return matrix, matrix[:-1, :KERNEL]


@op
class line_points(Op):
    """Tiles of x [N, L, C] at the points: [30, N * tiles, parts * C].

    For side "data" x is what `winograd_line` reads (6 rows of 5 for each part of nine taps), for
    "gradient" its result's gradient (4 rows of 3), of so many elements as `length` says.
    """

    differentiable = False

    def type(x, *, side, low, dilation, length, parts):
        ok = side in WINDOWS and len(x.shape) == 3 and x.dtype.kind == "f"
        ok = ok and min(low, length) >= 0 < min(dilation, parts)
        require(ok, f"line_points: takes x [N, L, C], got {x}, side {side!r} and {parts} parts")
        tiles = x.shape[0] * tiles_of_line(length, dilation) * dilation
        return TensorType((LINE_POINTS, tiles, parts * x.shape[2]), x.dtype)

    def eval(x, *, side, low, dilation, length, parts):
        down, across = line_matrices(side)
        tiles, window = tiles_of_line(length, dilation), (down.shape[1], across.shape[1])
        rows = KERNEL * TILE * np.arange(tiles)[:, None, None, None]
        inside = KERNEL * np.arange(window[0])[:, None] + np.arange(window[1])
        at = dilation * (rows + inside) + np.arange(dilation)[:, None, None] - low
        at = at[..., None] + dilation * PART * np.arange(parts)  # tile, phase, row, column, part
        exists = (at >= 0) & (at < x.shape[1])
        view = np.where(exists[..., None], x[:, np.where(exists, at, 0)], 0).astype(np.float64)
        out = np.einsum("ip,ntfpqrc,jq->ijntfrc", down, view, across, optimize=True)
        shape = LINE_POINTS, x.shape[0] * tiles * dilation, parts * x.shape[2]
        return np.ascontiguousarray(out.reshape(shape)).astype(x.dtype)


@op
class line_kernels(Op):
    """Sums over tiles at the points, m [30, A, B], as gradients of kernels: [3, 3, A, B]."""

    differentiable = False

    def type(m):
        ok = len(m.shape) == 3 and m.shape[0] == LINE_POINTS and m.dtype.kind == "f"
        require(ok, f"line_kernels: takes m [30, A, B], got {m}")
        return TensorType((KERNEL, KERNEL, *m.shape[1:]), m.dtype)

    def eval(m):
        kernel = as_array(matrices(TILE).kernel)
        grid = m.astype(np.float64).reshape(POINTS, POINTS - 1, *m.shape[1:])
        out = np.einsum("ir,ijab,js->rsab", kernel, grid, kernel[:-1], optimize=True)
        return out.astype(m.dtype)
