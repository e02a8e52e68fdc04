"""histogram and histc: how many elements are in each of a fixed number of intervals."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..ir import ops
from ..ir import types as dt
from .base import constant, create, is_tensor, like
from .promotion import cast, reshaped
from .reduce import amax, amin, sum
from .selection import where
from .views import slice_along


class histogram_result(NamedTuple):
    """Counts and the edges of the bins."""

    hist: Any
    bin_edges: Any


def histogram(
    input: Any, bins: Any, *, range: Any = None, weight: Any = None, density: bool = False
) -> histogram_result:
    """How many elements (or their weights) are in each of `bins` intervals, or between edges.

    The intervals span `range`, or else the elements; `density` makes their areas sum to 1.
    """
    if input.dtype.kind != "f":
        raise NotImplementedError(f'"histogram" not implemented for {input.dtype.name}')
    x = reshaped(input, (input.numel(),))
    edges = bins if is_tensor(bins) else _edges(x, bins, range)
    scale = None if weight is None else cast(reshaped(weight, x.shape), x.dtype)
    counts = _counts(x, edges, scale)
    if density:
        size = edges.shape[0]
        widths = ops.sub(slice_along(edges, 0, 1, size), slice_along(edges, 0, 0, size - 1))
        counts = counts / sum(counts) / widths
    return histogram_result(counts, edges)


def histc(input: Any, bins: int = 100, min: float = 0, max: float = 0) -> Any:
    """Counts of the elements in `bins` equal intervals of [min, max] (of the data's if equal)."""
    x = reshaped(input, (input.numel(),))
    wide = x if x.dtype.kind == "f" else cast(x, dt.float64)
    edges = _edges(wide, bins, None if min == max else (min, max))
    return cast(_counts(wide, edges, None), input.dtype)


def _edges(x: Any, bins: int, range: Any) -> Any:
    """bins + 1 numbers from the lowest to the highest; half a step around them if they are equal.
    """
    if bins < 1:
        raise RuntimeError(f"histogram(): bins must be > 0, but got {bins}")
    if range is None and x.shape[0]:
        low, high = amin(x), amax(x)
    else:
        ends = range or (0.0, 1.0)
        if ends[0] > ends[1]:
            raise RuntimeError(f"histogram(): the range must not decrease, but got {ends}")
        low, high = (constant(float(end), (), x.dtype) for end in ends)
    flat = ops.eq(low, high)
    low, high = where(flat, low - 0.5, low), where(flat, high + 0.5, high)
    step = create(ops.iota, shape=(bins + 1,), axis=0, dtype=dt.int64)
    inner = low + cast(step, x.dtype) * ((high - low) / bins)
    return where(step == bins, high, inner)


def _counts(x: Any, edges: Any, scale: Any) -> Any:
    """The elements, or their scales, between neighbouring edges; the last interval is closed."""
    from .analysis import searchsorted

    bins = edges.shape[0] - 1
    place = searchsorted(edges, x, right=True) - 1
    last = slice_along(edges, 0, bins, bins + 1)
    place = where(x == last, like(place, bins - 1), place)
    inside = (place >= 0) & (place < bins)
    values = like(x, 1) if scale is None else scale
    return ops.index_add(
        constant(0, (bins,), x.dtype),
        where(inside, place, like(place, 0)),
        where(inside, values, like(values, 0)),
        axis=0,
    )
