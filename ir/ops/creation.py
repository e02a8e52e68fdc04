"""Primitives without tensor operands (constants, index ramps) and the counter-based generator."""

from __future__ import annotations

import numpy as np

from ..op import Creation, Elementwise, apply_like, op, require
from ..threefry import threefry_words
from ..types import TensorType, int32, int64


@op
class full(Creation):
    """A tensor of `shape` and `dtype` with `value` everywhere."""

    def type(*, value, shape, dtype):
        require(
            isinstance(value, (bool, int, float)), f"full: value must be a number, got {value!r}"
        )
        return TensorType(tuple(shape), dtype)

    def eval(*, value, shape, dtype):
        return np.broadcast_to(np.asarray(value).astype(dtype.numpy), shape)

    def vjp(g, y, **attrs):
        return ()

    def element(k, idx, *, value, shape, dtype):
        return k.const(value, dtype)


@op
class iota(Creation):
    """0, 1, 2, ... along `axis`, constant along the others."""

    differentiable = False

    def type(*, shape, axis, dtype):
        require(0 <= axis < len(shape), f"iota: axis {axis} is not an axis of {tuple(shape)}")
        return TensorType(tuple(shape), dtype)

    def eval(*, shape, axis, dtype):
        line = np.arange(shape[axis]).astype(dtype.numpy)
        return np.broadcast_to(
            line.reshape([-1 if i == axis else 1 for i in range(len(shape))]), shape
        )

    def vjp(g, y, **attrs):
        return ()

    def element(k, idx, *, shape, axis, dtype):
        return k.cast(k.value_of(idx[axis]), dtype)


@op
class random_bits(Elementwise):
    """32 random bits per element, a pure function of the key and the element's linear index.

    `key` is int64[2]: (seed, offset). Threefry-2x32 with 20 rounds (Salmon, Moraes, Dror and Shaw,
    "Parallel random numbers: as easy as 1, 2, 3", SC 2011); element i is the first word of the
    block with counter (i mod 2^32, i div 2^32) under the key words mixed from seed and offset.
    """

    differentiable = False

    def type(key, *, shape):
        require(key == TensorType((2,), int64), f"random_bits: key must be i64[2], got {key}")
        return TensorType(tuple(shape), int32)

    def eval(key, *, shape):
        return threefry_words(key, int(np.prod(shape, dtype=np.int64))).reshape(shape)

    def vjp(g, y, key, *, shape):
        return (None,)

    def element(k, idx, key, *, shape):
        return k.random_bits(key((k.index(0),)), key((k.index(1),)), k.linear(idx, shape))


def full_like(x, value, shape=None, dtype=None):
    """A constant in the world of x (eager or graph), of x's shape and dtype unless given."""
    shape = x.shape if shape is None else shape
    return apply_like(x, full, value=value, shape=tuple(shape), dtype=dtype or x.dtype)


def zeros_like(x):
    return full_like(x, 0)


def iota_like(x, shape, axis, dtype=int64):
    """An index ramp in the world of x."""
    return apply_like(x, iota, shape=tuple(shape), axis=axis, dtype=dtype)
