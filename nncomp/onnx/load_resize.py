"""Rules of resampling: Resize, GridSample.

Resize goes axis by axis. Where the taps of each result lie and what they weigh is computed with
numpy, as sizes are static; the tensors see a gather and a weighted sum per axis.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

import nncomp

from ..functions.base import constant
from ..ir import ops
from ..ir.types import bool_, int64
from ..nn import functional as F
from .load_reduce import one_axis
from .load_rules import rule
from .load_steps import Step


class Axis(NamedTuple):
    """One axis to resample: old and new size, the scale, and the region of interest."""

    number: int
    size: int
    out: int
    scale: float
    start: float
    end: float


@rule("Resize", known=(1, 2, 3))
def resize(n: Step, x: Any, roi: Any, scales: Any, sizes: Any) -> Any:
    if n.opset < 11:  # (x, scales)
        scales, roi = roi, None
    mode, outside = n.get("mode", "nearest"), None
    for axis in _axes(n, x, roi, scales, sizes):
        places = _coordinates(n, axis)
        if n.get("coordinate_transformation_mode") == "tf_crop_and_resize":
            beyond = (places < 0) | (places > axis.size - 1)
            outside = _marked(outside, beyond, axis.number, len(x.shape))
        taps, weights = _taps(n, mode, places, axis)
        x = _picked(x, axis.number, taps, weights)
    if outside is None:
        return x
    value = n.get("extrapolation_value", 0.0)
    return nncomp.where(outside, constant(value, (), x.dtype), x)


def _axes(n: Step, x: Any, roi: Any, scales: Any, sizes: Any) -> list[Axis]:
    """The axes that change."""
    rank = len(x.shape)
    numbers = [one_axis(n, rank, axis=a) for a in n.get("axes", range(rank))]
    count = len(numbers)
    region = [0.0] * count + [1.0] * count if roi is None or not roi.size else roi.tolist()
    olds = [x.shape[a] for a in numbers]
    if scales is not None and scales.size:
        factors = [float(s) for s in scales]
        outs = [math.floor(m * np.float32(s)) for m, s in zip(olds, scales, strict=True)]
    elif sizes is not None and sizes.size:
        outs = [int(s) for s in sizes]
        factors, outs = _kept_ratio(n.get("keep_aspect_ratio_policy", "stretch"), olds, outs)
    else:
        raise n.error("needs scales or sizes")
    crops = n.get("coordinate_transformation_mode") == "tf_crop_and_resize"
    rows = zip(numbers, olds, outs, factors, region[:count], region[count:], strict=True)
    return [Axis(*row) for row in rows if crops or row[1] != row[2] or row[3] != 1]


def _kept_ratio(policy: str, olds: list[int], outs: list[int]) -> tuple[list[float], list[int]]:
    factors = [out / old for out, old in zip(outs, olds, strict=True)]
    if policy == "stretch":
        return factors, outs
    scale = min(factors) if policy == "not_larger" else max(factors)
    return [scale] * len(olds), [math.floor(scale * old + 0.5) for old in olds]


def _coordinates(n: Step, axis: Axis) -> np.ndarray:
    """For each place of the result its place in x."""
    mode = n.get("coordinate_transformation_mode", "half_pixel" if n.opset >= 11 else "asymmetric")
    i, size, out = np.arange(axis.out, dtype=np.float64), axis.size, axis.out
    half = (i + 0.5) / axis.scale - 0.5
    if mode == "half_pixel" or (mode == "pytorch_half_pixel" and out > 1):
        return half
    if mode == "pytorch_half_pixel":
        return np.zeros(out)
    if mode == "asymmetric":
        return i / axis.scale
    if mode == "align_corners":
        return i * ((size - 1) / (out - 1)) if out > 1 else np.zeros(out)
    if mode == "half_pixel_symmetric":
        share = out / (axis.scale * size)
        return size / 2 * (1 - share) + half
    if mode == "tf_crop_and_resize":
        if out > 1:
            step = (axis.end - axis.start) * (size - 1) / (out - 1)
            return axis.start * (size - 1) + i * step
        return np.full(out, 0.5 * (axis.start + axis.end) * (size - 1))
    raise n.error(f"coordinate_transformation_mode {mode!r} is not supported")


def _nearest(n: Step, places: np.ndarray) -> np.ndarray:
    how = n.get("nearest_mode", "round_prefer_floor" if n.opset >= 11 else "floor")
    rounding = {
        "round_prefer_floor": lambda v: np.ceil(v - 0.5),
        "round_prefer_ceil": lambda v: np.floor(v + 0.5),
        "floor": np.floor,
        "ceil": np.ceil,
    }
    return rounding[how](places)


def _taps(n: Step, mode: str, places: np.ndarray, axis: Axis) -> tuple[np.ndarray, Any]:
    """(places of the taps, their weights), (out, taps) each; weights None for one tap."""
    last = axis.size - 1
    if mode == "nearest":
        return np.clip(_nearest(n, places), 0, last).astype(np.int64)[:, None], None
    narrow = min(axis.scale, 1.0) if n.get("antialias", 0) else 1.0
    reach = {"linear": 1, "cubic": 2}[mode] / narrow
    low = np.floor(places)
    first = int(np.floor(-reach)) + 1
    offsets = np.arange(first, 2 - first, dtype=np.float64)
    taps = low[:, None] + offsets
    distance = np.abs(taps - places[:, None]) * narrow
    weights = _hat(distance) if mode == "linear" else _cubic(
        distance, n.get("cubic_coeff_a", -0.75))  # fmt: skip
    if n.get("exclude_outside", 0):
        weights = np.where((taps < 0) | (taps > last), 0.0, weights)
    if n.get("exclude_outside", 0) or n.get("antialias", 0):
        weights = weights / weights.sum(1, keepdims=True)
    return np.clip(taps, 0, last).astype(np.int64), weights


def _hat(d: np.ndarray) -> np.ndarray:
    return np.clip(1 - d, 0, 1)


def _cubic(d: np.ndarray, a: float) -> np.ndarray:
    """Keys' cubic convolution kernel at the distances d."""
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))


def _picked(x: Any, axis: int, taps: np.ndarray, weights: np.ndarray | None) -> Any:
    """The weighted sum of the taps along an axis."""
    total = None
    for t in range(taps.shape[1]):
        part = ops.take(x, nncomp.tensor(taps[:, t].tolist(), dtype=int64), axis=axis)
        if weights is None:
            return part
        line = [-1 if i == axis else 1 for i in range(len(x.shape))]
        part = part * nncomp.tensor(weights[:, t].tolist(), dtype=x.dtype).reshape(line)
        total = part if total is None else total + part
    return total


def _marked(outside: Any, beyond: np.ndarray, axis: int, rank: int) -> Any:
    """The places outside of x, those of one more axis included."""
    line = [-1 if i == axis else 1 for i in range(rank)]
    mark = nncomp.tensor(beyond.tolist(), dtype=bool_).reshape(line)
    return mark if outside is None else outside | mark


@rule("GridSample")
def grid_sample(n: Step, x: Any, grid: Any) -> Any:
    mode = n.get("mode", "bilinear" if n.opset < 20 else "linear")
    mode = {"linear": "bilinear", "cubic": "bicubic"}.get(mode, mode)
    padding = n.get("padding_mode", "zeros")
    return F.grid_sample(x, grid, mode, padding, bool(n.get("align_corners", 0)))
