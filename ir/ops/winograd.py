"""Convolution with 3 x 3 kernels by Winograd's minimal filtering, as a backend may choose it.

Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2016, section 4: a tile of
m x m results needs (m + 2)^2 products instead of 9 m^2, because all of it can be done at m + 2
points of two polynomials. Points are 0, pairs +-p, and infinity. With the pairs 5/8 and 3/2 the
rounding errors of F(4x4, 3x3) are less than half of those with 1 and 2 (measured), and all numbers
in the transforms of data and results are exact in binary.
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from typing import NamedTuple

import numpy as np

from ..op import Op, op, require
from ..types import TensorType

KERNEL = 3
PAIRS = {2: (Fraction(1),), 4: (Fraction(5, 8), Fraction(3, 2))}  # by m; 0 and infinity besides


class Matrices(NamedTuple):
    """y = result @ ((kernel @ g) * (data @ d)), for one axis; as rows of fractions."""

    result: tuple[tuple[Fraction, ...], ...]  # m x (m + 2)
    kernel: tuple[tuple[Fraction, ...], ...]  # (m + 2) x 3
    data: tuple[tuple[Fraction, ...], ...]  # (m + 2) x (m + 2)


@cache
def matrices(tile: int) -> Matrices:
    """The three transforms of F(tile, 3) by Toom and Cook: points in the order 0, p, -p .., inf."""
    points = [Fraction(0), *(s * p for p in PAIRS[tile] for s in (1, -1))]
    count = len(points) + 1
    kernel, data = [], []
    for p in points:
        others = [q for q in points if q != p]
        scale = 1 / _product([p - q for q in others])
        kernel.append(tuple(scale * p**i for i in range(KERNEL)))
        data.append((*_with_roots(others), Fraction(0)))
    kernel.append((Fraction(0), Fraction(0), Fraction(1)))
    data.append(tuple(_with_roots(points)))
    result = [
        (*(p**i for p in points), Fraction(int(i == tile - 1))) for i in range(tile)
    ]
    assert count == tile + KERNEL - 1
    return Matrices(tuple(result), tuple(kernel), tuple(data))


def _product(factors) -> Fraction:
    total = Fraction(1)
    for f in factors:
        total *= f
    return total


def _with_roots(roots) -> list[Fraction]:
    """Coefficients of the product of (x - root), lowest power first."""
    coefficients = [Fraction(1)]
    for root in roots:
        shifted = [Fraction(0), *coefficients]
        lower = [-root * c for c in coefficients] + [Fraction(0)]
        coefficients = [a + b for a, b in zip(shifted, lower, strict=True)]
    return coefficients


def as_array(rows) -> np.ndarray:
    """A matrix of `Matrices` in float64."""
    return np.array([[float(x) for x in row] for row in rows])


def points_of(tile: int) -> int:
    """Products for a tile of tile x tile results."""
    return (tile + KERNEL - 1) ** 2


@op
class winograd_weight(Op):
    """Kernels w [3, 3, C, O] at the points, in panels: [(tile + 2)^2, ceil(O / panel), C, panel];
    w [3, 1, C, O], for one axis alone, at tile + 2 points.
    """

    differentiable = False

    def type(w, *, tile, panel):
        require(
            tile in PAIRS and panel > 0 and len(w.shape) == 4
            and w.shape[:2] in ((KERNEL, KERNEL), (KERNEL, 1)),
            f"winograd_weight: takes a tile of 2 or 4 and w [3, 3 or 1, C, O], got tile={tile} and "
            f"{w}",
        )  # fmt: skip
        channels, columns = w.shape[2:]
        points = points_of(tile) if w.shape[1] > 1 else tile + KERNEL - 1
        return TensorType((points, -(-columns // panel), channels, panel), w.dtype)

    def eval(w, *, tile, panel):
        kernel = as_array(matrices(tile).kernel)
        across = kernel if w.shape[1] > 1 else np.ones((1, 1))
        u = np.einsum("ir,rsco,js->ijco", kernel, w.astype(np.float64), across, optimize=True)
        channels, columns = w.shape[2:]
        panels = -(-columns // panel)
        u = np.pad(u.reshape(-1, channels, columns), ((0, 0), (0, 0), (0, -columns % panel)))
        u = u.reshape(-1, channels, panels, panel).transpose(0, 2, 1, 3)
        return np.ascontiguousarray(u).astype(w.dtype)


@op
class winograd(Op):
    """x [N, H, W, C] under 3 x 3 kernels at the points, u (see winograd_weight) -> [N, H', W', n].

    Stride 1; `padding` holds (low, high) zeros for H and W. `blocking` (tiles done together, panels
    done together, shares of the tiles and of the panels that are units of work) and `workspace`
    (floats of memory) are the backend's.
    """

    differentiable = False

    def type(x, u, *, tile, padding, n, blocking, workspace):
        fits = tile in PAIRS and len(x.shape) == len(u.shape) == 4 and x.dtype is u.dtype
        fits = fits and u.shape[0] == points_of(tile) and u.shape[2] == x.shape[3]
        fits = fits and u.shape[1] == -(-n // u.shape[3]) and len(padding) == 2
        require(fits, f"winograd: {x} and {u} do not fit with tile={tile} and n={n}")
        out = output_size(x.shape, padding)
        require(min(out) > 0, f"winograd: the padded input is smaller than the kernel: {x}")
        return TensorType((x.shape[0], *out, n), x.dtype)

    def eval(x, u, *, tile, padding, n, blocking, workspace):
        result, _, data = map(as_array, matrices(tile))
        high, wide = output_size(x.shape, padding)
        down, across = -(-high // tile), -(-wide // tile)
        counts = down * tile + KERNEL - 1, across * tile + KERNEL - 1
        padded = np.zeros((x.shape[0], *counts, x.shape[3]))
        (top, _), (left, _) = padding
        inside = x[:, : counts[0] - top, : counts[1] - left]
        spot = (slice(top, top + inside.shape[1]), slice(left, left + inside.shape[2]))
        padded[(slice(None), *spot)] = inside
        size = tile + KERNEL - 1
        windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), (1, 2))
        windows = windows[:, ::tile, ::tile]  # image, down, across, C, row, column
        v = np.einsum("ir,nabcrs,js->ijnabc", data, windows, data, optimize=True)
        flat = u.astype(np.float64).transpose(0, 2, 1, 3).reshape(size * size, x.shape[3], -1)
        m = np.matmul(v.reshape(size * size, -1, x.shape[3]), flat[..., :n])
        m = m.reshape(size, size, x.shape[0], down, across, n)
        y = np.einsum("ri,ijnabo,sj->narbso", result, m, result, optimize=True)
        y = y.reshape(x.shape[0], down * tile, across * tile, n)[:, :high, :wide]
        return np.ascontiguousarray(y).astype(x.dtype)


def output_size(shape, padding) -> tuple[int, int]:
    """Height and width of the result for x [N, H, W, C]."""
    high, wide = (
        n + low + end - KERNEL + 1 for n, (low, end) in zip(shape[1:3], padding, strict=True)
    )
    return high, wide
