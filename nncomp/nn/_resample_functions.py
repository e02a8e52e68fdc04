"""interpolate of nn.functional: every dimension is resampled by itself, at fixed positions.

The source of output i is (i + 1/2) s - 1/2 for the step s = input / output, or i (n - 1) / (m - 1)
with ``align_corners``. Sizes are static, so positions and weights are constants. With ``antialias``
the filter is as wide as the step, and a product with a constant matrix applies it.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

import nncomp

from ..functions.autocasting import as_given
from ..tensor import Tensor
from ._pool_functions import adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d

_RANKS = {"linear": 1, "bilinear": 2, "bicubic": 2, "trilinear": 3}
_AREA = {1: adaptive_avg_pool1d, 2: adaptive_avg_pool2d, 3: adaptive_avg_pool3d}
_CUBIC = -0.75  # the slope of the cubic kernel, as in torch; -0.5 with antialias


def cubic_weights(t: Any, a: float = _CUBIC) -> list[Any]:
    """The weights of the 4 neighbours at distance t from the second (Keys, 1981)."""

    def near(x: Any) -> Any:
        return ((a + 2) * x - (a + 3)) * x * x + 1

    def far(x: Any) -> Any:
        return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a

    return [far(t + 1), near(t), near(1 - t), far(2 - t)]


def _step(size: int, out: int, factor: float | None, align: bool) -> float:
    """How far the source moves per output element."""
    if align:
        return (size - 1) / (out - 1) if out > 1 else 0.0
    return size / out if factor is None else 1.0 / factor


def _real(x: Tensor) -> type:
    """The numpy type of positions and weights: as torch, float32 for all narrower types."""
    return np.float64 if x.dtype is nncomp.float64 else np.float32


def _sources(x: Tensor, out: int, step: float, align: bool) -> np.ndarray:
    real = _real(x)
    i, step = np.arange(out, dtype=real), real(step)
    return i * step if align else (i + real(0.5)) * step - real(0.5)


def _pick(x: Tensor, dim: int, places: np.ndarray) -> Tensor:
    index = np.clip(places, 0, x.shape[dim] - 1).astype(np.int64)
    return nncomp.index_select(x, dim, nncomp.tensor(index))


def _along(values: np.ndarray, x: Tensor, dim: int) -> Tensor:
    """Weights as a tensor that broadcasts along ``dim``."""
    shape = [-1 if d == dim else 1 for d in range(x.dim())]
    return nncomp.tensor(np.asarray(values, _real(x))).to(x.dtype).reshape(shape)


def _nearest(x: Tensor, dim: int, out: int, factor: float | None, exact: bool) -> Tensor:
    size = x.shape[dim]
    if not exact and out % size == 0 and factor in (None, out / size):
        times = out // size
        shape = [*x.shape[: dim + 1], times, *x.shape[dim + 1 :]]
        spread = x.unsqueeze(dim + 1).expand(shape)
        return spread.reshape([*x.shape[:dim], out, *x.shape[dim + 1 :]])
    step = np.float32(_step(size, out, factor, False))
    i = np.arange(out, dtype=np.float32) + np.float32(0.5 if exact else 0.0)
    return _pick(x, dim, np.floor(i * step))


def _linear(x: Tensor, dim: int, out: int, factor: float | None, align: bool) -> Tensor:
    size = x.shape[dim]
    source = _sources(x, out, _step(size, out, factor, align), align)
    source = np.maximum(source, 0)
    low = np.minimum(np.floor(source), size - 1)
    share = np.clip(source - low, 0, 1)
    left, right = _pick(x, dim, low), _pick(x, dim, low + 1)
    return left * _along(1 - share, x, dim) + right * _along(share, x, dim)


def _cubic(x: Tensor, dim: int, out: int, factor: float | None, align: bool) -> Tensor:
    size = x.shape[dim]
    source = _sources(x, out, _step(size, out, factor, align), align)
    low = np.floor(source)
    total: Any = 0.0
    for offset, weight in enumerate(cubic_weights(source - low), -1):
        total = total + _pick(x, dim, low + offset) * _along(weight, x, dim)
    return total


def _filter(mode: str, x: np.ndarray) -> np.ndarray:
    """The kernel of an antialiased mode at distances ``x``."""
    x = np.abs(x)
    if mode == "bilinear":
        return np.maximum(1 - x, 0)
    if mode == "lanczos":
        return np.where(x < 3, np.sinc(x) * np.sinc(x / 3), 0.0)
    a = -0.5
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


_REACH = {"bilinear": 1.0, "bicubic": 2.0, "lanczos": 3.0}


@as_given
def _antialiased(
    x: Tensor, dim: int, out: int, factor: float | None, align: bool, mode: str
) -> Tensor:
    size = x.shape[dim]
    step = _step(size, out, factor, align)
    width = max(step, 1.0)
    reach = _REACH[mode] * width
    matrix = np.zeros((out, size))
    for i in range(out):
        center = step * (i + 0.5)
        first = max(int(center - reach + 0.5), 0)
        last = min(int(center + reach + 0.5), size)
        weights = _filter(mode, (np.arange(first, last) - center + 0.5) / width)
        matrix[i, first:last] = weights / weights.sum()
    weights = nncomp.tensor(matrix.astype(_real(x))).to(x.dtype)
    return nncomp.matmul(x.transpose(dim, -1), weights.t()).transpose(dim, -1)


def _output_sizes(
    input: Tensor, size: Any, scale_factor: Any, recompute: bool | None
) -> tuple[list[int], list[float | None]]:
    """The sizes, and the factors that decide the steps (None: the sizes do)."""
    n = input.dim() - 2
    space = list(input.shape[2:])
    if size is not None and scale_factor is not None:
        raise ValueError("only one of size or scale_factor should be defined")
    if size is None and scale_factor is None:
        raise ValueError("either size or scale_factor should be defined")
    if size is not None:
        if recompute:
            raise ValueError(
                "recompute_scale_factor is not meaningful with an explicit size."
            )
        sizes = list(size) if isinstance(size, Sequence) else [size] * n
        if len(sizes) != n:
            raise ValueError(
                "Input and output must have the same number of spatial dimensions, but got input "
                f"with spatial dimensions of {space} and output size of {size}. Please provide "
                "input tensor in (N, C, d1, d2, ...,dK) format and output size in (o1, o2, ...,oK) "
                "format."
            )
        return [int(m) for m in sizes], [None] * n
    factors = list(scale_factor) if isinstance(scale_factor, Sequence) else [scale_factor] * n
    if len(factors) != n:
        raise ValueError(
            "Input and scale_factor must have the same number of spatial dimensions, but got input "
            f"with spatial dimensions of {space} and scale_factor of shape {scale_factor}. Please "
            "provide input tensor in (N, C, d1, d2, ...,dK) format and scale_factor in (s1, s2, "
            "...,sK) format."
        )
    sizes = [math.floor(m * float(f)) for m, f in zip(space, factors, strict=True)]
    return sizes, [None] * n if recompute else [float(f) for f in factors]


def _check_mode(input: Tensor, mode: str, align_corners: bool | None, antialias: bool) -> None:
    if align_corners is not None and mode not in _RANKS:
        raise ValueError(
            "align_corners option can only be set with the interpolating modes: linear | bilinear "
            "| bicubic | trilinear"
        )
    if antialias and not (mode in _REACH and input.dim() == 4):
        raise ValueError(
            "Anti-alias option is restricted to bilinear, bicubic, and lanczos modes and requires "
            "a 4-D tensor as input"
        )
    known = mode in _RANKS or mode in ("nearest", "nearest-exact", "area")
    if input.dim() not in (3, 4, 5) or not (known or (mode == "lanczos" and antialias)):
        raise NotImplementedError(
            f"Input Error: Only 3D, 4D and 5D input Tensors supported (got {input.dim()}D) for the "
            "modes: nearest | linear | bilinear | bicubic | trilinear | lanczos | area | "
            f"nearest-exact (got {mode})"
        )
    if mode in _RANKS and _RANKS[mode] != input.dim() - 2:
        raise NotImplementedError(
            f"Got {input.dim()}D input, but {mode} mode needs {_RANKS[mode] + 2}D input"
        )


def interpolate(
    input: Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """Resample (N, C, *) to ``size``, or by ``scale_factor``.

    ``mode`` is nearest, nearest-exact, linear (3D), bilinear, bicubic (4D), trilinear (5D) or area.
    """
    _check_mode(input, mode, align_corners, antialias)
    sizes, factors = _output_sizes(input, size, scale_factor, recompute_scale_factor)
    if min(*sizes, *input.shape[2:]) <= 0:
        letters = "DHW"[3 - len(sizes) :]
        shown = [
            "(" + ", ".join(f"{a}: {m}" for a, m in zip(letters, row, strict=True)) + ")"
            for row in (input.shape[2:], sizes)
        ]
        raise RuntimeError(
            f"Input and output sizes should be greater than 0, but got input {shown[0]} output "
            f"{shown[1]}"
        )
    if mode == "area":
        return _AREA[len(sizes)](input, sizes)
    align = bool(align_corners)
    x = input
    for number, (out, factor) in enumerate(zip(sizes, factors, strict=True)):
        if out == x.shape[2 + number] and factor in (None, 1.0):
            continue
        x = _resampled(x, 2 + number, out, factor, align, mode, antialias)
    return x


def _resampled(
    x: Tensor, dim: int, out: int, factor: float | None, align: bool, mode: str, antialias: bool
) -> Tensor:
    if antialias:
        return _antialiased(x, dim, out, factor, align, mode)
    if mode.startswith("nearest"):
        return _nearest(x, dim, out, factor, mode == "nearest-exact")
    return (_cubic if mode == "bicubic" else _linear)(x, dim, out, factor, align)


def _deprecated(name: str) -> None:
    warnings.warn(
        f"`nn.functional.{name}` is deprecated. Use `nn.functional.interpolate` instead.",
        stacklevel=4,
    )


def upsample(
    input: Tensor,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
) -> Tensor:
    """interpolate under an old name."""
    _deprecated("upsample")
    return interpolate(input, size, scale_factor, mode, align_corners)


def upsample_nearest(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """interpolate with mode="nearest"."""
    _deprecated("upsample_nearest")
    return interpolate(input, size, scale_factor, mode="nearest")


def upsample_bilinear(input: Tensor, size: Any = None, scale_factor: Any = None) -> Tensor:
    """interpolate with mode="bilinear" and align_corners=True."""
    _deprecated("upsample_bilinear")
    return interpolate(input, size, scale_factor, mode="bilinear", align_corners=True)


__all__ = ["interpolate", "upsample", "upsample_bilinear", "upsample_nearest"]
