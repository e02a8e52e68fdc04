"""Reading and writing by index tensors: take / index_add (adjoint), index_put and so on; argsort.

torch.gather, embedding and advanced indexing are `take` on reshaped operands. Indices must be in
[0, length): the front end wraps negative ones; eager mode raises IndexError, compiled code checks.
"""

from __future__ import annotations

import numpy as np

from ..op import Op, OpError, check_axes, op, require
from ..types import TensorType, int64
from .creation import full_like, zeros_like
from .elementwise import div, mul, sub
from .logic import cast, eq, where
from .movement import reshape


def check_range(name: str, index: np.ndarray, length: int) -> None:
    """IndexError, naming the offending value, unless all indices are in [0, length)."""
    if index.size and (index.min() < 0 or index.max() >= length):
        bad = index[(index < 0) | (index >= length)].flat[0]
        raise IndexError(f"{name}: index {bad} is out of bounds for an axis of length {length}")


def _check_index(name, index):
    require(index.dtype.kind in "iu", f"{name}: index must be an integer tensor, got {index}")


@op
class take(Op):
    """x[..., index, ...] along `axis`: the axis is replaced by the axes of `index`."""

    def type(x, index, *, axis):
        check_axes("take", (axis,), len(x.shape))
        _check_index("take", index)
        return TensorType((*x.shape[:axis], *index.shape, *x.shape[axis + 1 :]), x.dtype)

    def eval(x, index, *, axis):
        check_range("take", index, x.shape[axis])
        return np.take(x, index, axis)

    def vjp(g, y, x, index, *, axis):
        flat = reshape(index, shape=(index_count(index),))
        shape = (*x.shape[:axis], index_count(index), *x.shape[axis + 1 :])
        return (index_add(zeros_like(x), flat, reshape(g, shape=shape), axis=axis), None)

    def element(k, idx, x, index, *, axis):
        rank = len(index.shape)
        at = k.as_index(index(idx[axis : axis + rank]), x.shape[axis])
        return x((*idx[:axis], at, *idx[axis + rank :]))


def index_count(index) -> int:
    return int(np.prod(index.shape, dtype=np.int64))


def _check_source(name, x, index, source, axis):
    check_axes(name, (axis,), len(x.shape))
    _check_index(name, index)
    expected = (*x.shape[:axis], *index.shape, *x.shape[axis + 1 :])
    if len(index.shape) != 1 or source.shape != expected or source.dtype is not x.dtype:
        raise OpError(f"{name}: source should be {x.dtype.short}{list(expected)}, got {source}")
    return x


@op
class bounded(Op):
    """The index itself, which must be in [0, length): IndexError if it is not.

    Put before an index is mixed into a flat position, where a wrong one could hit another row.
    """

    differentiable = False

    def type(index, *, length):
        _check_index("bounded", index)
        require(length >= 0, f"bounded: length must not be negative, got {length}")
        return index

    def eval(index, *, length):
        check_range("index", index, length)
        return index

    def vjp(g, y, index, *, length):
        return (None,)

    def element(k, idx, index, *, length):
        return index(idx)


@op
class index_add(Op):
    """x with source[..., j, ...] added at index[j] along `axis`; repeated indices accumulate."""

    def type(x, index, source, *, axis):
        return _check_source("index_add", x, index, source, axis)

    def eval(x, index, source, *, axis):
        check_range("index_add", index, x.shape[axis])
        out = np.array(x)
        np.add.at(np.moveaxis(out, axis, 0), index, np.moveaxis(source, axis, 0))
        return out

    def vjp(g, y, x, index, source, *, axis):
        return g, None, lambda: take(g, index, axis=axis)


@op
class index_put(Op):
    """x with source[..., j, ...] stored at index[j] along `axis`; the last of equal indices wins.
    """

    def type(x, index, source, *, axis):
        return _check_source("index_put", x, index, source, axis)

    def eval(x, index, source, *, axis):
        check_range("index_put", index, x.shape[axis])
        out = np.array(x)
        np.moveaxis(out, axis, 0)[index] = np.moveaxis(source, axis, 0)
        return out

    def vjp(g, y, x, index, source, *, axis):
        def kept():
            shape = tuple(index_count(index) if i == axis else n for i, n in enumerate(x.shape))
            from .creation import full_like

            return index_put(g, index, full_like(g, 0, shape=shape), axis=axis)

        return kept, None, lambda: take(g, index, axis=axis)


_COMBINED = {"mul": np.multiply, "maximum": np.maximum, "minimum": np.minimum}


@op
class index_reduce(Op):
    """x with source[..., j, ...] combined, in order, with what stands at index[j] along `axis`.

    `combine` is mul, maximum or minimum; extremes are nan if an operand is, and equal ones share
    the gradient. index_add sums.
    """

    def type(x, index, source, *, axis, combine):
        require(combine in _COMBINED, f"index_reduce: combine is one of {', '.join(_COMBINED)}")
        require(x.dtype.kind != "b", "index_reduce: cast bool to an integer dtype first")
        return _check_source("index_reduce", x, index, source, axis)

    def eval(x, index, source, *, axis, combine):
        check_range("index_reduce", index, x.shape[axis])
        out = np.array(x)
        lines = np.moveaxis(out, axis, 0)
        _COMBINED[combine].at(lines, index, np.moveaxis(source, axis, 0))
        return out

    def vjp(g, y, x, index, source, *, axis, combine):
        rule = _product_gradients if combine == "mul" else _extreme_gradients
        mine, theirs = rule(g, y, x, index, source, axis)
        return mine, None, theirs


def _extreme_gradients(g, y, x, index, source, axis):
    """Each of the equal extremes of a place gets the same share."""
    mine = cast(eq(x, y), dtype=g.dtype)
    theirs = cast(eq(source, take(y, index, axis=axis)), dtype=g.dtype)
    count = index_add(mine, index, theirs, axis=axis)
    share = where(eq(count, zeros_like(count)), zeros_like(g), div(g, count))
    return mul(mine, share), mul(theirs, take(share, index, axis=axis))


def _product_gradients(g, y, x, index, source, axis):
    """The product of the other factors of a place: 0 as soon as two of them are 0.

    The product of all that are not 0 is divided by the factor itself, or by 1 if it is 0.
    """
    factors, empty = [], []
    for part in (x, source):
        zero = eq(part, zeros_like(part))
        empty.append(cast(zero, dtype=g.dtype))
        factors.append(where(zero, full_like(part, 1), part))
    zeros = index_add(empty[0], index, empty[1], axis=axis)
    whole = index_reduce(factors[0], index, factors[1], axis=axis, combine="mul")

    def others(g, factor, is_zero, zeros, whole):
        alone = eq(sub(zeros, is_zero), zeros_like(zeros))
        return where(alone, mul(g, div(whole, factor)), zeros_like(g))

    spread = [take(v, index, axis=axis) for v in (g, zeros, whole)]
    theirs = others(spread[0], factors[1], empty[1], *spread[1:])
    return others(g, factors[0], empty[0], zeros, whole), theirs


@op
class argsort(Op):
    """Indices (int64) that sort x along `axis`, ascending and stable; nan sorts last."""

    differentiable = False

    def type(x, *, axis, descending):
        check_axes("argsort", (axis,), len(x.shape))
        return TensorType(x.shape, int64)

    def eval(x, *, axis, descending):
        if x.dtype.name == "bfloat16":  # its own sort puts nan anywhere
            x = x.astype(np.float32)
        if not descending:
            return np.argsort(x, axis=axis, kind="stable").astype(np.int64)
        backward = np.flip(x, axis)
        order = np.flip(np.argsort(backward, axis=axis, kind="stable"), axis)
        return (x.shape[axis] - 1 - order).astype(np.int64)

    def vjp(g, y, x, **attrs):
        return (None,)
