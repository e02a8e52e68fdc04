"""Rules of convolutions and pools."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

import nncomp

from ..functions.base import constant
from ..functions.promotion import expand_to
from ..ir import ops
from ..ir.types import int64
from .load_rules import rule
from .load_shape import ints, ramp
from .load_steps import Step


def geometry(n: Step, space: Sequence[int], kernel: Sequence[int]) -> dict[str, tuple]:
    """stride, padding (low, high) per axis, and dilation of windows over `space`."""
    rank = len(space)
    stride = tuple(n.get("strides", (1,) * rank))
    dilation = tuple(n.get("dilations", (1,) * rank))
    pads = n.get("pads", (0,) * (2 * rank))
    padding = tuple(zip(pads[:rank], pads[rank:], strict=True))
    auto = n.get("auto_pad", "NOTSET")
    if auto.startswith("SAME"):
        rows = zip(space, stride, kernel, dilation, strict=True)
        totals = [max((-(-m // s) - 1) * s + (k - 1) * d + 1 - m, 0) for m, s, k, d in rows]
        padding = tuple(_halves(t, auto) for t in totals)
    elif auto == "VALID":
        padding = ((0, 0),) * rank
    return dict(stride=stride, padding=padding, dilation=dilation)


def _halves(total: int, auto: str) -> tuple[int, int]:
    small, large = total // 2, total - total // 2
    return (small, large) if auto == "SAME_UPPER" else (large, small)


def with_bias(y: Any, bias: Any) -> Any:
    """y plus one number per channel."""
    if bias is None:
        return y
    return y + bias.reshape([1, -1, *(1,) * (len(y.shape) - 2)])


@rule("Conv")
def conv(n: Step, x: Any, w: Any, bias: Any) -> Any:
    how = geometry(n, x.shape[2:], w.shape[2:])
    return with_bias(ops.conv(x, w, groups=n.get("group", 1), **how), bias)


@rule("ConvTranspose")
def conv_transpose(n: Step, x: Any, w: Any, bias: Any) -> Any:
    """`output_padding` takes from the cut at the end; what it adds beyond that is zero."""
    space, kernel = tuple(x.shape[2:]), tuple(w.shape[2:])
    rank = len(space)
    stride = tuple(n.get("strides", (1,) * rank))
    dilation = tuple(n.get("dilations", (1,) * rank))
    extra = list(n.get("output_padding", (0,) * rank))
    full = [(m - 1) * s + (k - 1) * d + 1
            for m, s, k, d in zip(space, stride, kernel, dilation, strict=True)]  # fmt: skip
    padding, extra = _transposed_padding(n, full, extra, space, stride)
    cut = tuple((low, max(high - e, 0)) for (low, high), e in zip(padding, extra, strict=True))
    size = tuple(f - low - high for f, (low, high) in zip(full, cut, strict=True))
    y = ops.conv_transpose(x, w, input_size=size, stride=stride, padding=cut, dilation=dilation,
                           groups=n.get("group", 1))  # fmt: skip
    more = tuple(max(e - high, 0) for (_, high), e in zip(padding, extra, strict=True))
    if any(more):
        zeros = (0,) * (rank + 2)
        y = ops.pad(y, low=zeros, high=(0, 0, *more), interior=zeros, value=0.0)
    return with_bias(y, bias)


def _transposed_padding(
    n: Step, full: list[int], extra: list[int], space: Sequence[int], stride: Sequence[int]
) -> tuple[list[tuple[int, int]], list[int]]:
    """What is cut off at both ends, and the output padding."""
    rank = len(full)
    auto = n.get("auto_pad", "NOTSET")
    wanted = n.get("output_shape")
    if auto.startswith("SAME") and wanted is None:
        wanted = [m * s for m, s in zip(space, stride, strict=True)]
    if wanted is None:
        pads = (0,) * (2 * rank) if auto == "VALID" else n.get("pads", (0,) * (2 * rank))
        return list(zip(pads[:rank], pads[rank:], strict=True)), extra
    totals = [f + e - w for f, e, w in zip(full, extra, wanted[-rank:], strict=True)]
    grown = [e + max(-t, 0) for e, t in zip(extra, totals, strict=True)]
    auto = "SAME_UPPER" if auto == "SAME_UPPER" else "SAME_LOWER"
    return [_halves(max(t, 0), auto) for t in totals], grown


# -- pools ----------------------------------------------------------------------------------------


def _windows(n: Step, x: Any) -> tuple[dict[str, tuple], tuple]:
    """The attributes of the pooling ops, and the padding before sizes were rounded up."""
    kernel = tuple(n.attrs["kernel_shape"])
    space = tuple(x.shape[2:])
    how = geometry(n, space, kernel)
    before = how["padding"]
    if n.get("ceil_mode", 0):
        rows = zip(space, kernel, how["stride"], before, how["dilation"], strict=True)
        how["padding"] = tuple((p[0], _ceiled(m, k, s, p, d)) for m, k, s, p, d in rows)
    return dict(kernel=kernel, **how), before


def _ceiled(size: int, kernel: int, stride: int, pad: tuple[int, int], dilation: int) -> int:
    """Padding at the end so that the last, partial window fits, if it starts before the padding."""
    low, high = pad
    span = dilation * (kernel - 1) + 1
    count = -(-(size + low + high - span) // stride) + 1
    if (count - 1) * stride >= size + low:
        count -= 1
    return max((count - 1) * stride + span - size - low, high)


@rule("MaxPool")
def max_pool(n: Step, x: Any) -> Any:
    how, _ = _windows(n, x)
    y = ops.max_pool(x, **how)
    if not n.wants(1):
        return y
    index, space = ops.argmax_pool(x, **how), tuple(x.shape[2:])
    if n.get("storage_order", 0):
        index = _column_major(index, space)
    rows = x.shape[0] * x.shape[1]
    first = ramp(rows).reshape([*x.shape[:2], *(1,) * len(space)]) * math.prod(space)
    return y, index + first


def _column_major(index: Any, space: tuple[int, ...]) -> Any:
    """Places in a row of elements as places with the first axis fastest."""
    parts = []
    for size in space[::-1]:
        parts.append(nncomp.remainder(index, size))
        index = nncomp.div(index, size, rounding_mode="floor")
    place = parts[0]
    for part, size in zip(parts[1:], space[::-1][1:], strict=True):
        place = place * size + part
    return place


def _sums(x: Any, how: dict[str, tuple]) -> Any:
    windows = ops.unfold(x, **how)
    rank = len(windows.shape)
    return ops.sum(windows, axes=tuple(range(rank - len(how["kernel"]), rank)))


@rule("AveragePool")
def average_pool(n: Step, x: Any) -> Any:
    how, before = _windows(n, x)
    total = _sums(x, how)
    counted = before if n.get("count_include_pad", 0) else ((0, 0),) * len(before)
    if how["padding"] == counted:
        return total / math.prod(how["kernel"])
    low, high = (tuple(p[i] for p in counted) for i in (0, 1))
    ones = constant(1.0, tuple(x.shape[2:]), x.dtype)
    ones = ops.pad(ones, low=low, high=high, interior=(0,) * len(low), value=1.0)
    rest = zip(how["padding"], counted, strict=True)
    how["padding"] = tuple((p - a, q - b) for (p, q), (a, b) in rest)
    return total / expand_to(_sums(ones, how), tuple(total.shape))


@rule("LpPool")
def lp_pool(n: Step, x: Any) -> Any:
    p = n.get("p", 2)
    how, _ = _windows(n, x)
    return nncomp.pow(_sums(nncomp.pow(nncomp.abs(x), p), how), 1 / p)


def _space(x: Any) -> tuple[int, ...]:
    return tuple(range(2, len(x.shape)))


@rule("GlobalAveragePool")
def global_average_pool(n: Step, x: Any) -> Any:
    return nncomp.mean(x, _space(x), keepdim=True)


@rule("GlobalMaxPool")
def global_max_pool(n: Step, x: Any) -> Any:
    return nncomp.amax(x, _space(x), keepdim=True)


@rule("GlobalLpPool")
def global_lp_pool(n: Step, x: Any) -> Any:
    p = n.get("p", 2)
    return nncomp.pow(nncomp.sum(nncomp.pow(nncomp.abs(x), p), _space(x), keepdim=True), 1 / p)


@rule("MaxUnpool", known=(2,))
def max_unpool(n: Step, x: Any, index: Any, shape: np.ndarray | None) -> Any:
    """Values go to the places that MaxPool gave; the rest is zero."""
    kernel = n.attrs["kernel_shape"]
    rank = len(kernel)
    stride, pads = n.get("strides", (1,) * rank), n.get("pads", (0,) * (2 * rank))
    rows = zip(x.shape[2:], stride, kernel, pads[:rank], pads[rank:], strict=True)
    size = [*x.shape[:2], *((m - 1) * s + k - low - high for m, s, k, low, high in rows)]
    wanted = size if shape is None else ints(shape)
    flat = constant(0.0, (math.prod(size),), x.dtype)
    flat = ops.index_put(flat, index.to(int64).reshape([-1]), x.reshape([-1]), axis=0)
    y = flat.reshape(size)
    high = tuple(a - b for a, b in zip(wanted, size, strict=True))
    return ops.pad(y, low=(0,) * len(size), high=high, interior=(0,) * len(size), value=0.0)


@rule("Col2Im", known=(1, 2))
def col2im(n: Step, x: Any, image: np.ndarray, block: np.ndarray) -> Any:
    size, kernel = tuple(ints(image)), tuple(ints(block))
    rank = len(size)
    how = geometry(n, size, kernel)
    rows = zip(size, how["padding"], kernel, how["stride"], how["dilation"], strict=True)
    outs = tuple((m + sum(p) - d * (k - 1) - 1) // s + 1 for m, p, k, s, d in rows)
    y = x.reshape([x.shape[0], -1, *kernel, *outs])
    order = [0, 1, *range(2 + rank, 2 + 2 * rank), *range(2, 2 + rank)]
    return ops.fold(y.permute(order), size=size, **how)
