"""What `autocast` does to the operands of functions: the casts, and where they are remembered.

Functions that the lists of torch's CPU autocast name pass their operands through `lowered` (matrix
products, convolutions) or `in_float32` (losses and other sums that need it). All others keep the
dtypes they are given, by the usual promotion. Without autocast nothing is touched.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from ..autograd.modes import state
from ..ir import DType
from ..ir import types as dt
from .base import is_tensor
from .promotion import cast


def lowered(*operands: Any) -> tuple:
    """The operands in the dtype of autocast, if it is on: floats but float64, nothing else."""
    dtype = state.autocast
    if dtype is None:
        return operands
    return tuple(_lowered(x, dtype) if _eligible(x, dtype) else x for x in operands)


def in_float32(*operands: Any) -> tuple:
    """The operands in float32, if autocast is on: floats but float64, nothing else."""
    if state.autocast is None:
        return operands
    return tuple(cast(x, dt.float32) if _eligible(x, dt.float32) else x for x in operands)


def promoted(*operands: Any) -> tuple:
    """The operands in the widest of their dtypes, if autocast is on and all are floats."""
    if state.autocast is None or not all(is_tensor(x) and x.dtype.kind == "f" for x in operands):
        return operands
    widest = functools.reduce(dt.promote, (x.dtype for x in operands))
    return tuple(cast(x, widest) for x in operands)


def full_precision(function: Callable) -> Callable:
    """Let a function get float32 operands and run without autocast, where autocast is on."""

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        dtype = state.autocast
        if dtype is None:
            return function(*args, **kwargs)
        args = in_float32(*args)
        kwargs = dict(zip(kwargs, in_float32(*kwargs.values()), strict=True))
        state.autocast = None
        try:
            return function(*args, **kwargs)
        finally:
            state.autocast = dtype

    return wrapped


def as_given(function: Callable) -> Callable:
    """Let a function run without autocast: its products are no products that torch has."""

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        dtype = state.autocast
        if dtype is None:
            return function(*args, **kwargs)
        state.autocast = None
        try:
            return function(*args, **kwargs)
        finally:
            state.autocast = dtype

    return wrapped


def _eligible(x: Any, dtype: DType) -> bool:
    return is_tensor(x) and x.dtype.kind == "f" and x.dtype not in (dtype, dt.float64)


def _lowered(x: Any, dtype: DType) -> Any:
    """`x` in a smaller dtype; that of a parameter is kept until autocast ends or it is written."""
    cache = state.autocast_cache
    if cache is None or x.dtype is not dt.float32 or not (x.requires_grad and x.is_leaf):
        return cast(x, dtype)
    tracer = state.tracer
    if tracer is not None:
        version: Any = tracer.node_of(x)
    elif x._storage is not None and x._storage.exposed:
        return cast(x, dtype)
    else:
        writes = x._storage.writes if x._storage is not None else 0
        version = (x._version, writes, id(x._data))
    key = (id(x), id(tracer), dtype, state.grad_enabled)
    held = cache.get(key)
    if held is None or held[1] != version:
        cache[key] = held = (cast(x, dtype), version, x, tracer)  # the latter two keep their ids
    return held[0]


__all__ = ["as_given", "full_precision", "in_float32", "lowered", "promoted"]
