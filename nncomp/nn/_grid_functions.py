"""grid_sample and affine_grid of nn.functional.

Places come from a tensor, so elements are read by index: one row of channels per place, by a single
``take``. Which neighbours a place has is no differentiable choice; the weights carry the gradient.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Sequence
from typing import Any

import nncomp

from ..functions.autocasting import in_float32
from ..tensor import Tensor
from ._resample_functions import cubic_weights


def _default_align(align_corners: bool | None, name: str) -> bool:
    if align_corners is None:
        warnings.warn(
            f"Default {name} and affine_grid behavior has changed to align_corners=False since "
            "1.3.0. Please specify align_corners=True if the old behavior is desired. See the "
            "documentation of grid_sample for details.",
            stacklevel=4,
        )
    return bool(align_corners)


def affine_grid(
    theta: Tensor, size: Sequence[int], align_corners: bool | None = None
) -> Tensor:
    """The places (N, *, n) that the affine maps ``theta`` (N, n, n + 1) send a grid of ``size`` to.

    ``size`` is (N, C, H, W) or (N, C, D, H, W); the result is what grid_sample takes.
    """
    align = _default_align(align_corners, "grid_sample")
    if not theta.is_floating_point():
        raise ValueError(f"Expected theta to have floating point type, but got {theta.dtype}")
    n = len(size) - 2
    if n not in (2, 3):
        raise NotImplementedError(
            "affine_grid only supports 4D and 5D sizes, for 2D and 3D affine transforms, "
            f"respectively. Got size {size}."
        )
    if theta.dim() != 3 or tuple(theta.shape[-2:]) != (n, n + 1):
        raise ValueError(
            f"Expected a batch of {n}D affine matrices of shape Nx{n}x{n + 1} for size {size}. Got "
            f"{theta.shape}."
        )
    if min(size) <= 0:
        raise ValueError(f"Expected non-zero, positive output size. Got {size}")
    space = list(size[2:])
    lines = []
    for axis in reversed(range(n)):  # the last dimension is x
        m = space[axis]
        steps = nncomp.linspace(-1.0, 1.0, m, dtype=theta.dtype) if m > 1 else (
            nncomp.zeros(1, dtype=theta.dtype)
        )
        steps = steps if align else steps * ((m - 1) / m)
        shape = [-1 if axis == other else 1 for other in range(n)]
        lines.append(steps.reshape(shape).expand(space))
    lines.append(nncomp.ones(*space, dtype=theta.dtype))
    base = nncomp.stack(lines, -1).reshape([1, -1, n + 1]).expand(size[0], -1, n + 1)
    return nncomp.matmul(base, theta.transpose(1, 2)).reshape([size[0], *space, n])


def _bounded(x: Tensor, size: int) -> Tensor:
    """``x`` limited to [0, size - 1], with gradient 0 from the limits on."""
    last = float(size - 1)
    return nncomp.where(x <= 0, 0.0, nncomp.where(x >= last, last, x))


def _reflected(x: Tensor, low2: float, high2: float) -> Tensor:
    """``x`` folded into [low2 / 2, high2 / 2]."""
    if low2 == high2:
        return x * 0.0
    low, span = low2 / 2, (high2 - low2) / 2
    away = nncomp.abs(x - low)
    flips = nncomp.floor(away.detach() / span)
    rest = away - flips * span
    return nncomp.where(flips.remainder(2) == 0, rest + low, span - rest + low)


class _Sampler:
    """An input (N, C, *) and the options; reads rows of channels at integer places."""

    def __init__(self, input: Tensor, padding_mode: str, align: bool) -> None:
        self.space = list(input.shape[2:])
        self.n, self.batch = len(self.space), input.shape[0]
        self.channels = input.shape[1]
        order = [0, *range(2, input.dim()), 1]
        self.rows = input.permute(order).reshape([-1, self.channels])
        self.padding_mode, self.align = padding_mode, align

    def place(self, g: Tensor, axis: int) -> Tensor:
        """Coordinates in [-1, 1] as places along a dimension, before padding."""
        size = self.space[axis]
        if self.align:
            return (g + 1) * ((size - 1) / 2)
        return ((g + 1) * size - 1) / 2

    def padded(self, x: Tensor, axis: int) -> Tensor:
        """Places moved into the input, unless the padding is zeros."""
        size = self.space[axis]
        if self.padding_mode == "zeros":
            return x
        if self.padding_mode == "reflection":
            ends = (0.0, 2.0 * (size - 1)) if self.align else (-1.0, 2.0 * size - 1)
            x = _reflected(x, *ends)
        return _bounded(x, size)

    def read(self, places: Sequence[Tensor]) -> Tensor:
        """The elements (N, *out, C) at integer float places; 0 outside of the input."""
        inside: Any = None
        flat: Any = 0
        for x, size in zip(places, self.space, strict=True):
            here = (x >= 0) & (x <= size - 1)
            inside = here if inside is None else inside & here
            index = nncomp.where(here, x, 0.0).long()
            flat = flat * size + index
        lead = [self.batch] + [1] * (flat.dim() - 1)
        count = self.rows.shape[0] // self.batch
        flat = flat + (nncomp.arange(self.batch) * count).reshape(lead)
        values = nncomp.embedding(self.rows, flat)
        return nncomp.where(inside.unsqueeze(-1), values, 0.0)


def _nearest(sampler: _Sampler, grid: list[Tensor]) -> Tensor:
    places = [sampler.padded(sampler.place(g, a), a) for a, g in enumerate(grid)]
    return sampler.read([nncomp.round(x.detach()) for x in places])


def _linear(sampler: _Sampler, grid: list[Tensor]) -> Tensor:
    places = [sampler.padded(sampler.place(g, a), a) for a, g in enumerate(grid)]
    lows = [nncomp.floor(x.detach()) for x in places]
    total: Any = 0.0
    for corner in itertools.product((0, 1), repeat=sampler.n):
        weight: Any = 1.0
        for side, x, low in zip(corner, places, lows, strict=True):
            weight = weight * (x - low if side else low + 1 - x)
        values = sampler.read([low + side for low, side in zip(lows, corner, strict=True)])
        total = total + values * weight.unsqueeze(-1)
    return total


def _cubic(sampler: _Sampler, grid: list[Tensor]) -> Tensor:
    places = [sampler.place(g, a) for a, g in enumerate(grid)]
    lows = [nncomp.floor(x.detach()) for x in places]
    rows, columns = (cubic_weights(x - low) for x, low in zip(places, lows, strict=True))
    total: Any = 0.0
    for i, j in itertools.product(range(4), range(4)):
        taps = [lows[0] + (i - 1), lows[1] + (j - 1)]
        taps = [nncomp.round(sampler.padded(x, axis)) for axis, x in enumerate(taps)]
        total = total + sampler.read(taps) * (rows[i] * columns[j]).unsqueeze(-1)
    return total


_MODES = {"nearest": _nearest, "bilinear": _linear, "bicubic": _cubic}


def _check(input: Tensor, grid: Tensor, mode: str, padding_mode: str) -> None:
    if mode not in _MODES:
        raise ValueError(
            "nn.functional.grid_sample(): expected mode to be 'bilinear', 'nearest' or 'bicubic', "
            f"but got: '{mode}'"
        )
    if padding_mode not in ("zeros", "border", "reflection"):
        raise ValueError(
            "nn.functional.grid_sample(): expected padding_mode to be 'zeros', 'border', or "
            f"'reflection', but got: '{padding_mode}'"
        )
    if input.dim() not in (4, 5) or input.dim() != grid.dim():
        raise RuntimeError(
            "grid_sampler(): expected 4D or 5D input and grid with same number of dimensions, but "
            f"got input with sizes {list(input.shape)} and grid with sizes {list(grid.shape)}"
        )
    if input.shape[0] != grid.shape[0]:
        raise RuntimeError(
            "grid_sampler(): expected grid and input to have same batch size, but got input with "
            f"sizes {list(input.shape)} and grid with sizes {list(grid.shape)}"
        )
    if grid.shape[-1] != input.dim() - 2:
        raise RuntimeError(
            f"grid_sampler(): expected grid to have size {input.dim() - 2} in last dimension, but "
            f"got grid with sizes {list(grid.shape)}"
        )
    if mode == "bicubic" and input.dim() != 4:
        raise RuntimeError("grid_sampler(): bicubic interpolation only supports 4D input")


def grid_sample(
    input: Tensor,
    grid: Tensor,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Tensor:
    """Read ``input`` (N, C, H, W) at ``grid`` (N, H', W', 2), (x, y) in [-1, 1]: (N, C, H', W').

    Also (N, C, D, H, W) at (N, D', H', W', 3). ``padding_mode`` says what lies outside.
    """
    input, grid = in_float32(input, grid)
    _check(input, grid, mode, padding_mode)
    sampler = _Sampler(input, padding_mode, _default_align(align_corners, "grid_sample"))
    axes = [grid.select(-1, number) for number in reversed(range(sampler.n))]
    values = _MODES[mode](sampler, axes)
    return values.permute([0, values.dim() - 1, *range(1, values.dim() - 1)])


__all__ = ["affine_grid", "grid_sample"]
