"""The gradient of 3 x 3 kernels by Winograd's method: its transforms, as a backend may choose them.

F(4x4, 3x3) of winograd.py is linear in the kernels; transposed as such, it gives for each tile of
4 x 4 results with gradient g over data d of 6 x 6

    dW = kernel^T ((result^T g result) * (data d data^T)) kernel

so that all tiles meet in 36 matrix products whose depth is the tiles: a quarter of the
multiply-adds of the direct sum.
"""

from __future__ import annotations

import numpy as np

from ..op import Op, op, require
from ..types import TensorType
from .winograd import KERNEL, as_array, matrices

TILE = 4
POINTS = TILE + KERNEL - 1
WINDOWS = {"data": POINTS, "gradient": TILE}  # elements of a tile per axis


def points_matrix(side: str) -> tuple:
    """What both axes of a tile of `side` are multiplied by, as rows of fractions."""
    transform = matrices(TILE)
    return transform.data if side == "data" else tuple(zip(*transform.result, strict=True))


def tiles_of(shape, side: str) -> tuple[int, int]:
    """How many tiles x [N, H, W, C] has along H and W."""
    rest = WINDOWS[side] - TILE
    return tuple((n - rest) // TILE for n in shape[1:3])


@op
class winograd_points(Op):
    """Tiles of x [N, H, W, C] at the points: [36, N * tiles, C].

    `side` is "data" (tiles of 6 x 6 that overlap by 2) or "gradient" (4 x 4).
    """

    differentiable = False

    def type(x, *, side):
        ok = side in WINDOWS and len(x.shape) == 4 and x.dtype.kind == "f"
        require(ok, f"winograd_points: takes x [N, H, W, C], got {x} and side {side!r}")
        rest, tiles = WINDOWS[side] - TILE, tiles_of(x.shape, side)
        whole = min(tiles) > 0 and x.shape[1:3] == tuple(TILE * t + rest for t in tiles)
        require(whole, f"winograd_points: {x} is not made of whole tiles")
        return TensorType((POINTS**2, x.shape[0] * tiles[0] * tiles[1], x.shape[3]), x.dtype)

    def eval(x, *, side):
        matrix, size = as_array(points_matrix(side)), WINDOWS[side]
        view = np.lib.stride_tricks.sliding_window_view(x, (size, size), (1, 2))
        view = view[:, ::TILE, ::TILE].astype(np.float64)  # N, H, W, C, 6, 6
        out = np.einsum("ip,nhwcpq,jq->ijnhwc", matrix, view, matrix, optimize=True)
        return np.ascontiguousarray(out.reshape(POINTS**2, -1, x.shape[3])).astype(x.dtype)


@op
class winograd_kernels(Op):
    """Sums over tiles at the points, m [36, A, B], as gradients of kernels: [3, 3, A, B]."""

    differentiable = False

    def type(m):
        ok = len(m.shape) == 3 and m.shape[0] == POINTS**2 and m.dtype.kind == "f"
        require(ok, f"winograd_kernels: takes m [36, A, B], got {m}")
        return TensorType((KERNEL, KERNEL, *m.shape[1:]), m.dtype)

    def eval(m):
        kernel = as_array(matrices(TILE).kernel)
        grid = m.astype(np.float64).reshape(POINTS, POINTS, *m.shape[1:])
        return np.einsum("ir,ijab,js->rsab", kernel, grid, kernel, optimize=True).astype(m.dtype)
