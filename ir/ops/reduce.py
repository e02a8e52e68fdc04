"""Reductions over axes. Means, norms, any/all, amin are composites of these."""

from __future__ import annotations

import numpy as np

from ..op import Op, OpError, Reduction, check_axes, op, require
from ..types import TensorType, int64
from .elementwise import mul
from .logic import cast, eq
from .movement import expand, reshape


def _keep(x, g, axes):
    """g with the reduced axes of x back as axes of length 1, expanded to x's shape."""
    kept = tuple(1 if i in axes else n for i, n in enumerate(x.shape))
    return expand(reshape(g, shape=kept), shape=x.shape)


@op
class sum(Reduction):
    """Sum over `axes`; 0 when empty. float16 and bfloat16 accumulate in float32."""

    combine = "add"

    def type(x, *, axes):
        require(x.dtype.kind != "b", "sum: cast bool to an integer dtype first")
        check_axes("sum", axes, len(x.shape))
        return TensorType(tuple(n for i, n in enumerate(x.shape) if i not in axes), x.dtype)

    def eval(x, *, axes):
        wide = np.float32 if x.dtype.itemsize == 2 and x.dtype.kind not in "iu" else x.dtype
        return np.asarray(np.sum(x, axis=axes, dtype=wide)).astype(x.dtype)

    def vjp(g, y, x, *, axes):
        return (_keep(x, g, axes),)


@op
class prod(Reduction):
    """Product over `axes`; 1 when empty."""

    combine = "mul"

    def eval(x, *, axes):
        return np.asarray(np.prod(x, axis=axes, dtype=x.dtype))

    def vjp(g, y, x, *, axes):
        """Each element's gradient is the product of all others, so zeros need no special case."""
        if len(axes) != 1:
            kept = tuple(n for i, n in enumerate(x.shape) if i not in axes)
            order = tuple(i for i in range(len(x.shape)) if i not in axes) + tuple(axes)
            from .movement import permute

            flat = reshape(permute(x, dims=order), shape=(*kept, _size(x, axes)))
            (inner,) = prod.vjp(g, y, flat, axes=(len(kept),))
            back = reshape(inner, shape=tuple(x.shape[i] for i in order))
            return (permute(back, dims=tuple(int(i) for i in np.argsort(order))),)
        axis = axes[0]
        return (mul(_keep(x, g, axes), _product_of_others(x, axis)),)


def _size(x, axes):
    return int(np.prod([x.shape[a] for a in axes], dtype=np.int64))


def _product_of_others(x, axis):
    """Along `axis`, element i becomes the product of all elements but i (shifted scans)."""
    from .creation import full_like
    from .movement import concat, slice

    n = x.shape[axis]
    if n == 0:
        return x
    one = tuple(1 if i == axis else m for i, m in enumerate(x.shape))
    ones = full_like(x, 1, shape=one)

    def part(t, start, stop):
        begin = tuple(start if i == axis else 0 for i in range(len(x.shape)))
        end = tuple(stop if i == axis else m for i, m in enumerate(x.shape))
        return slice(t, start=begin, stop=end, step=(1,) * len(x.shape))

    items = [part(x, i, i + 1) for i in range(n)]
    before, after = [ones], [ones]
    for i in range(n - 1):
        before.append(before[-1] * items[i])
        after.append(after[-1] * items[n - 1 - i])
    return concat(*[a * b for a, b in zip(before, reversed(after), strict=True)], axis=axis)


@op
class amax(Reduction):
    """Largest element over `axes`, nan if there is one; ties share the gradient equally."""

    combine = "maximum"

    def type(x, *, axes):
        check_axes("amax", axes, len(x.shape))
        if any(x.shape[a] == 0 for a in axes):
            raise OpError(f"amax: cannot reduce over an axis of length 0 of {x}")
        return TensorType(tuple(n for i, n in enumerate(x.shape) if i not in axes), x.dtype)

    def eval(x, *, axes):
        return np.asarray(np.max(x, axis=axes))

    def vjp(g, y, x, *, axes):
        winners = cast(eq(x, _keep(x, y, axes)), dtype=x.dtype)
        count = sum(winners, axes=axes)
        return (_keep(x, g / count, axes) * winners,)


@op
class argmax(Op):
    """Index (int64) of the first largest element along `axis`; a nan counts as largest."""

    differentiable = False

    def type(x, *, axis):
        check_axes("argmax", (axis,), len(x.shape))
        require(x.shape[axis] > 0, f"argmax: axis {axis} of {x} is empty")
        return TensorType(tuple(n for i, n in enumerate(x.shape) if i != axis), int64)

    def eval(x, *, axis):
        return np.asarray(np.argmax(x, axis=axis))

    def vjp(g, y, x, *, axis):
        return (None,)

    def element(k, idx, x, *, axis):
        def at(i):
            return x((*idx[:axis], i, *idx[axis:]))

        return k.argmax(x.shape[axis], at)


@op
class cumsum(Op):
    """Running sum along `axis`."""

    def type(x, *, axis):
        check_axes("cumsum", (axis,), len(x.shape))
        require(x.dtype.kind != "b", "cumsum: cast bool to an integer dtype first")
        return x

    def eval(x, *, axis):
        wide = np.float32 if x.dtype.itemsize == 2 and x.dtype.kind not in "iu" else x.dtype
        return np.cumsum(x, axis=axis, dtype=wide).astype(x.dtype)

    def vjp(g, y, x, *, axis):
        from .movement import flip

        return (flip(cumsum(flip(g, axes=(axis,)), axis=axis), axes=(axis,)),)

    def element(k, idx, x, *, axis):
        """The sum of a prefix: right for every backend, quadratic in the length of the axis."""

        def body(inner):
            (j,) = inner
            term = x((*idx[:axis], j, *idx[axis + 1 :]))
            return k.select(k.index_le(j, idx[axis]), term, k.const(0, x.dtype))

        return k.reduce("add", (x.shape[axis],), body, x.dtype)
