"""Elementwise primitives on bits and truth values: bitwise ops, comparisons, where, and cast.

Greater-than is less-than with the operands exchanged; `ne` is `eq ^ True`; logical ops are the
bitwise ones on bools.
"""

from __future__ import annotations

import numpy as np

from ..op import Comparison, Elementwise, OpError, op, require, same_type
from ..types import DType, TensorType
from .creation import zeros_like


class Bitwise(Elementwise):
    """Elementwise on the bits of integers and bools; no gradient."""

    dtypes = "iub"
    differentiable = False

    def vjp(self, g, y, *xs):
        return (None,) * len(xs)


@op
class bitwise_and(Bitwise):
    """a & b; logical and for bools."""

    eval = np.bitwise_and

    def scalar(k, a, b):
        return k.bitwise_and(a, b)


@op
class bitwise_or(Bitwise):
    """a | b; logical or for bools."""

    eval = np.bitwise_or

    def scalar(k, a, b):
        return k.bitwise_or(a, b)


@op
class bitwise_xor(Bitwise):
    """a ^ b; `x ^ True` is logical not."""

    eval = np.bitwise_xor

    def scalar(k, a, b):
        return k.bitwise_xor(a, b)


@op
class shift_left(Bitwise):
    """a << b for 0 <= b < the number of bits, otherwise 0."""

    dtypes = "iu"
    eval = np.left_shift

    def scalar(k, a, b):
        return k.shift_left(a, b)


@op
class shift_right(Bitwise):
    """a >> b, arithmetic for signed types."""

    dtypes = "iu"
    eval = np.right_shift

    def scalar(k, a, b):
        return k.shift_right(a, b)


# -- comparison, selection, conversion ------------------------------------------------------------


@op
class eq(Comparison):
    """a == b; false for nan."""

    eval = np.equal

    def scalar(k, a, b):
        return k.eq(a, b)


@op
class lt(Comparison):
    """a < b; false for nan."""

    eval = np.less

    def scalar(k, a, b):
        return k.lt(a, b)


@op
class le(Comparison):
    """a <= b; false for nan."""

    eval = np.less_equal

    def scalar(k, a, b):
        return k.le(a, b)


@op
class where(Elementwise):
    """a where the bool `condition` holds, b elsewhere."""

    def type(condition, a, b):
        if condition.dtype.kind != "b" or condition.shape != a.shape:
            raise OpError(f"where: condition must be bool{list(a.shape)}, got {condition}")
        return same_type("where", (a, b))

    eval = np.where

    def vjp(g, y, condition, a, b):
        return (
            None,
            lambda: where(condition, g, zeros_like(g)),
            lambda: where(condition, zeros_like(g), g),
        )

    def scalar(k, condition, a, b):
        return k.select(condition, a, b)


@op
class cast(Elementwise):
    """x as another dtype: floats to integers truncate (and saturate), anything != 0 is True."""

    def type(x, *, dtype):
        require(isinstance(dtype, DType), f"cast: dtype must be a DType, got {dtype!r}")
        return TensorType(x.shape, dtype)

    def eval(x, *, dtype):
        if dtype.kind in "iu" and x.dtype.kind not in "iub":
            x = x.astype(np.float64)
            info = np.iinfo(dtype.numpy)
            top = np.nextafter(float(info.max), 0) if dtype.itemsize == 8 else info.max
            out = np.clip(np.nan_to_num(x), info.min, top).astype(dtype.numpy)
            return np.where(x > top, info.max, out).astype(dtype.numpy)
        if dtype.kind == "b":
            return x != 0
        return x.astype(dtype.numpy)

    def vjp(g, y, x, *, dtype):
        return (cast(g, dtype=x.dtype) if x.dtype.kind == "f" else None,)

    def element(k, idx, x, *, dtype):
        return k.cast(x(idx), dtype)
