"""Reductions by index: scatter_reduce, index_reduce, and put, renorm, nonzero_static.

Sums and means are composites. Products and extremes have no primitive op, so numpy computes them;
a trace refuses these two.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd.function import Function
from ..ir import ops
from ..ir import types as dt
from .base import constant, create, like, wrap_dim
from .gathering import gather, scatter, scatter_add
from .masks import _tensor
from .promotion import cast, reshaped
from .selection import where
from .special_values import eager_array
from .statistics import vector_norm

_NAMES = ("sum", "prod", "mean", "amax", "amin")


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
    return _Extreme.apply(input, dim, index, src, reduce, include_self)


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


class _Extreme(Function):
    """Products and extremes, through numpy's unbuffered ufuncs."""

    @staticmethod
    def forward(
        ctx: Any, input: Any, dim: int, index: Any, src: Any, reduce: str, include_self: bool
    ) -> Any:
        axis = wrap_dim(dim, len(input.shape))
        name = f"scatter_reduce(reduce={reduce!r})"
        places = eager_array(index, name)
        values = eager_array(src, name)[tuple(map(slice, places.shape))]
        grids = list(np.indices(places.shape, sparse=True)) if places.shape else []
        if grids:
            grids[axis] = places
        out = np.array(eager_array(input, name))
        at = tuple(grids) if grids else ()
        if not include_self:
            neutral = {"prod": 1, "amax": _lowest(out.dtype), "amin": _highest(out.dtype)}
            out[at] = neutral[reduce]
        ufunc = {"prod": np.multiply, "amax": np.maximum, "amin": np.minimum}[reduce]
        ufunc.at(out, at, values)
        result = _tensor(out)
        ctx.save_for_backward(input, index, src, result)
        ctx.options = axis, reduce, include_self
        return result

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        input, index, src, result = ctx.saved_tensors
        axis, reduce, include_self = ctx.options
        part = src[tuple(slice(n) for n in index.shape)]
        rule = _product_gradients if reduce == "prod" else _extreme_gradients
        mine, theirs = rule(input, axis, index, part, result, grad, include_self)
        after = tuple(n - m for n, m in zip(src.shape, part.shape, strict=True))
        if any(after):
            none = (0,) * len(after)
            theirs = ops.pad(theirs, low=none, high=after, interior=none, value=0.0)
        return mine, None, None, theirs, None, None


def _lowest(dtype: np.dtype) -> Any:
    return -np.inf if dtype.kind == "f" else np.iinfo(dtype).min


def _highest(dtype: np.dtype) -> Any:
    return np.inf if dtype.kind == "f" else np.iinfo(dtype).max


def _own(input: Any, axis: int, index: Any, include_self: bool) -> Any:
    """1 where the result depends on the place's own element."""
    ones = like(input, 1)
    return ones if include_self else scatter(ones, axis, index, 0)


def _extreme_gradients(
    input: Any, axis: int, index: Any, src: Any, result: Any, grad: Any, include_self: bool
) -> tuple:
    """Equal extremes share the gradient."""
    own = _own(input, axis, index, include_self)
    mine = cast(input == result, grad.dtype) * own
    theirs = cast(src == gather(result, axis, index), grad.dtype)
    share = grad / scatter_add(mine, axis, index, theirs)
    share = where(share == share, share, like(share, 0.0))
    return mine * share, theirs * gather(share, axis, index)


def _product_gradients(
    input: Any, axis: int, index: Any, src: Any, result: Any, grad: Any, include_self: bool
) -> tuple:
    """The product of the other factors: with one zero among them only it has a gradient."""
    own = _own(input, axis, index, include_self)
    zero, empty = cast(input == 0, grad.dtype) * own, cast(src == 0, grad.dtype)
    zeros = scatter_add(zero, axis, index, empty)
    factor = where(zero != 0, like(input, 1.0), where(own != 0, input, like(input, 1.0)))
    filled = where(src == 0, like(src, 1.0), src)
    rest = _Extreme.apply(factor, axis, index, filled, "prod", True)  # without the zeros

    def others(x: Any, is_zero: Any, count: Any, product: Any) -> Any:
        left = count - is_zero
        return where(left == 0, product / where(is_zero != 0, like(x, 1.0), x), like(x, 0.0))

    safe = where(own != 0, input, like(input, 1.0))
    mine = grad * own * others(safe, zero, zeros, rest)
    spread = [gather(x, axis, index) for x in (grad, zeros, rest)]
    return mine, spread[0] * others(src, empty, spread[1], spread[2])


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
