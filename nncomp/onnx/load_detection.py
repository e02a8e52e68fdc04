"""Rules that detection models use: NonMaxSuppression, RoiAlign, DeformConv."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import nncomp

from ..functions.creation import from_numpy
from ..ir import ops
from ..ir.types import int64
from .load_convolution import geometry, with_bias
from .load_rules import rule
from .load_shape import ramp
from .load_steps import Step


def _corners(boxes: np.ndarray, centred: bool) -> np.ndarray:
    """(y1, x1, y2, x2) with the smaller ends first; given as corners, or as centre and size."""
    if centred:
        x, y, w, h = boxes.T
        return np.stack([y - h / 2, x - w / 2, y + h / 2, x + w / 2], 1)
    a, b = boxes[:, :2], boxes[:, 2:]
    return np.concatenate([np.minimum(a, b), np.maximum(a, b)], 1)


def _overlaps(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of one box with others."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    common = np.prod(np.maximum(sides, 0), 1)
    area, areas = np.prod(box[2:] - box[:2]), np.prod(others[:, 2:] - others[:, :2], 1)
    union = area + areas - common
    return np.where(union > 0, common / np.where(union > 0, union, 1), 0)


@rule("NonMaxSuppression", known=(-1,))
def non_max_suppression(
    n: Step, boxes: np.ndarray, scores: np.ndarray, most: np.ndarray | None,
    overlap: np.ndarray | None, least: np.ndarray | None,
) -> np.ndarray:  # fmt: skip
    """Rows (batch, class, box), best first; how many depends on values, so these must be known."""
    limit = 0 if most is None else int(most.reshape(-1)[0])
    threshold = 0.0 if overlap is None else float(overlap.reshape(-1)[0])
    rows = []
    for b, c in np.ndindex(*scores.shape[:2]):
        corners = _corners(boxes[b], bool(n.get("center_point_box", 0)))
        order = np.argsort(-scores[b, c], kind="stable")
        if least is not None:
            order = order[scores[b, c][order] > least.reshape(-1)[0]]
        kept = 0
        while len(order) and kept < limit:
            rows.append((b, c, order[0]))
            kept += 1
            rest = order[1:]
            order = rest[_overlaps(corners[order[0]], corners[rest]) <= threshold]
    return np.array(rows, np.int64).reshape(len(rows), 3)


# -- regions ---------------------------------------------------------------------------------------


@rule("RoiAlign", known=(1, 2))
def roi_align(n: Step, x: Any, rois: np.ndarray, batch: np.ndarray) -> Any:
    """Each region sampled at a grid of points, of which each result takes the mean or maximum."""
    default = "half_pixel" if n.opset >= 16 else "output_half_pixel"
    half = n.get("coordinate_transformation_mode", default) == "half_pixel"
    size = n.get("output_height", 1), n.get("output_width", 1)
    corners = rois * n.get("spatial_scale", 1.0) - (0.5 if half else 0.0)
    parts = []
    for (x1, y1, x2, y2), image in zip(corners, batch.reshape(-1), strict=True):
        taps = []
        for low, high, out, length in zip((y1, x1), (y2, x2), size, x.shape[2:], strict=True):
            extent = high - low if half else max(high - low, 1.0)
            count = n.get("sampling_ratio", 0) or math.ceil(extent / out)
            taps.append((_line(low, extent / out, out, max(count, 1), length), max(count, 1)))
        parts.append(_region(n, x.select(0, int(image)), taps, size))
    return nncomp.stack(parts, 0)


def _line(low: float, step: float, out: int, count: int, length: int) -> list[tuple]:
    """[(places, weights)] of the lower and the upper neighbour of the samples along an axis."""
    places = low + step * (np.arange(out * count) + 0.5) / count
    outside = (places < -1) | (places > length)
    places = np.clip(places, 0, length - 1)
    below = np.floor(places).astype(np.int64)
    share = np.where(outside, 0, places - below)
    rest = np.where(outside, 0, 1 - (places - below))
    return [(below, rest), (np.minimum(below + 1, length - 1), share)]


def _region(n: Step, image: Any, taps: list, size: tuple[int, int]) -> Any:
    """One region (C, *size): bilinear samples, then their mean, or the largest product."""
    (rows, down), (columns, across) = taps
    products = []
    for y, wy in rows:
        line = ops.take(image, from_numpy(y), axis=1)
        for x, wx in columns:
            weight = from_numpy(np.outer(wy, wx).astype(image.dtype.numpy))
            products.append(ops.take(line, from_numpy(x), axis=2) * weight)
    shape = [image.shape[0], size[0], down, size[1], across]
    if n.get("mode", "avg") == "max":
        largest = nncomp.stack(products, 0).amax(0)
        return largest.reshape(shape).amax((2, 4))
    return sum(products[1:], products[0]).reshape(shape).mean((2, 4))


# -- deformable convolution ------------------------------------------------------------------------


@rule("DeformConv")
def deform_conv(n: Step, x: Any, w: Any, offset: Any, bias: Any, mask: Any) -> Any:
    """A convolution whose taps are moved by `offset` and weighed by `mask`, sampled bilinearly."""
    kernel = tuple(w.shape[2:])
    if len(kernel) != 2:
        raise n.error(f"is written for images, got a kernel {kernel}")
    how = geometry(n, x.shape[2:], kernel)
    groups, taps = n.get("offset_group", 1), math.prod(kernel)
    rows, out = x.shape[0], tuple(offset.shape[2:])
    moved = offset.reshape([rows, groups, taps, 2, *out])
    places = []
    for axis in range(2):
        (low, _), stride = how["padding"][axis], how["stride"][axis]
        start = ramp(out[axis], x.dtype) * stride - low
        start = start.reshape([-1, 1] if axis == 0 else [1, -1])
        tap = ramp(kernel[axis], x.dtype) * how["dilation"][axis]
        tap = tap.reshape([-1, 1] if axis == 0 else [1, -1])
        tap = nncomp.broadcast_to(tap, kernel).reshape([taps, 1, 1])
        places.append(moved.select(3, axis) + tap + start)
    flat = x.reshape([rows, groups, x.shape[1] // groups, math.prod(x.shape[2:])])
    y = _sampled(flat, places, tuple(x.shape[2:]))
    if mask is not None:
        y = y * mask.reshape([rows, groups, 1, taps, *out])
    return with_bias(_contracted(y, w, n.get("group", 1), out), bias)


def _sampled(flat: Any, places: list, size: tuple[int, int]) -> Any:
    """(N, groups, C, taps, *out) from images (N, groups, C, H W) at places (N, groups, taps, *out).
    """
    lows = [nncomp.floor(p) for p in places]
    total = None
    for corner in ((0, 0), (0, 1), (1, 0), (1, 1)):
        index, weight = None, None
        for place, low, side, length in zip(places, lows, corner, size, strict=True):
            at = low + side
            near = 1 - nncomp.abs(place - at)
            near = nncomp.where((at >= 0) & (at <= length - 1), near, nncomp.zeros_like(near))
            number = nncomp.clamp(at, 0, length - 1).to(int64)
            index = number if index is None else index * length + number
            weight = near if weight is None else weight * near
        shape = [*flat.shape[:3], *index.shape[2:]]
        wide = nncomp.broadcast_to(index.unsqueeze(2), shape).reshape([*flat.shape[:3], -1])
        part = nncomp.gather(flat, 3, wide).reshape(shape) * weight.unsqueeze(2)
        total = part if total is None else total + part
    return total


def _contracted(y: Any, w: Any, groups: int, out: tuple[int, ...]) -> Any:
    """The sum over channels and taps, group by group."""
    rows = y.shape[0]
    y = y.reshape([rows, groups, -1, math.prod(out)])
    weight = w.reshape([groups, w.shape[0] // groups, -1])
    return nncomp.matmul(weight, y).reshape([rows, w.shape[0], *out])
