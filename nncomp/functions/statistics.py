"""Variance, norms, and the softmax family.

softmax subtracts the row maximum as a constant (`detach`): the result does not depend on it, so the
gradient needs no term for it.
"""

from __future__ import annotations

import math
from typing import Any

from ..ir import DType, ops
from ..ir import types as dt
from .base import like, no_out, numpy_names, reduced_axes, wrap_dim
from .promotion import cast
from .reduce import amax, amin, kept, mean, sum


def _count(x: Any, axes: tuple[int, ...]) -> int:
    return math.prod(x.shape[a] for a in axes)


def _spread(input: Any, dim: Any, keepdim: bool, correction: float) -> tuple:
    """(variance, mean) over `dim`."""
    if input.dtype.kind != "f":
        raise RuntimeError("std and var only support floating point and complex dtypes")
    axes = reduced_axes(dim, len(input.shape))
    count = _count(input, axes)
    middle = mean(input, axes, keepdim=True) if axes else input
    shape = tuple(input.shape)
    away = ops.sub(input, middle if middle.shape == shape else ops.expand(middle, shape=shape))
    total = ops.sum(ops.mul(away, away), axes=axes)
    variance = ops.div(total, like(total, max(count - correction, 0)))
    if not keepdim and axes:
        middle = ops.reshape(middle, shape=tuple(variance.shape))
    return kept(variance, shape, axes, keepdim), middle


def _arguments(dim: Any, unbiased: Any, correction: Any) -> tuple[Any, float]:
    """(dim, correction) also from the old forms f(unbiased) and f(dim, unbiased)."""
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    if correction is None:
        correction = 1 if unbiased is None else int(unbiased)
    return dim, correction


@numpy_names
def var(
    input: Any, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *,
    correction: float | None = None,
) -> Any:  # fmt: skip
    """Sum of squared distances from the mean over `dim`, divided by count - correction (1)."""
    dim, correction = _arguments(dim, unbiased, correction)
    return _spread(input, dim, keepdim, correction)[0]


@numpy_names
def std(
    input: Any, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *,
    correction: float | None = None,
) -> Any:  # fmt: skip
    """Square root of var; its gradient is 0 where it is 0."""
    return _root(var(input, dim, unbiased, keepdim, correction=correction))


@numpy_names
def var_mean(
    input: Any, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *,
    correction: float | None = None,
) -> tuple:  # fmt: skip
    """(var, mean) over `dim`."""
    dim, correction = _arguments(dim, unbiased, correction)
    return _spread(input, dim, keepdim, correction)


@numpy_names
def std_mean(
    input: Any, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *,
    correction: float | None = None,
) -> tuple:  # fmt: skip
    """(std, mean) over `dim`."""
    variance, middle = var_mean(input, dim, unbiased, keepdim, correction=correction)
    return _root(variance), middle


def _root(x: Any) -> Any:
    """sqrt(x) with gradient 0 instead of infinity at 0."""
    zero = like(x, 0.0)
    flat = ops.eq(x, zero)
    return ops.where(flat, zero, ops.sqrt(ops.where(flat, like(x, 1.0), x)))


@numpy_names
def norm(
    input: Any, p: float | str | None = "fro", dim: Any = None, keepdim: bool = False,
    out: Any = None, dtype: DType | None = None,
) -> Any:  # fmt: skip
    """The p-norm of the elements over `dim` (all dims if None); "fro" and None mean 2."""
    no_out("norm", out)
    if p == "nuc":
        raise NotImplementedError("norm(): the nuclear norm needs a singular value decomposition, "
                                  "which is not available; p may be 'fro' or a number")  # fmt: skip
    x = input if dtype is None else cast(input, dtype)
    if x.dtype.kind != "f":
        raise RuntimeError(
            "linalg.vector_norm: Expected a floating point or complex tensor as input. Got "
            f"{x.dtype.name}"
        )
    if p is None or p == "fro":
        p = 2.0
    if isinstance(p, str):
        raise RuntimeError(f"norm(): expected p to be 'fro' or a number, got {p!r}")
    return vector_norm(x, float(p), dim, keepdim)


def vector_norm(x: Any, ord: float = 2.0, dim: Any = None, keepdim: bool = False) -> Any:
    """(sum |x|^ord)^(1/ord) over `dim`; inf and -inf give the extreme |x|, 0 counts nonzeros."""
    if ord == 2.0:
        return _root(sum(ops.mul(x, x), dim, keepdim))
    size = ops.abs(x)
    if ord == math.inf:
        return amax(size, dim, keepdim)
    if ord == -math.inf:
        return amin(size, dim, keepdim)
    if ord == 0.0:
        return sum(cast(cast(x, dt.bool_), x.dtype), dim, keepdim)
    if ord == 1.0:
        return sum(size, dim, keepdim)
    zero = like(size, 0.0)
    flat = ops.eq(size, zero)
    power = ops.pow(ops.where(flat, like(size, 1.0), size), like(size, ord))
    total = sum(ops.where(flat, zero if ord > 0 else like(size, math.inf), power), dim, keepdim)
    empty = ops.eq(total, like(total, 0.0))
    safe = ops.where(empty, like(total, 1.0), total)
    return ops.where(empty, like(total, 0.0), ops.pow(safe, like(total, 1.0 / ord)))


def dist(input: Any, other: Any, p: float = 2.0) -> Any:
    """The p-norm of input - other."""
    return norm(input - other, p)


def _row_maximum(x: Any, axes: tuple[int, ...]) -> Any:
    return ops.detach(kept(ops.amax(x, axes=axes), x.shape, axes, True))


@numpy_names
def logsumexp(input: Any, dim: Any, keepdim: bool = False, *, out: Any = None) -> Any:
    """log of the sum of exponentials over `dim`, without overflow."""
    no_out("logsumexp", out)
    from .promotion import as_float

    x = as_float(input)
    axes = reduced_axes(dim, len(x.shape))
    top = _row_maximum(x, axes)
    infinite = ops.eq(ops.abs(top), like(top, math.inf))
    top = ops.where(infinite, like(top, 0.0), top)
    shape = tuple(x.shape)
    spread = ops.exp(ops.sub(x, ops.expand(top, shape=shape)))
    total = ops.log(ops.sum(spread, axes=axes))
    result = ops.add(total, ops.reshape(top, shape=tuple(total.shape)))
    return kept(result, shape, axes, keepdim)


def _softmax_input(name: str, input: Any, dim: int, dtype: DType | None) -> tuple:
    x = input if dtype is None else cast(input, dtype)
    if x.dtype.kind != "f":
        raise NotImplementedError(
            f'"{name}" not implemented for {x.dtype.name}; give it floats or set dtype='
        )
    axis = wrap_dim(dim, len(x.shape))
    return (x, (axis,)) if x.shape else (ops.reshape(x, shape=(1,)), (0,))


def _away_from_maximum(x: Any, axes: tuple[int, ...]) -> Any:
    return ops.sub(x, ops.expand(_row_maximum(x, axes), shape=tuple(x.shape)))


def softmax(input: Any, dim: int, dtype: DType | None = None) -> Any:
    """exp(x) divided by its sum along `dim`."""
    x, axes = _softmax_input("softmax", input, dim, dtype)
    if x.numel() == 0:
        return x
    spread = ops.exp(_away_from_maximum(x, axes))
    total = kept(ops.sum(spread, axes=axes), x.shape, axes, True)
    result = ops.div(spread, ops.expand(total, shape=tuple(x.shape)))
    return result if input.shape else ops.reshape(result, shape=())


def log_softmax(input: Any, dim: int, dtype: DType | None = None) -> Any:
    """log(softmax(x)) along `dim`, without loss of accuracy."""
    x, axes = _softmax_input("log_softmax", input, dim, dtype)
    if x.numel() == 0:
        return x
    away = _away_from_maximum(x, axes)
    total = kept(ops.log(ops.sum(ops.exp(away), axes=axes)), x.shape, axes, True)
    result = ops.sub(away, ops.expand(total, shape=tuple(x.shape)))
    return result if input.shape else ops.reshape(result, shape=())


def cosine_similarity(x1: Any, x2: Any, dim: int = 1, eps: float = 1e-8) -> Any:
    """x1 . x2 / (max(|x1|, eps) max(|x2|, eps)) along `dim`."""
    from .promotion import float_operands
    from .selection import clamp_min

    a, b = float_operands(x1, x2)
    lengths = [clamp_min(vector_norm(x, 2.0, dim, keepdim=True), eps) for x in (a, b)]
    return sum((a / lengths[0]) * (b / lengths[1]), dim)
