"""Rules of creation and movement: constants, shapes, views, joins, pads, tiles."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import nncomp

from ..functions.base import constant, create
from ..ir import ops
from ..ir.types import dtype_of_name, dtype_of_numpy, int64
from ..nn import functional as F
from .load_reduce import one_axis
from .load_rules import rule, shape_of
from .load_run import number_of
from .load_steps import Step
from .protobuf import dtype_of_number


def ints(array: np.ndarray) -> list[int]:
    """A known operand as a list of Python integers."""
    return [int(v) for v in array.reshape(-1)]


@rule("Constant")
def constant_(n: Step) -> Any:
    """One of the attributes value, value_float, value_floats, value_int, value_ints."""
    for name, dtype in (("value_float", np.float32), ("value_floats", np.float32),
                        ("value_int", np.int64), ("value_ints", np.int64)):  # fmt: skip
        if name in n.attrs:
            return np.array(n.attrs[name], dtype)
    if "value" not in n.attrs:
        raise n.error(f"has no value of a kind that exists here ({', '.join(n.attrs)})")
    return n.attrs["value"]


@rule("ConstantOfShape", known=(0,))
def constant_of_shape(n: Step, shape: np.ndarray) -> Any:
    value = n.get("value", np.zeros(1, np.float32))
    return constant(value.reshape(-1)[0].item(), ints(shape), dtype_of_numpy(value.dtype))


@rule("Shape")
def shape(n: Step, x: Any) -> np.ndarray:
    sizes = shape_of(x)
    return np.array(sizes[slice(n.get("start", 0), n.get("end"))], np.int64)


@rule("Size")
def size(n: Step, x: Any) -> np.ndarray:
    return np.array(math.prod(shape_of(x)), np.int64)


@rule("Range", known=(0, 1, 2))
def range_(n: Step, start: np.ndarray, limit: np.ndarray, delta: np.ndarray) -> Any:
    first, step = start.item(), delta.item()
    if step == 0:
        raise n.error("delta must not be 0")
    count = max(math.ceil((limit.item() - first) / step), 0)
    return (first + step * np.arange(count)).astype(start.dtype)


@rule("EyeLike")
def eye_like(n: Step, x: Any) -> Any:
    rows, columns = shape_of(x)
    dtype = dtype_of_number(n.attrs["dtype"]) if "dtype" in n.attrs else x.dtype
    return np.eye(rows, columns, n.get("k", 0)).astype(dtype.numpy)


# -- the same elements in another shape -----------------------------------------------------------


@rule("Reshape", known=(1,))
def reshape(n: Step, x: Any, shape: np.ndarray | None) -> Any:
    """0 copies a size (unless allowzero), -1 is what is left over."""
    wanted = n.get("shape") if shape is None else ints(shape)
    if not n.get("allowzero", 0):
        wanted = [x.shape[i] if m == 0 and i < len(x.shape) else m for i, m in enumerate(wanted)]
    return x.reshape(wanted)


@rule("Flatten")
def flatten(n: Step, x: Any) -> Any:
    axis = n.get("axis", 1)
    axis = axis + len(x.shape) if axis < 0 else axis
    return x.reshape([math.prod(x.shape[:axis]), math.prod(x.shape[axis:])])


@rule("Transpose")
def transpose(n: Step, x: Any) -> Any:
    rank = len(x.shape)
    return x.permute(n.get("perm", list(range(rank))[::-1]))


@rule("Squeeze", known=(1,))
def squeeze(n: Step, x: Any, axes: np.ndarray | None) -> Any:
    rank = len(x.shape)
    given = n.get("axes") if axes is None else ints(axes)
    if given is None:
        drop = {i for i, m in enumerate(x.shape) if m == 1}
    else:
        drop = {a + rank if a < 0 else a for a in given}
        if any(x.shape[a] != 1 for a in drop):
            raise n.error(f"axes {given} of {tuple(x.shape)} are not all 1")
    return x.reshape([m for i, m in enumerate(x.shape) if i not in drop])


@rule("Unsqueeze", known=(1,))
def unsqueeze(n: Step, x: Any, axes: np.ndarray | None) -> Any:
    given = n.get("axes") if axes is None else ints(axes)
    rank = len(x.shape) + len(given)
    new = {a + rank if a < 0 else a for a in given}
    sizes = iter(x.shape)
    return x.reshape([1 if i in new else next(sizes) for i in range(rank)])


@rule("Expand", known=(1,))
def expand(n: Step, x: Any, shape: np.ndarray) -> Any:
    """To the shape that x and `shape` broadcast to."""
    return nncomp.broadcast_to(x, np.broadcast_shapes(tuple(x.shape), tuple(ints(shape))))


@rule("Tile", known=(1, 2))
def tile(n: Step, x: Any, repeats: np.ndarray, axis: np.ndarray | None) -> Any:
    if axis is not None:  # opset 1: how often along one axis
        times = [1] * len(x.shape)
        times[int(axis)] = int(repeats)
        return nncomp.tile(x, times)
    return nncomp.tile(x, ints(repeats))


@rule("DepthToSpace")
def depth_to_space(n: Step, x: Any) -> Any:
    b, r = n.attrs["blocksize"], x.shape[1] // n.attrs["blocksize"] ** 2
    rows, _, h, w = x.shape
    if n.get("mode", "DCR") == "DCR":
        y = x.reshape([rows, b, b, r, h, w]).permute([0, 3, 4, 1, 5, 2])
    else:
        y = x.reshape([rows, r, b, b, h, w]).permute([0, 1, 4, 2, 5, 3])
    return y.reshape([rows, r, h * b, w * b])


@rule("SpaceToDepth")
def space_to_depth(n: Step, x: Any) -> Any:
    b = n.attrs["blocksize"]
    rows, c, h, w = x.shape
    y = x.reshape([rows, c, h // b, b, w // b, b])
    y = y.permute([0, 3, 5, 1, 2, 4] if n.get("mode", "DCR") == "DCR" else [0, 1, 3, 5, 2, 4])
    return y.reshape([rows, c * b * b, h // b, w // b])


# -- joining and cutting --------------------------------------------------------------------------


@rule("Concat")
def concat(n: Step, *xs: Any) -> Any:
    axis = one_axis(n, len(xs[0].shape), 1)
    return xs[0] if len(xs) == 1 else ops.concat(*xs, axis=axis)


def split_sizes(n: Step, total: int, given: np.ndarray | None) -> list[int]:
    """The lengths of the parts of a Split."""
    sizes = n.get("split") if given is None else ints(given)
    if sizes:
        if sum(sizes) != total:
            raise n.error(f"the parts {sizes} do not add up to {total}")
        return sizes
    count = n.get("num_outputs", len(n.outputs))
    part = -(-total // count)
    return [min(part, max(total - i * part, 0)) for i in range(count)]


@rule("Split", known=(1,))
def split(n: Step, x: Any, sizes: np.ndarray | None) -> Any:
    axis = one_axis(n, len(x.shape))
    parts, start = [], 0
    for length in split_sizes(n, x.shape[axis], sizes):
        parts.append(x.narrow(axis, start, length))
        start += length
    return tuple(parts)


@rule("Slice", known=(1, 2, 3, 4))
def slice_(n: Step, x: Any, starts: Any, ends: Any, axes: Any, steps: Any) -> Any:
    """Bounds are cut to the shape, as Python does it; a negative step goes backwards."""
    low = n.get("starts") if starts is None else ints(starts)
    high = n.get("ends") if ends is None else ints(ends)
    where = n.get("axes", list(range(len(low)))) if axes is None else ints(axes)
    by = [1] * len(low) if steps is None else ints(steps)
    bounds = [(0, m, 1) for m in x.shape]
    flipped = []
    for a, s, e, step in zip(where, low, high, by, strict=True):
        axis = one_axis(n, len(x.shape), axis=a)
        if step == 0:
            raise n.error("steps must not be 0")
        places = range(x.shape[axis])[slice(s, _end(e, x.shape[axis], step), step)]
        if step < 0:
            places = places[::-1]
            flipped.append(axis)
        stop = places[-1] + 1 if places else places.start
        bounds[axis] = (min(places.start, x.shape[axis]), stop, abs(step))
    start, stop, step = (tuple(b[i] for b in bounds) for i in range(3))
    stop = tuple(max(a, b) for a, b in zip(start, stop, strict=True))
    y = ops.slice(x, start=start, stop=stop, step=step)
    return nncomp.flip(y, flipped) if flipped else y


def _end(end: int, size: int, step: int) -> int | None:
    """The end of a Python slice: with a negative step, -1 - size or less is before the first."""
    return None if step < 0 and end < -size else end


@rule("Pad", known=(1, 3))
def pad(n: Step, x: Any, pads: np.ndarray | None, value: Any, axes: np.ndarray | None) -> Any:
    rank = len(x.shape)
    widths = n.get("pads", n.get("paddings")) if pads is None else ints(pads)
    where = range(rank) if axes is None else [one_axis(n, rank, axis=a) for a in ints(axes)]
    low, high = [0] * rank, [0] * rank
    for i, axis in enumerate(where):
        low[axis], high[axis] = widths[i], widths[i + len(widths) // 2]
    mode = n.get("mode", "constant")
    x = _cropped(x, low, high)
    low, high = ([max(w, 0) for w in side] for side in (low, high))
    if mode != "constant":
        return _pad_by_index(n, x, low, high, mode)
    number = n.get("value", 0.0) if value is None else number_of(value)
    if number is not None:
        return ops.pad(x, low=tuple(low), high=tuple(high), interior=(0,) * rank,
                       value=_number(number, x.dtype))  # fmt: skip
    inside = constant(True, tuple(x.shape), dtype_of_name("bool"))
    inside = ops.pad(inside, low=tuple(low), high=tuple(high), interior=(0,) * rank, value=False)
    wide = ops.pad(x, low=tuple(low), high=tuple(high), interior=(0,) * rank,
                   value=_number(0, x.dtype))  # fmt: skip
    return nncomp.where(inside, wide, value.reshape([]))


def _number(value: Any, dtype: Any) -> Any:
    return {"f": float, "b": bool}.get(dtype.kind, int)(value)


def _cropped(x: Any, low: list[int], high: list[int]) -> Any:
    """Negative widths cut off."""
    start = tuple(max(-w, 0) for w in low)
    stop = tuple(m - max(-w, 0) for m, w in zip(x.shape, high, strict=True))
    if not any(start) and stop == tuple(x.shape):
        return x
    return ops.slice(x, start=start, stop=stop, step=(1,) * len(start))


def _pad_by_index(n: Step, x: Any, low: list[int], high: list[int], mode: str) -> Any:
    """reflect, edge or wrap: each axis picks its elements by their places."""
    modes = {"reflect": "reflect", "edge": "edge", "wrap": "wrap"}
    if mode not in modes:
        raise n.error(f"mode {mode!r} is not one of constant, {', '.join(modes)}")
    for axis, widths in enumerate(zip(low, high, strict=True)):
        if any(widths):
            places = np.pad(np.arange(x.shape[axis]), widths, modes[mode])
            x = ops.take(x, nncomp.tensor(places.tolist(), dtype=int64), axis=axis)
    return x


@rule("Trilu", known=(1,))
def trilu(n: Step, x: Any, k: np.ndarray | None) -> Any:
    diagonal = 0 if k is None else int(k.reshape(-1)[0])
    return (nncomp.triu if n.get("upper", 1) else nncomp.tril)(x, diagonal)


@rule("ReverseSequence", known=(1,))
def reverse_sequence(n: Step, x: Any, lengths: np.ndarray) -> Any:
    """The first `lengths[b]` steps of sequence b, backwards."""
    batch, time = n.get("batch_axis", 1), n.get("time_axis", 0)
    if sorted((batch, time)) != [0, 1]:
        raise n.error(f"batch_axis and time_axis must be 0 and 1, got {batch} and {time}")
    steps = np.arange(x.shape[time])
    parts = []
    for b, length in enumerate(ints(lengths)):
        places = np.where(steps < length, length - 1 - steps, steps)
        row = x.select(batch, b)
        parts.append(ops.take(row, nncomp.tensor(places.tolist(), dtype=int64), axis=0))
    return nncomp.stack(parts, batch)


@rule("Upsample", known=(1,))
def upsample(n: Step, x: Any, scales: np.ndarray | None) -> Any:
    factors = n.get("scales") if scales is None else scales.tolist()
    if factors is None:  # opset 1
        factors = [1, 1, n.attrs["height_scale"], n.attrs["width_scale"]]
    mode = {"nearest": "nearest", "linear": "bilinear", "bilinear": "bilinear"}[
        n.get("mode", "nearest")
    ]
    if list(factors[:2]) != [1, 1] or len(x.shape) != 4:
        raise n.error(f"only the last two of four axes can grow, got scales {list(factors)}")
    size = [math.floor(m * f) for m, f in zip(x.shape[2:], factors[2:], strict=True)]
    align = None if mode == "nearest" else False
    return F.interpolate(x, size, mode=mode, align_corners=align)


@rule("CenterCropPad", known=(1,))
def center_crop_pad(n: Step, x: Any, sizes: np.ndarray) -> Any:
    rank = len(x.shape)
    axes = [one_axis(n, rank, axis=a) for a in n.get("axes", range(rank))]
    low, high = [0] * rank, [0] * rank
    for axis, size in zip(axes, ints(sizes), strict=True):
        more = size - x.shape[axis]
        low[axis] = more // 2 if more >= 0 else -(-more // 2)
        high[axis] = more - low[axis]
    y = _cropped(x, low, high)
    return ops.pad(y, low=tuple(max(w, 0) for w in low), high=tuple(max(w, 0) for w in high),
                   interior=(0,) * rank, value=_number(0, x.dtype))  # fmt: skip


def ramp(count: int, dtype: Any = int64) -> Any:
    """0, 1, ... as a node of the graph."""
    return create(ops.iota, shape=(count,), axis=0, dtype=dtype)


