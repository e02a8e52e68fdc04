"""More names for parts of a tensor, copies of views, and views that are written: *_scatter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..ir import ops
from . import views
from .base import wrap_dim
from .creation import from_numpy
from .promotion import reshaped


def _by_rank(name: str, input: Any, least: int, parts: Any, dim: int) -> tuple:
    if len(input.shape) < least:
        raise RuntimeError(
            f"torch.{name} requires a tensor with at least {least} dimension, but got a tensor "
            f"with {len(input.shape)} dimensions!"
        )
    if isinstance(parts, int) and (parts == 0 or input.shape[dim] % parts):
        raise RuntimeError(
            f"torch.{name} attempted to split along dimension {dim}, but the size of the dimension "
            f"{input.shape[dim]} is not divisible by the split_size {parts}!"
        )
    return views.tensor_split(input, parts, dim)


def hsplit(input: Any, indices_or_sections: Any) -> tuple:
    """Parts along dim 1 (dim 0 for vectors)."""
    return _by_rank("hsplit", input, 1, indices_or_sections, 0 if len(input.shape) == 1 else 1)


def vsplit(input: Any, indices_or_sections: Any) -> tuple:
    """Parts along dim 0."""
    return _by_rank("vsplit", input, 2, indices_or_sections, 0)


def dsplit(input: Any, indices_or_sections: Any) -> tuple:
    """Parts along dim 2."""
    return _by_rank("dsplit", input, 3, indices_or_sections, 2)


def split_with_sizes(input: Any, split_sizes: Sequence[int], dim: int = 0) -> tuple:
    """Parts of the listed sizes along `dim`."""
    return views.split(input, list(split_sizes), dim)


def _copied(function: Callable) -> Callable:
    """A view function whose result has memory of its own."""

    def copy(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        return tuple(x.clone() for x in result) if isinstance(result, tuple) else result.clone()

    copy.__name__ = copy.__qualname__ = f"{function.__name__}_copy"
    copy.__doc__ = f"A copy of {function.__name__}(...)."
    return copy


diagonal_copy = _copied(views.diagonal)
expand_copy = _copied(views.expand)
narrow_copy = _copied(views.narrow)
permute_copy = _copied(views.permute)
select_copy = _copied(views.select)
split_copy = _copied(views.split)
split_with_sizes_copy = _copied(split_with_sizes)
squeeze_copy = _copied(views.squeeze)
t_copy = _copied(views.t)
transpose_copy = _copied(views.transpose)
unbind_copy = _copied(views.unbind)
unfold_copy = _copied(views.unfold)
unsqueeze_copy = _copied(views.unsqueeze)
view_copy = _copied(views.view)
unsafe_chunk, unsafe_split, unsafe_split_with_sizes = views.chunk, views.split, split_with_sizes


def _written(input: Any, part: Callable, src: Any) -> Any:
    """A copy of `input` with `src` stored in the view `part(copy)`."""
    result = input.clone()
    place = part(result)
    if place.shape != src.shape:
        raise RuntimeError(
            f"expected src to have a size equal to the slice of self. src size = {list(src.shape)},"
            f" slice size = {list(place.shape)}"
        )
    place.copy_(src)
    return result


def select_scatter(input: Any, src: Any, dim: int, index: int) -> Any:
    """`input` with `src` as its slice `index` along `dim`."""
    return _written(input, lambda x: views.select(x, dim, index), src)


def slice_scatter(
    input: Any, src: Any, dim: int = 0, start: int | None = None, end: int | None = None,
    step: int = 1,
) -> Any:  # fmt: skip
    """`input` with `src` as its slice start:end:step along `dim`."""
    axis = wrap_dim(dim, len(input.shape))
    low, high, _ = slice(start, end).indices(input.shape[axis])

    def part(x: Any) -> Any:
        return views.slice_along(x, axis, low, max(low, high), step)

    return _written(input, part, src)


def diagonal_scatter(
    input: Any, src: Any, offset: int = 0, dim1: int = 0, dim2: int = 1
) -> Any:
    """`input` with `src` as its diagonal."""
    return _written(input, lambda x: views.diagonal(x, offset, dim1, dim2), src)


# -- strides --------------------------------------------------------------------------------------


def _strided_positions(
    input: Any, size: Sequence[int], stride: Sequence[int], storage_offset: int | None
) -> np.ndarray:
    """The places in the memory of a contiguous tensor that a strided one reads."""
    if len(size) != len(stride):
        raise RuntimeError("mismatch in length of strides and shape")
    if not input.is_contiguous():
        raise RuntimeError(
            "as_strided() reads the memory of a contiguous tensor only; call contiguous() first"
        )
    places = np.full(tuple(size), storage_offset or 0, np.int64)
    for axis, (n, step) in enumerate(zip(size, stride, strict=True)):
        shape = [1] * len(size)
        shape[axis] = n
        places = places + (np.arange(n) * step).reshape(shape)
    if places.size and (places.min() < 0 or places.max() >= input.numel()):
        raise RuntimeError(
            f"setStorage: sizes {list(size)}, strides {list(stride)}, storage offset "
            f"{storage_offset or 0} are out of bounds for storage of {input.numel()} elements"
        )
    return places


def as_strided(
    input: Any, size: Sequence[int], stride: Sequence[int], storage_offset: int | None = None
) -> Any:
    """The elements at offset + sum of index * stride of a contiguous tensor; a copy, not a view."""
    places = _strided_positions(input, size, stride, storage_offset)
    flat = reshaped(input, (input.numel(),))
    return ops.take(flat, from_numpy(np.ascontiguousarray(places)), axis=0)


def as_strided_scatter(
    input: Any, src: Any, size: Sequence[int], stride: Sequence[int],
    storage_offset: int | None = None,
) -> Any:  # fmt: skip
    """`input` with `src` stored where as_strided() reads."""
    places = _strided_positions(input, size, stride, storage_offset)
    flat = reshaped(input, (input.numel(),))
    index = from_numpy(np.ascontiguousarray(places.reshape(-1)))
    written = ops.index_put(flat, index, reshaped(src, (places.size,)), axis=0)
    return reshaped(written, tuple(input.shape))


def sum_to_size(input: Any, *size: Any) -> Any:
    """Summed over the dims that broadcasting `size` to this shape repeats."""
    from .base import shape_argument

    shape, own = shape_argument(size), tuple(input.shape)
    extra = len(own) - len(shape)
    fits = extra >= 0 and all(
        n in (1, m) for n, m in zip(shape, own[extra:], strict=True)
    )
    if not fits:
        raise RuntimeError(
            f"size {{{list(shape)}}} is not expandable to size {{{list(own)}}}."
        )
    axes = (*range(extra), *(i + extra for i, n in enumerate(shape) if n == 1 != own[i + extra]))
    return reshaped(ops.sum(input, axes=axes), shape) if axes else reshaped(input, shape)
