"""Sorting and order statistics, from argsort and gather."""

from __future__ import annotations

import math
from collections import namedtuple
from typing import Any

from ..ir import ops
from ..ir import types as dt
from .base import constant, like, wrap_dim
from .gathering import gather
from .promotion import broadcast, cast
from .views import flatten

_Sort = namedtuple("sort", "values indices")
_Topk = namedtuple("topk", "values indices")
_Median = namedtuple("median", "values indices")
_Mode = namedtuple("mode", "values indices")
_Kth = namedtuple("kthvalue", "values indices")


def argsort(input: Any, dim: int = -1, descending: bool = False, stable: bool = False) -> Any:
    """Positions that sort `input` along `dim`; always stable, nan counts as largest."""
    axis = wrap_dim(dim, len(input.shape))
    if not input.shape:
        return constant(0, (), dt.int64)
    return ops.argsort(input, axis=axis, descending=bool(descending))


def sort(
    input: Any, dim: int = -1, descending: bool = False, stable: bool = False
) -> Any:
    """(values, indices) in order along `dim`; always stable, nan counts as largest."""
    index = argsort(input, dim, descending)
    return _Sort(gather(input, dim, index), index)


def msort(input: Any) -> Any:
    """Values in order along dim 0."""
    return sort(input, 0).values


def topk(
    input: Any, k: int, dim: int = -1, largest: bool = True, sorted: bool = True
) -> Any:
    """(values, indices) of the k largest (or smallest) elements along `dim`, in order."""
    axis = wrap_dim(dim, len(input.shape))
    n = input.shape[axis] if input.shape else 1
    if not 0 <= k <= n:
        raise RuntimeError(f"selected index k out of range: got k={k} for a dim of length {n}")
    index = argsort(input, axis, descending=largest)
    if input.shape:
        stop = tuple(k if i == axis else m for i, m in enumerate(input.shape))
        rank = len(stop)
        index = ops.slice(index, start=(0,) * rank, stop=stop, step=(1,) * rank)
    return _Topk(gather(input, axis, index), index)


def _picked(input: Any, k: int, axis: int, keepdim: bool) -> tuple:
    """(value, index) of the k-th smallest element (from 0) along `axis`."""
    order = argsort(input, axis)
    rank, shape = len(input.shape), tuple(input.shape)
    if not rank:
        return input.clone(), order
    start = tuple(k if i == axis else 0 for i in range(rank))
    stop = tuple(k + 1 if i == axis else n for i, n in enumerate(shape))
    index = ops.slice(order, start=start, stop=stop, step=(1,) * rank)
    value = gather(input, axis, index)
    if not keepdim:
        small = shape[:axis] + shape[axis + 1 :]
        value, index = ops.reshape(value, shape=small), ops.reshape(index, shape=small)
    return value, index


def kthvalue(input: Any, k: int, dim: int = -1, keepdim: bool = False) -> Any:
    """(value, index) of the k-th smallest element (from 1) along `dim`."""
    axis = wrap_dim(dim, len(input.shape))
    n = input.shape[axis] if input.shape else 1
    if not 1 <= k <= n:
        raise RuntimeError(f"kthvalue(): selected number k out of range for dimension {axis}")
    return _Kth(*_picked(input, k - 1, axis, keepdim))


def median(input: Any, dim: int | None = None, keepdim: bool = False) -> Any:
    """The lower median of all elements, or (values, indices) along `dim`.

    Of all elements it is nan if one is; along a dim nan counts as largest.
    """
    if dim is None:
        flat = flatten(input)
        n = flat.shape[0]
        value = _picked(flat, (n - 1) // 2, 0, False)[0]
        if input.dtype.kind != "f":
            return value
        return ops.where(_any_nan(flat, 0), like(value, math.nan), value)
    axis = wrap_dim(dim, len(input.shape))
    n = input.shape[axis] if input.shape else 1
    return _Median(*_picked(input, (n - 1) // 2, axis, keepdim))


def _any_nan(x: Any, axis: int) -> Any:
    return ops.amax(ops.bitwise_xor(ops.eq(x, x), constant(True, x.shape, dt.bool_)), axes=(axis,))


def mode(input: Any, dim: int = -1, keepdim: bool = False) -> Any:
    """(value, index) of the most frequent element along `dim`; the smallest of several."""
    from .reduce import argmax, sum
    from .views import squeeze, unsqueeze

    axis = wrap_dim(dim, len(input.shape))
    ordered = sort(input, axis)
    a = unsqueeze(ordered.values, axis)
    same = ops.eq(*broadcast(a, unsqueeze(ordered.values, axis + 1)))
    first = argmax(sum(cast(same, dt.int64), axis), axis, True)
    value = gather(ordered.values, axis, first)
    hits = cast(ops.eq(*broadcast(input, value)), dt.int64)
    last = (hits * _ramp(hits, axis)).argmax(axis, True)
    if keepdim:
        return _Mode(value, last)
    return _Mode(squeeze(value, axis), squeeze(last, axis))


def _ramp(x: Any, axis: int) -> Any:
    from .base import create

    return create(ops.iota, shape=tuple(x.shape), axis=axis, dtype=dt.int64) + 1
