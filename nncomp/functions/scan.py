"""Running sums, products and extremes along a dim."""

from __future__ import annotations

import builtins
from typing import Any, NamedTuple

from ..ir import DType, ops
from ..ir import types as dt
from .base import constant, numpy_names, wrap_dim
from .promotion import cast


class cummax_result(NamedTuple):
    """Running values and where they were found."""

    values: Any
    indices: Any


class cummin_result(NamedTuple):
    """Running values and where they were found."""

    values: Any
    indices: Any


def _prepared(input: Any, dim: int, dtype: DType | None) -> tuple:
    if dtype is None:
        dtype = input.dtype if input.dtype.kind == "f" else dt.int64
    return cast(input, dtype), wrap_dim(dim, len(input.shape))


@numpy_names
def cumsum(input: Any, dim: int, *, dtype: DType | None = None) -> Any:
    """Sum of the elements up to each one along `dim`; integers and bools give int64."""
    x, axis = _prepared(input, dim, dtype)
    return ops.cumsum(x, axis=axis) if x.shape else x


@numpy_names
def cumprod(input: Any, dim: int, *, dtype: DType | None = None) -> Any:
    """Product of the elements up to each one along `dim`; integers and bools give int64."""
    x, axis = _prepared(input, dim, dtype)
    one = lambda shape: constant(1, shape, x.dtype)  # noqa: E731
    return doubled(x, axis, one, ops.mul) if x.shape else x


def doubled(x: Any, axis: int, neutral: Any, combine: Any) -> Any:
    """A scan in ceil(log2 n) steps: combine each element with the one 1, 2, 4, ... before it."""
    n, step, shape = x.shape[axis], 1, tuple(x.shape)
    while step < n:
        stop = tuple(m - step if i == axis else m for i, m in enumerate(shape))
        start, unit = (0,) * len(shape), (1,) * len(shape)
        gap = tuple(step if i == axis else m for i, m in enumerate(shape))
        earlier = ops.concat(
            neutral(gap), ops.slice(x, start=start, stop=stop, step=unit), axis=axis
        )
        x = combine(x, earlier)
        step *= 2
    return x


def logcumsumexp(input: Any, dim: int) -> Any:
    """log of the running sum of exponentials along `dim`."""
    from .arithmetic import logaddexp

    axis = wrap_dim(dim, len(input.shape))
    low = lambda shape: constant(-builtins.float("inf"), shape, input.dtype)  # noqa: E731
    return doubled(input, axis, low, logaddexp) if input.shape else input


def cummax(input: Any, dim: int) -> cummax_result:
    """Largest element so far and its index; of equal ones the last."""
    return cummax_result(*_running_extreme(input, dim, lambda x, y: ops.le(x, y)))


def cummin(input: Any, dim: int) -> cummin_result:
    """Smallest element so far and its index; of equal ones the last."""
    return cummin_result(*_running_extreme(input, dim, lambda x, y: ops.le(y, x)))


def _running_extreme(input: Any, dim: int, beats: Any) -> tuple:
    """Carry positions instead of values: position p wins over an earlier q if beats(x[q], x[p])."""
    from .gathering import gather

    axis = wrap_dim(dim, len(input.shape))
    if not input.shape:
        return input.clone(), constant(0, (), dt.int64)
    shape = tuple(input.shape)
    from .base import create

    position = create(ops.iota, shape=shape, axis=axis, dtype=dt.int64)
    n, step = shape[axis], 1
    while step < n:
        ramp = create(ops.iota, shape=shape, axis=axis, dtype=dt.int64)
        back = constant(step, shape, dt.int64)
        source = ops.maximum(ops.sub(ramp, back), constant(0, shape, dt.int64))
        earlier = gather(position, axis, source)
        wins = beats(gather(input, axis, earlier), gather(input, axis, position))
        position = ops.where(wins, position, earlier)
        step *= 2
    return gather(input, axis, position), position
