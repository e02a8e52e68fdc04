"""Convolution with a long kernel along one axis by Winograd's method, as a backend may choose it.

With p = 3 a + b and t = 9 r + 3 i + j, the sum y[p] = sum over t of w[t] x[p + t] is

    Y[a, b] = sum over r, i, j of W[r][i, j] X[r][a + i, b + j]    with X[r][a, c] = x[9 r + 3 a + c]

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
from .winograd import KERNEL, PAIRS, points_of

PART = KERNEL * KERNEL  # taps of a part
WIDTH = 2 * KERNEL - 1  # columns of the image
TILE = 4  # rows of results of a tile


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
        fits = fits and TILE in PAIRS and u.shape[0] == points_of(TILE) and min(low, length) >= 0 < dilation
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
