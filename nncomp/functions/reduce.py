"""Reductions over dims: sums, products, extremes, truth."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..ir import DType, ops
from ..ir import types as dt
from .autocasting import full_precision
from .base import constant, like, no_out, numpy_names, reduced_axes, wrap_dim
from .promotion import cast


class max_result(NamedTuple):
    """Values and where they were found."""

    values: Any
    indices: Any


class min_result(NamedTuple):
    """Values and where they were found."""

    values: Any
    indices: Any


def kept(result: Any, shape: tuple[int, ...], axes: tuple[int, ...], keepdim: bool) -> Any:
    """A reduced result, with the reduced axes back as length 1 if `keepdim`."""
    if not keepdim or not axes:
        return result
    return ops.reshape(result, shape=tuple(1 if i in axes else n for i, n in enumerate(shape)))


def _count(shape: tuple[int, ...], axes: tuple[int, ...]) -> int:
    count = 1
    for a in axes:
        count *= shape[a]
    return count


def _accumulated(input: Any, dtype: DType | None) -> Any:
    """`input` in the dtype in which it is summed: bools and integers as int64."""
    if dtype is None:
        dtype = input.dtype if input.dtype.kind == "f" else dt.int64
    return cast(input, dtype)


@numpy_names
def sum(
    input: Any, dim: Any = None, keepdim: bool = False, *, dtype: DType | None = None,
    out: Any = None,
) -> Any:  # fmt: skip
    """Sum over `dim` (all dims if None); integers and bools give int64."""
    no_out("sum", out)
    x = _accumulated(input, dtype)
    axes = reduced_axes(dim, len(x.shape))
    if x.dtype is dt.bool_:
        return any(x, dim, keepdim)
    return kept(ops.sum(x, axes=axes), x.shape, axes, keepdim)


@numpy_names
def mean(
    input: Any, dim: Any = None, keepdim: bool = False, *, dtype: DType | None = None,
    out: Any = None,
) -> Any:  # fmt: skip
    """Mean over `dim` (all dims if None) of floats."""
    no_out("mean", out)
    x = input if dtype is None else cast(input, dtype)
    if x.dtype.kind != "f":
        raise RuntimeError(
            "mean(): could not infer output dtype. Input dtype must be either a floating point or "
            f"complex dtype. Got: {x.dtype.name}"
        )
    axes = reduced_axes(dim, len(x.shape))
    total = ops.sum(x, axes=axes)
    return kept(ops.div(total, like(total, _count(x.shape, axes))), x.shape, axes, keepdim)


@numpy_names
def nansum(input: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
    """Sum that counts nan as 0."""
    clean = ops.where(ops.eq(input, input), input, like(input, 0))
    return sum(clean, dim, keepdim, dtype=dtype)


@full_precision
@numpy_names
def prod(
    input: Any, dim: int | None = None, keepdim: bool = False, *, dtype: DType | None = None
) -> Any:
    """Product over one dim or over all; integers and bools give int64."""
    x = _accumulated(input, dtype)
    axes = reduced_axes(dim, len(x.shape))
    return kept(ops.prod(x, axes=axes), x.shape, axes, keepdim)


def mirror(x: Any) -> Any:
    """A value-reversing map: -x, or for integers and bools ~x, which cannot overflow."""
    if x.dtype.kind == "f":
        return ops.neg(x)
    return ops.bitwise_xor(x, like(x, True if x.dtype is dt.bool_ else -1))


def _check_not_empty(name: str, x: Any, axes: tuple[int, ...]) -> None:
    for a in axes:
        if x.shape[a] == 0:
            raise IndexError(f"{name}(): Expected reduction dim {a} to have non-zero size.")


@numpy_names
def amax(input: Any, dim: Any = (), keepdim: bool = False, *, out: Any = None) -> Any:
    """Largest element over `dim`; equal ones share the gradient."""
    no_out("amax", out)
    axes = reduced_axes(dim, len(input.shape))
    _check_not_empty("amax", input, axes)
    return kept(ops.amax(input, axes=axes), input.shape, axes, keepdim)


@numpy_names
def amin(input: Any, dim: Any = (), keepdim: bool = False, *, out: Any = None) -> Any:
    """Smallest element over `dim`; equal ones share the gradient."""
    no_out("amin", out)
    axes = reduced_axes(dim, len(input.shape))
    _check_not_empty("amin", input, axes)
    return kept(mirror(ops.amax(mirror(input), axes=axes)), input.shape, axes, keepdim)


def aminmax(input: Any, *, dim: int | None = None, keepdim: bool = False) -> Any:
    """(amin, amax) over `dim`."""
    return aminmax_result(amin(input, dim, keepdim), amax(input, dim, keepdim))


class aminmax_result(NamedTuple):
    """Smallest and largest elements."""

    min: Any
    max: Any


@numpy_names
def argmax(input: Any, dim: int | None = None, keepdim: bool = False) -> Any:
    """Index of the largest element along `dim`, or in the flattened tensor if None."""
    return _arg("argmax", input, dim, keepdim, lambda x: x)


@numpy_names
def argmin(input: Any, dim: int | None = None, keepdim: bool = False) -> Any:
    """Index of the smallest element along `dim`, or in the flattened tensor if None."""
    return _arg("argmin", input, dim, keepdim, mirror)


def _arg(name: str, input: Any, dim: int | None, keepdim: bool, order: Any) -> Any:
    shape = tuple(input.shape)
    if dim is None:
        if input.numel() == 0:
            raise IndexError(
                f"{name}(): Expected reduction dim to be specified for input.numel() == 0."
            )
        x = ops.reshape(order(input), shape=(input.numel(),))
        return kept(ops.argmax(x, axis=0), shape, tuple(range(len(shape))), keepdim)
    axis = wrap_dim(dim, len(shape))
    if not shape:
        return constant(0, (), dt.int64)
    _check_not_empty(name, input, (axis,))
    return kept(ops.argmax(order(input), axis=axis), shape, (axis,), keepdim)


def _extreme(
    name: str, input: Any, dim: Any, keepdim: bool, whole: Any, arg: Any, pair: Any
) -> Any:
    """max() and min(): of everything, of two tensors, or (values, indices) along a dim."""
    from .gathering import gather

    if dim is None:
        if input.numel() == 0:
            raise RuntimeError(
                f"{name}(): Expected reduction dim to be specified for input.numel() == 0. Specify "
                "the reduction dim with the 'dim' argument."
            )
        return whole(input)
    index = arg(input, dim, True)
    values = gather(input, dim, index) if input.shape else input.clone()
    axis = wrap_dim(dim, len(input.shape))
    if not keepdim and input.shape:
        shape = tuple(n for i, n in enumerate(input.shape) if i != axis)
        values, index = ops.reshape(values, shape=shape), ops.reshape(index, shape=shape)
    return pair(values, index)


@numpy_names
def max(input: Any, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
    """max(x), max(x, other), or (values, indices) along a dim; the gradient goes to the index."""
    from .selection import maximum

    if other is not None or hasattr(dim, "type_"):
        return maximum(input, dim if other is None else other)
    return _extreme("max", input, dim, keepdim, amax, argmax, max_result)


@numpy_names
def min(input: Any, dim: Any = None, keepdim: bool = False, *, other: Any = None) -> Any:
    """min(x), min(x, other), or (values, indices) along a dim; the gradient goes to the index."""
    from .selection import minimum

    if other is not None or hasattr(dim, "type_"):
        return minimum(input, dim if other is None else other)
    return _extreme("min", input, dim, keepdim, amin, argmin, min_result)


@numpy_names
def any(input: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """True if an element is nonzero; uint8 stays uint8."""
    return _truth(input, dim, keepdim, False, lambda x: x)


@numpy_names
def all(input: Any, dim: Any = None, keepdim: bool = False) -> Any:
    """True if all elements are nonzero; uint8 stays uint8."""
    return _truth(input, dim, keepdim, True, mirror)


def _truth(input: Any, dim: Any, keepdim: bool, empty: bool, order: Any) -> Any:
    axes = reduced_axes(dim, len(input.shape))
    x = order(cast(input, dt.bool_))
    if _count(input.shape, axes) == 0:
        shape = tuple(n for i, n in enumerate(input.shape) if i not in axes)
        result = constant(empty, shape, dt.bool_)
    else:
        result = order(ops.amax(x, axes=axes)) if axes else order(x)
    result = kept(result, input.shape, axes, keepdim)
    return cast(result, dt.uint8) if input.dtype is dt.uint8 else result


@numpy_names
def count_nonzero(input: Any, dim: Any = None) -> Any:
    """Number of nonzero elements over `dim`, as int64."""
    return sum(cast(cast(input, dt.bool_), dt.int64), dim)
