"""Convolution with a long kernel along one axis by Winograd's method, as a backend may choose it.

With p = 3 a + b and t = 9 r + 3 i + j, the sum y[p] = sum over t of w[t] x[p + t] is

    Y[a, b] = sum over r, i, j of W[r][i, j] X[r][a + i, b + j],  X[r][a, c] = x[9 r + 3 a + c]

That is a convolution of an image whose rows overlap, and whose results are three wide, under 3 x 3
kernels: nine taps each, the parts r being further input channels. Nesting short algorithms in this
way: Agarwal and Cooley, "New algorithms for digital convolution", 1977, section III. Of the six
points across, the one at infinity serves a fourth result only and is left out: 30 products give 12
results of nine taps.

Three taps alone take one column: with `columns` 1 for 3 above, p = a and t = 3 r + i, so that 6
products give 4 results.
"""

from __future__ import annotations

import numpy as np

from ..op import Op, op, require
from ..types import TensorType
from .winograd import KERNEL, as_array, matrices, points_of
from .winograd_gradient import POINTS, TILE, WINDOWS, points_matrix

COLUMNS = (1, KERNEL)


def width_of(columns: int) -> int:
    """Columns of the image, for so many of the results."""
    return 2 * columns - 1


def points_across(columns: int) -> int:
    """Points along the short axis of a tile."""
    return POINTS - 1 if columns > 1 else 1


def part_of(columns: int) -> int:
    """Taps of a part."""
    return KERNEL * columns


def windows_of(length: int, dilation: int, columns: int, parts: int, size) -> np.ndarray:
    """Elements of the tiles' windows of `size`, counted from the first one: [tiles, phases, rows,
    columns, parts]."""
    tiles = columns * TILE * np.arange(tiles_of_line(length, dilation, columns))
    inside = columns * np.arange(size[0])[:, None] + np.arange(size[1])
    at = dilation * (tiles[:, None, None, None] + inside) + np.arange(dilation)[:, None, None]
    return at[..., None] + dilation * part_of(columns) * np.arange(parts)


def read(x: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Elements `at` of the line x [N, L, C], in float64; zeros where there are none."""
    inside = (at >= 0) & (at < x.shape[1])
    found = np.where(inside[..., None], x[:, np.where(inside, at, 0)], 0)
    return found.astype(np.float64)


@op
class winograd_line(Op):
    """x [N, L, C] under kernels at the points, u [36 or 6, .., parts * C, ..] -> [N, length, n].

    Taps are `dilation` elements apart; `low` zeros stand in front of x, and as many behind it as
    are needed. `u`, `blocking` and `workspace` are those of `winograd`.
    """

    differentiable = False

    def type(x, u, *, low, dilation, columns, length, n, blocking, workspace):
        fits = len(x.shape) == 3 and len(u.shape) == 4 and x.dtype is u.dtype
        fits = fits and u.shape[0] == (points_of(TILE) if columns > 1 else POINTS)
        fits = fits and columns in COLUMNS and min(low, length) >= 0 < dilation
        fits = fits and x.shape[2] > 0 and u.shape[2] % x.shape[2] == 0
        fits = fits and u.shape[1] == -(-n // u.shape[3])
        require(fits, f"winograd_line: {x} and {u} do not fit with low={low} and n={n}")
        return TensorType((x.shape[0], length, n), x.dtype)

    def eval(x, u, *, low, dilation, columns, length, n, blocking, workspace):
        down, across = line_matrices("data", columns)
        size = POINTS, width_of(columns)
        at = windows_of(length, dilation, columns, u.shape[2] // x.shape[2], size) - low
        v = np.einsum("ip,ntfpqrc,jq->ijntfrc", down, read(x, at), across, optimize=True)
        v = v.reshape(*v.shape[:5], -1)
        w = u.astype(np.float64).transpose(0, 2, 1, 3).reshape(POINTS, -1, u.shape[2], n_of(u))
        m = np.einsum("ijntfc,ijco->ijntfo", v, w[:, : v.shape[1], :, :n], optimize=True)
        rows, line = (x.T for x in line_matrices("gradient", columns))
        y = np.einsum("ai,ijntfo,bj->ntabfo", rows, m, line, optimize=True)
        return np.ascontiguousarray(y.reshape(x.shape[0], -1, n)[:, :length].astype(x.dtype))


def n_of(u: np.ndarray) -> int:
    """Columns of all panels."""
    return u.shape[1] * u.shape[3]


def rows_of(length: int, dilation: int, columns: int) -> int:
    """Rows of results for each of `dilation` phases."""
    return -(-length // (columns * dilation))


# -- the gradient of the kernel --------------------------------------------------------------------


def tiles_of_line(length: int, dilation: int, columns: int) -> int:
    """Tiles of four rows of results along each phase."""
    return -(-rows_of(length, dilation, columns) // TILE)


def line_matrices(side: str, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """What rows and columns of a tile of `side` are multiplied by, for 6 x 5 or 6 x 1 points."""
    matrix = as_array(points_matrix(side))
    if columns == 1:
        return matrix, np.ones((1, 1))
    return matrix, matrix[:-1, : width_of(columns) if side == "data" else columns]


@op
class line_points(Op):
    """Tiles of x [N, L, C] at the points: [30 or 6, N * tiles, parts * C].

    For side "data" x is what `winograd_line` reads (6 rows of 5 or 1 for each part), for "gradient"
    its result's gradient (4 rows of 3 or 1), of so many elements as `length` says.
    """

    differentiable = False

    def type(x, *, side, low, dilation, columns, length, parts):
        ok = side in WINDOWS and len(x.shape) == 3 and x.dtype.kind == "f"
        ok = ok and min(low, length) >= 0 < min(dilation, parts) and columns in COLUMNS
        require(ok, f"line_points: takes x [N, L, C], got {x}, side {side!r} and {parts} parts")
        tiles = x.shape[0] * tiles_of_line(length, dilation, columns) * dilation
        points = POINTS * points_across(columns)
        return TensorType((points, tiles, parts * x.shape[2]), x.dtype)

    def eval(x, *, side, low, dilation, columns, length, parts):
        down, across = line_matrices(side, columns)
        size = down.shape[1], across.shape[1]
        at = windows_of(length, dilation, columns, parts, size) - low
        out = np.einsum("ip,ntfpqrc,jq->ijntfrc", down, read(x, at), across, optimize=True)
        out = out.reshape(len(down) * len(across), -1, parts * x.shape[2])
        return np.ascontiguousarray(out).astype(x.dtype)


@op
class line_kernels(Op):
    """Sums over tiles at the points, m [30, A, B] or [6, A, B], as gradients of kernels:
    [3, 3, A, B] or [3, 1, A, B]."""

    differentiable = False

    def type(m):
        ok = len(m.shape) == 3 and m.dtype.kind == "f"
        found = [c for c in COLUMNS if ok and m.shape[0] == POINTS * points_across(c)]
        require(found, f"line_kernels: takes m [30, A, B] or [6, A, B], got {m}")
        return TensorType((KERNEL, *found, *m.shape[1:]), m.dtype)

    def eval(m):
        kernel = as_array(matrices(TILE).kernel)
        grid = m.astype(np.float64).reshape(POINTS, -1, *m.shape[1:])
        across = kernel[:-1] if grid.shape[1] > 1 else np.ones((1, 1))
        return np.einsum("ir,ijab,js->rsab", kernel, grid, across, optimize=True).astype(m.dtype)
