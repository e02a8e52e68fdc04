"""Primitives that move elements: reshape, permute, expand, slice, pad, flip, concat.

They come in adjoint pairs (expand/sum, slice/pad, concat/slice, permute/permute), so gradients need
no ops of their own. Inside kernels they are only index arithmetic.
"""

from __future__ import annotations

import math

import numpy as np

from ..op import Movement, OpError, check_axes, op, require
from ..types import TensorType, type_of_array


@op
class reshape(Movement):
    """The same elements in row-major order under another shape."""

    def type(x, *, shape):
        if math.prod(shape) != x.size or any(n < 0 for n in shape):
            raise OpError(f"shape '{list(shape)}' is invalid for input of size {x.size}")
        return TensorType(tuple(shape), x.dtype)

    def eval(x, *, shape):
        return x.reshape(shape)

    def vjp(g, y, x, *, shape):
        return (reshape(g, shape=x.shape),)

    def element(k, idx, x, *, shape):
        return x(k.reshape_index(idx, shape, x.shape))


@op
class permute(Movement):
    """Axes reordered: result axis i is operand axis dims[i]."""

    def type(x, *, dims):
        ok = sorted(dims) == list(range(len(x.shape)))
        require(
            ok, f"permute: dims {tuple(dims)} is not an order of the {len(x.shape)} axes of {x}"
        )
        return TensorType(tuple(x.shape[d] for d in dims), x.dtype)

    def eval(x, *, dims):
        return np.transpose(x, dims)

    def vjp(g, y, x, *, dims):
        return (permute(g, dims=tuple(dims.index(i) for i in range(len(dims)))),)

    def element(k, idx, x, *, dims):
        return x(tuple(idx[dims.index(i)] for i in range(len(dims))))


@op
class expand(Movement):
    """Axes of length 1 repeated to `shape`; the rank stays (reshape adds axes)."""

    def type(x, *, shape):
        ok = len(shape) == len(x.shape) and all(
            a in (1, n) for a, n in zip(x.shape, shape, strict=True)
        )
        require(ok, f"expand: cannot expand {x} to {tuple(shape)}")
        return TensorType(tuple(shape), x.dtype)

    def eval(x, *, shape):
        return np.broadcast_to(x, shape)

    def vjp(g, y, x, *, shape):
        from .reduce import sum

        axes = tuple(i for i, (a, n) in enumerate(zip(x.shape, shape, strict=True)) if a != n)
        return (reshape(sum(g, axes=axes), shape=x.shape),)

    def element(k, idx, x, *, shape):
        return x(tuple(k.index(0) if n == 1 else i for i, n in zip(idx, x.shape, strict=True)))


@op
class slice(Movement):
    """x[start:stop:step] along every axis, 0 <= start <= stop <= length and step >= 1."""

    def type(x, *, start, stop, step):
        rank = len(x.shape)
        require(len(start) == len(stop) == len(step) == rank, f"slice: needs {rank} bounds for {x}")
        for n, a, b, s in zip(x.shape, start, stop, step, strict=True):
            require(0 <= a <= b <= n and s >= 1, f"slice: {a}:{b}:{s} is not within {n} of {x}")
        shape = (-(-(b - a) // s) for a, b, s in zip(start, stop, step, strict=True))
        return TensorType(tuple(shape), x.dtype)

    def eval(x, *, start, stop, step):
        return x[tuple(np.s_[a:b:s] for a, b, s in zip(start, stop, step, strict=True))]

    def vjp(g, y, x, *, start, stop, step):
        low, high = [], []
        for n, m, a, s in zip(x.shape, g.shape, start, step, strict=True):
            used = (m - 1) * s + 1 if m else 0
            low.append(a if m else 0)
            high.append(n - (a if m else 0) - used)
        inner = tuple(s - 1 for s in step)
        return (pad(g, low=tuple(low), high=tuple(high), interior=inner, value=0),)

    def element(k, idx, x, *, start, stop, step):
        return x(tuple(i * s + a for i, a, s in zip(idx, start, step, strict=True)))


@op
class pad(Movement):
    """x with `value` added: low before, high after, interior between the elements of each axis."""

    def type(x, *, low, high, interior, value):
        rank = len(x.shape)
        ok = len(low) == len(high) == len(interior) == rank
        require(ok and min((*low, *high, *interior), default=0) >= 0, f"pad: bad widths for {x}")
        shape = (
            a + b + n + max(n - 1, 0) * i
            for n, a, b, i in zip(x.shape, low, high, interior, strict=True)
        )
        return TensorType(tuple(shape), x.dtype)

    def eval(x, *, low, high, interior, value):
        result = pad.type(type_of_array(x), low=low, high=high, interior=interior, value=value)
        out = np.full(result.shape, value, x.dtype)
        out[_inside(x.shape, low, interior)] = x
        return out

    def vjp(g, y, x, *, low, high, interior, value):
        spans = _inside(x.shape, low, interior)
        start, stop, step = (
            tuple(getattr(s, bound) for s in spans) for bound in ("start", "stop", "step")
        )
        return (slice(g, start=start, stop=stop, step=step),)

    def element(k, idx, x, *, low, high, interior, value):
        inside, source = [], []
        for i, n, a, b, gap in zip(idx, x.shape, low, high, interior, strict=True):
            j = i - a
            if a or b or gap:
                inside.append(k.index_inside(j, (n - 1) * (gap + 1) + 1 if n else 0))
            if gap:
                inside.append(k.index_eq(j % (gap + 1), k.index(0)))
                j = j // (gap + 1)
            source.append(j)
        return k.guarded(inside, lambda: x(tuple(source)), k.const(value, x.dtype))


def _inside(shape, low, interior):
    """The numpy slices of the padded result that hold the operand."""
    return tuple(
        np.s_[a : a + max(0, (n - 1) * (i + 1) + 1) if n else a : i + 1]
        for n, a, i in zip(shape, low, interior, strict=True)
    )


@op
class flip(Movement):
    """Elements in reverse order along `axes`."""

    def type(x, *, axes):
        check_axes("flip", axes, len(x.shape))
        return x

    def eval(x, *, axes):
        return np.flip(x, axes)

    def vjp(g, y, x, *, axes):
        return (flip(g, axes=axes),)

    def element(k, idx, x, *, axes):
        return x(tuple(i * -1 + (x.shape[a] - 1) if a in axes else i for a, i in enumerate(idx)))


@op
class concat(Movement):
    """Operands one after the other along `axis`."""

    def type(*xs, axis):
        require(bool(xs), "concat: needs at least one operand")
        check_axes("concat", (axis,), len(xs[0].shape))
        for x in xs:
            same = x.dtype is xs[0].dtype and len(x.shape) == len(xs[0].shape)
            same = same and all(
                n == m
                for i, (n, m) in enumerate(zip(x.shape, xs[0].shape, strict=True))
                if i != axis
            )
            require(same, f"concat: {x} does not fit {xs[0]} outside axis {axis}")
        total = np.sum([x.shape[axis] for x in xs])
        shape = tuple(int(total) if i == axis else n for i, n in enumerate(xs[0].shape))
        return TensorType(shape, xs[0].dtype)

    def eval(*xs, axis):
        return np.concatenate(xs, axis)

    def vjp(g, y, *xs, axis):
        def part(begin, x):
            start = tuple(begin if i == axis else 0 for i in range(len(x.shape)))
            stop = tuple(a + n for a, n in zip(start, x.shape, strict=True))
            return lambda: slice(g, start=start, stop=stop, step=(1,) * len(x.shape))

        begins = np.cumsum([0, *(x.shape[axis] for x in xs)]).tolist()
        return tuple(part(begin, x) for begin, x in zip(begins, xs))  # noqa: B905

    def element(k, idx, *xs, axis):
        xs = [x for x in xs if x.shape[axis]] or xs[:1]
        end = 0
        pieces = []
        for x in xs:
            at = (*idx[:axis], idx[axis] - end, *idx[axis + 1 :])
            pieces.append((at, x, end, end + x.shape[axis]))
            end += x.shape[axis]
        at, x, _, _ = pieces[-1]
        value = _piece(k, at, x, axis)
        for at, x, _, stop in reversed(pieces[:-1]):
            before = k.index_lt(idx[axis], k.index(stop))
            value = k.select(before, _piece(k, at, x, axis), value)
        return value


def _piece(k, at, x, axis):
    """x at a position that may lie outside it along `axis`; outside, any value will do."""
    inside = [k.index_inside(at[axis], x.shape[axis])]
    return k.guarded(inside, lambda: x(at), k.const(0, x.dtype))
