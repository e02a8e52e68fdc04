"""Differences, integrals, covariances, quantiles and searches."""

from __future__ import annotations

import math
from itertools import combinations as choose
from itertools import combinations_with_replacement
from typing import Any, NamedTuple

import numpy as np

from ..autograd.modes import state
from ..ir import ops
from ..ir import types as dt
from .autocasting import full_precision
from .base import constant, is_tensor, like, numpy_names, wrap_dim
from .creation import from_numpy
from .join import cat, stack
from .promotion import broadcast, cast, reshaped
from .reduce import mean, nansum, sum
from .selection import where
from .sorting import _any_nan, _picked, argsort, sort
from .unary import isnan
from .views import flatten, slice_along, unsqueeze


def diff(
    input: Any, n: int = 1, dim: int = -1, prepend: Any = None, append: Any = None
) -> Any:
    """The n-th differences of neighbours along `dim`; for bools whether they differ."""
    if not input.shape:
        raise RuntimeError("diff expects input to be at least one-dimensional")
    if n < 0:
        raise RuntimeError(f"order must be non-negative but got {n}")
    parts = [x for x in (prepend, input, append) if x is not None]
    x = cat(parts, dim) if len(parts) > 1 else input
    axis = wrap_dim(dim, len(x.shape))
    for _ in range(n):
        size = x.shape[axis]
        if size == 0:
            break
        later, earlier = slice_along(x, axis, 1, size), slice_along(x, axis, 0, size - 1)
        x = ops.bitwise_xor(later, earlier) if x.dtype is dt.bool_ else ops.sub(later, earlier)
    return x


def _areas(y: Any, x: Any, dx: float | None, dim: int) -> Any:
    axis = wrap_dim(dim, len(y.shape))
    size = y.shape[axis]
    heights = (slice_along(y, axis, 1, size) + slice_along(y, axis, 0, size - 1)) / 2.0
    if x is None:
        return heights * (1 if dx is None else dx)
    widths = diff(x, dim=-1 if len(x.shape) == 1 else axis)
    if len(x.shape) == 1:
        widths = reshaped(widths, (size - 1, *(1,) * (len(y.shape) - axis - 1)))
    return heights * widths


def trapezoid(y: Any, x: Any = None, *, dx: float | None = None, dim: int = -1) -> Any:
    """The integral along `dim` by the trapezoidal rule, at places `x` or in steps of `dx`."""
    return sum(_areas(y, x, dx, dim), dim)


def cumulative_trapezoid(y: Any, x: Any = None, *, dx: float | None = None, dim: int = -1) -> Any:
    """The running integral along `dim` by the trapezoidal rule."""
    from .scan import cumsum

    return cumsum(_areas(y, x, dx, dim), dim)


def trapz(y: Any, x: Any = None, *, dx: float | None = None, dim: int = -1) -> Any:
    """trapezoid()."""
    return trapezoid(y, x, dx=dx, dim=dim)


def gradient(
    input: Any, *, spacing: Any = 1, dim: Any = None, edge_order: int = 1
) -> tuple:
    """Slopes along each of `dim` by central differences, one-sided at the ends.

    `spacing` is a number or one per dim; edges use `edge_order` + 1 points.
    """
    if edge_order not in (1, 2):
        raise RuntimeError("torch.gradient only supports edge_order=1 and edge_order=2.")
    dims = range(len(input.shape)) if dim is None else (dim if isinstance(dim, (tuple, list))
                                                        else (dim,))  # fmt: skip
    axes = [wrap_dim(d, len(input.shape)) for d in dims]
    steps = spacing if isinstance(spacing, (tuple, list)) else [spacing] * len(axes)
    if any(is_tensor(s) and s.shape for s in steps):
        raise NotImplementedError(
            "gradient(): spacing must be a number or a list of numbers; coordinates given as "
            "tensors are not supported"
        )
    return tuple(_slope(input, a, s, edge_order) for a, s in zip(axes, steps, strict=True))


def _slope(x: Any, axis: int, step: Any, edge_order: int) -> Any:
    n = x.shape[axis]
    if n < edge_order + 1:
        raise RuntimeError(
            "torch.gradient expected each dimension size to be at least edge_order+1"
        )
    at = lambda a, b: slice_along(x, axis, a, b)  # noqa: E731
    middle = (at(2, n) - at(0, n - 2)) / (2 * step)
    if edge_order == 1:
        first, last = (at(1, 2) - at(0, 1)) / step, (at(n - 1, n) - at(n - 2, n - 1)) / step
    else:
        first = (at(1, 2) * 4 - at(0, 1) * 3 - at(2, 3)) / (2 * step)
        last = (at(n - 1, n) * 3 - at(n - 2, n - 1) * 4 + at(n - 3, n - 2)) / (2 * step)
    return cat([first, middle, last], axis)


# -- covariance -----------------------------------------------------------------------------------


def cov(input: Any, *, correction: int = 1, fweights: Any = None, aweights: Any = None) -> Any:
    """The covariance matrix of variables (rows) over observations (columns).

    Observations count `fweights` times, and are weighed by `aweights`.
    """
    if len(input.shape) > 2:
        raise RuntimeError(
            "cov(): expected input to have two or fewer dimensions but got an input with "
            f"{len(input.shape)} dimensions"
        )
    x = reshaped(input, (1, input.numel())) if len(input.shape) < 2 else input
    weights = fweights
    if aweights is not None:
        weights = aweights if fweights is None else fweights * aweights
    if weights is None:
        total: Any = x.shape[1]
        centered = x - mean(x if x.dtype.kind == "f" else cast(x, dt.float32), 1, True)
        weighted = centered
    else:
        total = weights.sum()
        centered = x - (x * weights).sum(1, True) / total
        weighted = centered * weights
    if weights is None or aweights is None or correction == 0:
        count: Any = total - correction
    else:
        count = total - correction * (weights * aweights).sum() / total
    count = count.clamp(min=0) if is_tensor(count) else max(count, 0)
    product = weighted @ centered.t()
    result = product / (count if is_tensor(count) else like(product, count))
    return result if len(input.shape) == 2 else result.reshape(())


def corrcoef(input: Any) -> Any:
    """The correlation coefficients of variables (rows) over observations (columns)."""
    c = cov(input)
    if not c.shape:
        return c / c
    deviation = c.diagonal().sqrt()
    return (c / deviation.unsqueeze(1) / deviation.unsqueeze(0)).clamp(-1, 1)


# -- order statistics -----------------------------------------------------------------------------


@numpy_names
def nanmean(input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    """Mean of the elements that are not nan."""
    count = sum(cast(ops.eq(input, input), dt.int64), dim, keepdim)
    return nansum(input, dim, keepdim, dtype=dtype) / count


class _NanMedian(NamedTuple):
    """Values and where they were found."""

    values: Any
    indices: Any


def nanmedian(input: Any, dim: int | None = None, keepdim: bool = False) -> Any:
    """The lower median of the elements that are not nan, or (values, indices) along `dim`."""
    from .gathering import gather
    from .views import squeeze

    x = flatten(input) if dim is None else input
    if not x.shape:
        return _NanMedian(x.clone(), constant(0, (), dt.int64))
    axis = 0 if dim is None else wrap_dim(dim, len(x.shape))
    order = argsort(x, axis)  # nan comes last
    count = sum(cast(ops.eq(x, x), dt.int64), axis, True)
    middle = ops.floor_divide(count - 1, like(count, 2))
    place = gather(order, axis, where(middle < 0, like(middle, 0), middle))
    value = gather(x, axis, place)
    if dim is None:
        return reshaped(value, ())
    if keepdim:
        return _NanMedian(value, place)
    return _NanMedian(squeeze(value, axis), squeeze(place, axis))


_BETWEEN = ("linear", "lower", "higher", "midpoint", "nearest")


@full_precision
def quantile(
    input: Any, q: Any, dim: int | None = None, keepdim: bool = False, *,
    interpolation: str = "linear", out: Any = None,
) -> Any:  # fmt: skip
    """The q-quantiles along `dim` (flattened if None) for a number or a vector q.

    A vector gives one result per element, along a new first dim; nan gives nan.
    """
    return _quantiles(input, q, dim, keepdim, interpolation, False)


@full_precision
def nanquantile(
    input: Any, q: Any, dim: int | None = None, keepdim: bool = False, *,
    interpolation: str = "linear", out: Any = None,
) -> Any:  # fmt: skip
    """quantile() of the elements that are not nan."""
    return _quantiles(input, q, dim, keepdim, interpolation, True)


def _quantiles(
    input: Any, q: Any, dim: Any, keepdim: bool, interpolation: str, skip_nan: bool
) -> Any:
    if interpolation not in _BETWEEN:
        raise RuntimeError(
            "quantile() interpolation must be one of linear, lower, higher, midpoint or nearest, "
            f"but got {interpolation}"
        )
    vector = is_tensor(q) and len(q.shape) == 1
    if is_tensor(q) and len(q.shape) > 1:
        raise RuntimeError("quantile() q must be a scalar or 1D tensor")
    if is_tensor(q) and (state.tracer is not None or q.requires_grad):
        numbers = list(q.unbind(0)) if vector else [q]
    else:
        numbers = q.tolist() if is_tensor(q) else q
        numbers = numbers if vector else [numbers]
    for value in numbers:
        if not is_tensor(value) and not 0.0 <= value <= 1.0:
            raise RuntimeError(f"quantile() q must be in the range [0, 1] but got {value}")
    x = flatten(input) if dim is None else input
    axis = 0 if dim is None else wrap_dim(dim, len(x.shape))
    if x.shape and x.shape[axis] == 0:
        raise RuntimeError("quantile() input tensor must be non-empty")
    found = [_quantile(x, value, axis, interpolation, skip_nan) for value in numbers]
    if keepdim:
        shape = (1,) * len(input.shape) if dim is None else None
        found = [unsqueeze(y, axis) if shape is None else reshaped(y, shape) for y in found]
    return stack(found) if vector else found[0]


def _quantile(x: Any, q: Any, axis: int, interpolation: str, skip_nan: bool) -> Any:
    if skip_nan:
        return _skipping(x, q, axis, interpolation)
    if is_tensor(q):
        y = _skipping(x, q, axis, interpolation)
        return where(_any_nan(x, axis), math.nan, y) if x.shape else y
    size = x.shape[axis] if x.shape else 1
    low, high, share = _between(q * (size - 1), interpolation)
    a = _picked(x, low, axis, False)[0]
    if share == 0:
        y = a
    else:
        b = _picked(x, min(high, size - 1), axis, False)[0]
        y = ops.add(a, ops.mul(ops.sub(b, a), like(a, share)))
    return where(_any_nan(x, axis), math.nan, y) if x.shape else y


def _between(place: float, interpolation: str) -> tuple[int, int, float]:
    """(lower index, upper index, weight of the upper one)."""
    low = math.floor(place)
    if interpolation == "nearest":
        near = int(np.rint(place))
        return near, near, 0.0
    if interpolation == "lower" or place == low:
        return low, low, 0.0
    if interpolation == "higher":
        return low + 1, low + 1, 0.0
    return low, low + 1, 0.5 if interpolation == "midpoint" else place - low


def _skipping(x: Any, q: Any, axis: int, interpolation: str) -> Any:
    """The quantile of the elements before the first nan of a sorted row."""
    from .gathering import gather
    from .unary import ceil, floor, round
    from .views import squeeze

    if not x.shape:
        return x.clone()
    ordered = sort(x, axis).values
    count = sum(cast(ops.eq(x, x), dt.int64), axis, True)
    place = cast(where(count < 1, like(count, 1), count) - 1, dt.float64) * q
    if interpolation == "nearest":
        place = round(place)
    elif interpolation in ("lower", "higher"):
        place = floor(place) if interpolation == "lower" else ceil(place)
    low, high = floor(place), ceil(place)
    share = cast(place - low, x.dtype)
    if interpolation == "midpoint":
        share = where(share > 0, like(share, 0.5), share)
    a = gather(ordered, axis, cast(low, dt.int64))
    b = gather(ordered, axis, cast(high, dt.int64))
    y = where(share == 0, a, a + (b - a) * share)
    return squeeze(where(isnan(a), math.nan, y), axis)


def searchsorted(
    sorted_sequence: Any, input: Any, *, out_int32: bool = False, right: bool = False,
    side: str | None = None, sorter: Any = None,
) -> Any:  # fmt: skip
    """Where to insert each input into the sorted last dim: before equal ones, or after (`right`).

    `sorter` holds the indices that sort `sorted_sequence`.
    """
    from .gathering import gather

    if side not in (None, "left", "right"):
        raise RuntimeError(
            f"torch.searchsorted(): side can only be 'left' or 'right' but got {side}"
        )
    if side == "left" and right:
        raise RuntimeError(
            "torch.searchsorted(): side and right can't be set to opposites, got side of left "
            "while right was True"
        )
    row = sorted_sequence if sorter is None else gather(sorted_sequence, -1, sorter)
    x = input if is_tensor(input) else constant(input, (), row.dtype)
    row = row if len(row.shape) == 1 else unsqueeze(row, -2)
    after = right or side == "right"
    row, x = broadcast(row, unsqueeze(x, -1))
    below = ops.le(row, x) if after else ops.lt(row, x)
    found = sum(below, -1)
    return cast(found, dt.int32) if out_int32 else found


def bucketize(
    input: Any, boundaries: Any, *, out_int32: bool = False, right: bool = False, out: Any = None
) -> Any:
    """searchsorted(boundaries, input)."""
    return searchsorted(boundaries, input, out_int32=out_int32, right=right)


# -- others ---------------------------------------------------------------------------------------


def combinations(input: Any, r: int = 2, with_replacement: bool = False) -> Any:
    """The ways to choose `r` elements of a vector, one per row."""
    if len(input.shape) != 1:
        raise RuntimeError(
            f"Expect a 1D vector, but got shape {list(input.shape)}"
        )
    pick = combinations_with_replacement if with_replacement else choose
    rows = np.array(list(pick(range(input.shape[0]), r)), np.int64).reshape(-1, r)
    return ops.take(input, from_numpy(rows), axis=0)


def unravel_index(indices: Any, shape: Any) -> tuple:
    """Flat places as one index tensor per dim of `shape`."""
    found = []
    for n in reversed(tuple(shape)):
        found.append(indices % n)
        indices = indices // n
    return tuple(reversed(found))


def pdist(input: Any, p: float = 2.0) -> Any:
    """The distances of all pairs of rows of a matrix, as a vector."""
    from .statistics import vector_norm

    rows = np.array(list(choose(range(input.shape[0]), 2)), np.int64).reshape(-1, 2)
    a, b = (ops.take(input, from_numpy(np.ascontiguousarray(c)), axis=0) for c in rows.T)
    return vector_norm(a - b, float(p), -1)


def vdot(input: Any, other: Any) -> Any:
    """dot(): the elements are real."""
    from .linalg import dot

    return dot(input, other)
