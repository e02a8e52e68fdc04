"""Reductions by index: scatter_reduce, index_reduce, and put, renorm, nonzero_static.

Sums and means are composites of scatter_add; products and extremes are an op of their own.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from ..ir import ops
from ..ir import types as dt
from .base import constant, create, like, wrap_dim
from .gathering import scatter, scatter_add, written
from .promotion import cast, reshaped
from .selection import where
from .statistics import vector_norm

_NAMES = ("sum", "prod", "mean", "amax", "amin")
_COMBINE = {"prod": "mul", "amax": "maximum", "amin": "minimum"}


def scatter_reduce(
    input: Any, dim: int, index: Any, src: Any, reduce: str, *, include_self: bool = True
) -> Any:
    """`input` with the elements of `src` that `index` sends to a place combined with it.

    `reduce` is "sum", "prod", "mean", "amax" or "amin"; without `include_self` a place that gets
    elements forgets its own.
    """
    if reduce not in _NAMES:
        raise RuntimeError(
            f"reduce argument must be either {', '.join(_NAMES)}, got {reduce}"
        )
    if reduce in ("sum", "mean"):
        return _added(input, dim, index, src, reduce == "mean", include_self)
    start, write = input, functools.partial(ops.index_reduce, combine=_COMBINE[reduce])
    if not include_self:
        start = scatter(input, dim, index, _neutral(reduce, input.dtype))
    return written(f"scatter_reduce(reduce={reduce!r})", start, dim, index, src, write)


def _added(input: Any, dim: int, index: Any, src: Any, mean: bool, include_self: bool) -> Any:
    start = input
    if not include_self:
        start = scatter(input, dim, index, 0)
    total = scatter_add(start, dim, index, src)
    if not mean:
        return total
    ones = constant(1, index.shape, input.dtype)
    counts = scatter_add(constant(int(include_self), input.shape, input.dtype), dim, index, ones)
    counts = where(counts == 0, like(counts, 1), counts)
    if input.dtype.kind == "f":
        return total / counts
    return ops.floor_divide(total, counts)


def _neutral(reduce: str, dtype: dt.DType) -> Any:
    """What changes nothing when it is combined with a value."""
    if reduce == "prod":
        return 1
    lowest = reduce == "amax"
    if dtype.kind == "f":
        return -math.inf if lowest else math.inf
    limits = np.iinfo(dtype.numpy)
    return limits.min if lowest else limits.max


def index_reduce(
    input: Any, dim: int, index: Any, source: Any, reduce: str, *, include_self: bool = True
) -> Any:
    """scatter_reduce of whole slices: slice j of `source` goes to index[j] along `dim`."""
    if reduce not in ("prod", "mean", "amax", "amin"):
        raise RuntimeError(
            f"reduce argument must be either prod, mean, amax or amin, got {reduce}."
        )
    axis = wrap_dim(dim, len(input.shape))
    shape = [1] * len(input.shape)
    shape[axis] = index.numel()
    spread = reshaped(cast(index, dt.int64), tuple(shape))
    spread = ops.expand(spread, shape=tuple(source.shape))
    return scatter_reduce(input, axis, spread, source, reduce, include_self=include_self)


def put(input: Any, index: Any, source: Any, accumulate: bool = False) -> Any:
    """`input` with the elements of `source` stored (or added) at flat places `index`."""
    size = input.numel()
    places = reshaped(cast(index, dt.int64), (index.numel(),))
    places = where(places < 0, places + size, places)
    flat, values = reshaped(input, (size,)), reshaped(source, (source.numel(),))
    op = ops.index_add if accumulate else ops.index_put
    return reshaped(op(flat, places, values, axis=0), tuple(input.shape))


def renorm(input: Any, p: float, dim: int, maxnorm: float) -> Any:
    """Slices along `dim` whose p-norm is above `maxnorm` scaled down to it."""
    axis = wrap_dim(dim, len(input.shape))
    rest = tuple(i for i in range(len(input.shape)) if i != axis)
    size = vector_norm(input, float(p), rest, keepdim=True)
    scale = where(size > maxnorm, maxnorm / (size + 1e-7), like(size, 1.0))
    return input * scale


def nonzero_static(input: Any, *, size: int, fill_value: int = -1) -> Any:
    """The positions of the first `size` nonzero elements, [size, rank], filled up at the end.

    Unlike nonzero() it can be recorded in a graph.
    """
    if size < 0:
        raise RuntimeError(f"nonzero_static: 'size' must be an non-negative integer, got {size}")
    flat = cast(reshaped(input, (input.numel(),)), dt.bool_)
    count = min(size, input.numel())
    order = ops.argsort(ops.bitwise_xor(flat, like(flat, True)), axis=0, descending=False)
    first = ops.slice(order, start=(0,), stop=(count,), step=(1,))
    found = create(ops.iota, shape=(count,), axis=0, dtype=dt.int64) < cast(flat, dt.int64).sum()
    columns = []
    for n in reversed(input.shape):
        columns.append(where(found, first % n, fill_value))
        first = first // n
    rows = [x.reshape(count, 1) for x in reversed(columns)]
    result = rows[0] if len(rows) == 1 else ops.concat(*rows, axis=1)
    if count == size:
        return result
    filler = constant(fill_value, (size - count, len(rows)), dt.int64)
    return ops.concat(result, filler, axis=0)
