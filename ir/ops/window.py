"""Windows over the last axes: unfold/fold (an adjoint pair) and max pooling.

Average pooling is the sum of an unfold; max_pool keeps torch's rule that the first maximum of a
window gets the whole gradient, so it is a primitive with its index companion argmax_pool.
"""

from __future__ import annotations

import math

import numpy as np

from ..op import Movement, Op, OpError, op, require
from ..types import TensorType, int64
from .contraction import check_geometry, pad_spatial, sliding, window_position, windows
from .creation import zeros_like
from .indexing import index_add
from .movement import reshape


def lead(shape, kernel):
    return shape[: len(shape) - len(kernel)]


def out_shape(name, x, kernel, stride, padding, dilation):
    """The positions of the windows over the last len(kernel) axes of x."""
    check_geometry(name, len(kernel), stride, padding, dilation)
    require(0 < len(kernel) <= len(x.shape), f"{name}: {len(kernel)} window axes do not fit {x}")
    geometry = windows(kernel, stride, padding, dilation)
    space = x.shape[len(x.shape) - len(kernel) :]
    out = tuple(g.count(n) for g, n in zip(geometry, space, strict=True))
    if min(out) < 1:
        raise OpError(f"{name}: window {tuple(kernel)} is larger than the padded input {x}")
    return out


@op
class unfold(Movement):
    """Sliding windows: [..., *S] -> [..., *out, *kernel]; the padding reads zero."""

    def type(x, *, kernel, stride, padding, dilation):
        out = out_shape("unfold", x, kernel, stride, padding, dilation)
        return TensorType((*lead(x.shape, kernel), *out, *kernel), x.dtype)

    def eval(x, *, kernel, stride, padding, dilation):
        return sliding(pad_spatial(x, padding), kernel, stride, dilation)

    def vjp(g, y, x, *, kernel, stride, padding, dilation):
        size = tuple(x.shape[len(x.shape) - len(kernel) :])
        return (fold(g, size=size, stride=stride, padding=padding, dilation=dilation),)

    def element(k, idx, x, *, kernel, stride, padding, dilation):
        rank, geometry = len(kernel), windows(kernel, stride, padding, dilation)
        outer, taps = idx[-2 * rank : len(idx) - rank], idx[len(idx) - rank :]
        space = x.shape[len(x.shape) - rank :]
        inside, at = window_position(k, outer, taps, geometry, space)
        return k.guarded(
            inside, lambda: x((*idx[: len(idx) - 2 * rank], *at)), k.const(0, x.dtype)
        )


@op
class fold(Op):
    """Adjoint of unfold: [..., *out, *kernel] -> [..., *size], overlapping windows are summed."""

    def type(x, *, size, stride, padding, dilation):
        rank = len(size)
        kernel = x.shape[len(x.shape) - rank :]
        source = TensorType((*x.shape[: len(x.shape) - 2 * rank], *size), x.dtype)
        out = out_shape("fold", source, kernel, stride, padding, dilation)
        got = x.shape[len(x.shape) - 2 * rank : len(x.shape) - rank]
        require(out == got, f"fold: expected window positions {out}, got {got}")
        return source

    def eval(x, *, size, stride, padding, dilation):
        rank = len(size)
        kernel, out = x.shape[x.ndim - rank :], x.shape[x.ndim - 2 * rank : x.ndim - rank]
        sizes = [n + lo + hi for n, (lo, hi) in zip(size, padding, strict=True)]
        sums = np.zeros((*x.shape[: x.ndim - 2 * rank], *sizes), x.dtype)
        for taps in np.ndindex(*kernel):
            spot = tuple(
                np.s_[t * d : t * d + (m - 1) * s + 1 : s]
                for t, d, s, m in zip(taps, dilation, stride, out, strict=True)
            )
            sums[(..., *spot)] += x[(..., *taps)]
        inner = tuple(np.s_[lo : lo + n] for n, (lo, _) in zip(size, padding, strict=True))
        return sums[(..., *inner)]

    def vjp(g, y, x, *, size, stride, padding, dilation):
        kernel = tuple(x.shape[len(x.shape) - len(size) :])
        return (unfold(g, kernel=kernel, stride=stride, padding=padding, dilation=dilation),)

    def element(k, idx, x, *, size, stride, padding, dilation):
        rank = len(size)
        kernel = x.shape[len(x.shape) - rank :]
        out = x.shape[len(x.shape) - 2 * rank : len(x.shape) - rank]
        head, space = idx[: len(idx) - rank], idx[len(idx) - rank :]

        def body(taps):
            inside, at = [], []
            rows = zip(space, taps, stride, padding, dilation, out, strict=True)
            for i, t, s, (low, _), d, m in rows:
                j = i + low - t * d
                inside.append(k.index_inside(j, (m - 1) * s + 1))
                if s > 1:
                    inside.append(k.index_eq(j % s, k.index(0)))
                at.append(j // s)
            return k.guarded(inside, lambda: x((*head, *at, *taps)), k.const(0, x.dtype))

        return k.reduce("add", kernel, body, x.dtype)


@op
class max_pool(Op):
    """Largest element of each window over the last axes; the padding never wins; nan wins."""

    def type(x, *, kernel, stride, padding, dilation):
        out = out_shape("max_pool", x, kernel, stride, padding, dilation)
        return TensorType((*lead(x.shape, kernel), *out), x.dtype)

    def eval(x, *, kernel, stride, padding, dilation):
        view = sliding(pad_spatial(x, padding, lowest(x.dtype)), kernel, stride, dilation)
        return view.max(axis=tuple(range(view.ndim - len(kernel), view.ndim)))

    def vjp(g, y, x, *, kernel, stride, padding, dilation):
        rank = len(kernel)
        index = argmax_pool(x, kernel=kernel, stride=stride, padding=padding, dilation=dilation)
        head, space = tuple(lead(x.shape, kernel)), tuple(x.shape[len(x.shape) - rank :])
        rows = math.prod(head)
        positions = _row_positions(index, rows, math.prod(space))
        zeros = reshape(zeros_like(x), shape=(rows * math.prod(space),))
        flat = index_add(zeros, positions, reshape(g, shape=(math.prod(g.shape),)), axis=0)
        return (reshape(flat, shape=tuple(x.shape)),)

    def element(k, idx, x, *, kernel, stride, padding, dilation):
        rank = len(kernel)
        head, outer = idx[: len(idx) - rank], idx[len(idx) - rank :]
        geometry = windows(kernel, stride, padding, dilation)

        def body(taps):
            inside, at = window_position(k, outer, taps, geometry, x.shape[len(x.shape) - rank :])
            return k.guarded(inside, lambda: x((*head, *at)), k.lowest(x.dtype))

        return k.reduce("maximum", kernel, body, x.dtype)


def _row_positions(index, rows, space):
    """Positions in the flattened operand from per-row positions [..., *out], as int64[n]."""
    from .creation import iota_like

    flat = reshape(index, shape=(rows, math.prod(index.shape) // max(rows, 1)))
    offset = iota_like(index, flat.shape, 0) * space
    return reshape(flat + offset, shape=(math.prod(index.shape),))


@op
class argmax_pool(Op):
    """Where max_pool found its value: position (int64) in the flattened window axes."""

    differentiable = False

    def type(x, *, kernel, stride, padding, dilation):
        out = out_shape("argmax_pool", x, kernel, stride, padding, dilation)
        return TensorType((*lead(x.shape, kernel), *out), int64)

    def eval(x, *, kernel, stride, padding, dilation):
        rank = len(kernel)
        view = sliding(pad_spatial(x, padding, lowest(x.dtype)), kernel, stride, dilation)
        flat = view.reshape(*view.shape[: view.ndim - rank], math.prod(kernel))
        space = x.shape[x.ndim - rank :]
        position = np.arange(math.prod(space)).reshape(space)
        where = sliding(pad_spatial(position, padding, -1), kernel, stride, dilation)
        where = np.broadcast_to(where, view.shape).reshape(flat.shape)
        best = np.where(where < 0, False, (flat == flat.max(-1, keepdims=True)) | (flat != flat))
        return np.take_along_axis(where, best.argmax(-1)[..., None], -1)[..., 0]

    def vjp(g, y, x, **attrs):
        return (None,)

    def element(k, idx, x, *, kernel, stride, padding, dilation):
        rank = len(kernel)
        head, outer = idx[: len(idx) - rank], idx[len(idx) - rank :]
        geometry = windows(kernel, stride, padding, dilation)
        space = x.shape[len(x.shape) - rank :]

        def at(i):
            taps = k.unravel(i, kernel)
            inside, source = window_position(k, outer, taps, geometry, space)
            return k.guarded(inside, lambda: x((*head, *source)), k.lowest(x.dtype))

        def position(i):
            _, source = window_position(k, outer, k.unravel(i, kernel), geometry, space)
            return k.linear(source, space)

        return k.argmax(math.prod(kernel), at, position)


def lowest(dtype: np.dtype):
    """The value every other one beats: -inf, or the smallest integer."""
    if dtype.kind == "b":
        return False
    return np.iinfo(dtype).min if dtype.kind in "iu" else -np.inf


