"""Functions whose result shape depends on values: they need values, so a trace refuses them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..ir import ops
from ..ir import types as dt
from .base import is_tensor, is_traced, wrap_dim
from .promotion import broadcast_shapes, cast, expand_to, reshaped


def known_values(x: Any, name: str) -> np.ndarray:
    """The values of `x`; TraceError while they are not known."""
    if is_traced(x):
        from ..trace_error import trace_error

        raise trace_error(
            f"{name} has a result whose size depends on values, which a static graph cannot have. "
            "Use where(), masked_fill() or a fixed-size selection such as topk() instead."
        )
    return x.numpy_array(name)


def _tensor(array: np.ndarray) -> Any:
    from .creation import from_numpy

    return from_numpy(np.ascontiguousarray(array))


def nonzero(input: Any, *, as_tuple: bool = False, out: Any = None) -> Any:
    """Positions of nonzero elements: int64 (n, rank), or one vector per dim if `as_tuple`."""
    values = known_values(input, "nonzero()")
    found = np.nonzero(values) if values.ndim else np.nonzero(values.reshape(1))
    if as_tuple:
        return tuple(_tensor(i) for i in found)
    columns = np.stack(found, 1) if values.ndim else np.zeros((found[0].size, 0), np.int64)
    return _tensor(columns)


def argwhere(input: Any) -> Any:
    """Positions of nonzero elements, one per row."""
    return nonzero(input)


def masked_select(input: Any, mask: Any, *, out: Any = None) -> Any:
    """The elements of `input` where the broadcast `mask` is True, as a vector."""
    if mask.dtype is not dt.bool_:
        raise RuntimeError("masked_select: expected BoolTensor for mask")
    shape = broadcast_shapes(tuple(input.shape), tuple(mask.shape))
    chosen = np.flatnonzero(np.broadcast_to(known_values(mask, "masked_select()"), shape))
    x = expand_to(input, shape)
    flat = reshaped(x, (x.numel(),))
    return ops.take(flat, _tensor(chosen), axis=0)


def masked_scatter(input: Any, mask: Any, source: Any) -> Any:
    """`input` with the first elements of `source` stored, in order, where `mask` is True."""
    from .scan import cumsum

    shape = broadcast_shapes(tuple(input.shape), tuple(mask.shape))
    x, mask = expand_to(input, shape), expand_to(mask, shape)
    flat = reshaped(mask, (mask.numel(),))
    rank = cumsum(cast(flat, dt.int64), 0) - 1
    rank = rank.clamp(0, max(source.numel() - 1, 0))
    values = ops.take(reshaped(source, (source.numel(),)), rank, axis=0)
    return ops.where(mask, reshaped(values, shape), x)


def unique(
    input: Any, sorted: bool = True, return_inverse: bool = False, return_counts: bool = False,
    dim: int | None = None,
) -> Any:  # fmt: skip
    """The distinct elements (or slices along `dim`) in order; on demand (…, inverse, counts)."""
    values = known_values(input, "unique()")
    found, inverse, counts = np.unique(values, return_inverse=True, return_counts=True, axis=dim)
    inverse = inverse.reshape(values.shape if dim is None else (values.shape[dim],))
    results = [_tensor(found)]
    if return_inverse:
        results.append(_tensor(inverse))
    if return_counts:
        results.append(_tensor(counts))
    return results[0] if len(results) == 1 else tuple(results)


def unique_consecutive(
    input: Any, return_inverse: bool = False, return_counts: bool = False, dim: int | None = None
) -> Any:
    """The flattened elements (or slices along `dim`) without repetitions of the one before."""
    values = known_values(input, "unique_consecutive()")
    axis = 0 if dim is None else wrap_dim(dim, values.ndim)
    values = values.reshape(-1) if dim is None else values
    rows = np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1)
    first = np.ones(len(rows), bool)
    first[1:] = (rows[1:] != rows[:-1]).any(1)
    starts = np.flatnonzero(first)
    results = [_tensor(np.take(values, starts, axis))]
    if return_inverse:
        inverse = np.cumsum(first) - 1
        results.append(_tensor(inverse.reshape(input.shape) if dim is None else inverse))
    if return_counts:
        results.append(_tensor(np.diff(np.append(starts, len(rows)))))
    return results[0] if len(results) == 1 else tuple(results)


def bincount(input: Any, weights: Any = None, minlength: int = 0) -> Any:
    """How often each value 0, 1, 2, ... occurs (or the sum of its weights)."""
    values = known_values(input, "bincount()")
    if values.ndim != 1 or input.dtype.kind == "f" or (values.size and values.min() < 0):
        raise RuntimeError("bincount only supports 1-d non-negative integral inputs.")
    scale = None if weights is None else known_values(weights, "bincount()")
    counts = np.bincount(values, scale, minlength)
    wide = np.float32 if weights is not None and weights.dtype is dt.float32 else counts.dtype
    return _tensor(counts.astype(wide))


def isin(
    elements: Any, test_elements: Any, *, assume_unique: bool = False, invert: bool = False
) -> Any:
    """True where an element is equal to one (`invert`: to none) of `test_elements`.

    One of the two may be a number; `assume_unique` has no effect.
    """
    if not is_tensor(test_elements):
        found = elements == test_elements
    elif not is_tensor(elements):
        found = (test_elements == elements).any()
    else:
        flat = reshaped(test_elements, (test_elements.numel(),))
        found = (elements.unsqueeze(-1) == flat).any(-1)
    return ~found if invert else found
