"""Joining tensors and repeating them."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

from ..ir import ops
from .base import is_tensor, no_out, numpy_names, shape_argument, wrap_dim
from .promotion import broadcast_shapes, cast, result_type
from .views import expand, flatten, reshape, unsqueeze


@numpy_names
def cat(tensors: Sequence[Any], dim: int = 0, *, out: Any = None) -> Any:
    """Tensors one after the other along `dim`; dtypes are promoted."""
    no_out("cat", out)
    tensors = tuple(tensors)
    if not tensors:
        raise ValueError("torch.cat(): expected a non-empty list of Tensors")
    for i, x in enumerate(tensors):
        if not is_tensor(x):
            raise TypeError(
                f"expected Tensor as element {i} in argument 0, but got {type(x).__name__}"
            )
    dtype = result_type(*tensors)
    parts = [x for x in tensors if tuple(x.shape) != (0,)] or list(tensors[:1])
    rank = len(parts[0].shape)
    if rank == 0:
        raise RuntimeError("zero-dimensional tensor (at position 0) cannot be concatenated")
    axis = wrap_dim(dim, rank)
    _check_fit(parts, axis)
    return ops.concat(*(cast(x, dtype) for x in parts), axis=axis)


def _check_fit(parts: Sequence[Any], axis: int) -> None:
    first = parts[0].shape
    for number, x in enumerate(parts):
        if len(x.shape) != len(first):
            raise RuntimeError(
                f"Tensors must have same number of dimensions: got {len(first)} and {len(x.shape)}"
            )
        for i, (n, m) in enumerate(zip(first, x.shape, strict=True)):
            if i != axis and n != m:
                raise RuntimeError(
                    f"Sizes of tensors must match except in dimension {axis}. Expected size {n} "
                    f"but got size {m} for tensor number {number} in the list."
                )


@numpy_names
def stack(tensors: Sequence[Any], dim: int = 0, *, out: Any = None) -> Any:
    """Tensors of one shape along a new dim."""
    no_out("stack", out)
    tensors = tuple(tensors)
    if not tensors:
        raise RuntimeError("stack expects a non-empty TensorList")
    for i, x in enumerate(tensors):
        if x.shape != tensors[0].shape:
            raise RuntimeError(
                f"stack expects each tensor to be equal size, but got {list(tensors[0].shape)} at "
                f"entry 0 and {list(x.shape)} at entry {i}"
            )
    axis = wrap_dim(dim, len(tensors[0].shape) + 1)
    return cat([unsqueeze(x, axis) for x in tensors], axis)


def _at_least(x: Any, rank: int) -> Any:
    """`x` with dims of length 1 as torch.atleast_*d adds them."""
    shape = tuple(x.shape)
    if len(shape) >= rank:
        return x
    if rank == 1:
        return reshape(x, 1)
    if rank == 2:
        return reshape(x, 1, -1)
    return reshape(x, 1, -1, 1) if len(shape) < 2 else unsqueeze(x, 2)


def _at_least_all(tensors: tuple, rank: int) -> Any:
    if len(tensors) == 1 and is_tensor(tensors[0]):
        return _at_least(tensors[0], rank)
    listed = tensors[0] if len(tensors) == 1 else tensors
    return tuple(_at_least(x, rank) for x in listed)


def atleast_1d(*tensors: Any) -> Any:
    """Tensors with at least one dim."""
    return _at_least_all(tensors, 1)


def atleast_2d(*tensors: Any) -> Any:
    """Tensors with at least two dims."""
    return _at_least_all(tensors, 2)


def atleast_3d(*tensors: Any) -> Any:
    """Tensors with at least three dims."""
    return _at_least_all(tensors, 3)


def hstack(tensors: Sequence[Any]) -> Any:
    """Joined along dim 1 (dim 0 for vectors)."""
    parts = [_at_least(x, 1) for x in tensors]
    return cat(parts, 0 if len(parts[0].shape) == 1 else 1)


def vstack(tensors: Sequence[Any]) -> Any:
    """Joined along dim 0, vectors as rows."""
    return cat([_at_least(x, 2) for x in tensors], 0)


def dstack(tensors: Sequence[Any]) -> Any:
    """Joined along dim 2."""
    return cat([_at_least(x, 3) for x in tensors], 2)


def column_stack(tensors: Sequence[Any]) -> Any:
    """Joined along dim 1, vectors as columns."""
    return cat([reshape(x, -1, 1) if len(x.shape) < 2 else x for x in tensors], 1)


def repeat(input: Any, *sizes: Any) -> Any:
    """The whole tensor repeated sizes[i] times along dim i."""
    counts = shape_argument(sizes)
    shape = tuple(input.shape)
    if len(counts) < len(shape):
        raise RuntimeError(
            "Number of dimensions of repeat dims can not be smaller than number of dimensions of "
            "tensor"
        )
    shape = (1,) * (len(counts) - len(shape)) + shape
    if any(n < 0 for n in counts):
        raise RuntimeError(f"repeat counts must not be negative, got {list(counts)}")
    if all(n == 1 for n in counts):
        return ops.reshape(input, shape=shape).clone()
    paired = [m for n in shape for m in (1, n)]
    full = [m for c, n in zip(counts, shape, strict=True) for m in (c, n)]
    x = ops.expand(ops.reshape(input, shape=tuple(paired)), shape=tuple(full))
    return ops.reshape(x, shape=tuple(c * n for c, n in zip(counts, shape, strict=True)))


def tile(input: Any, *dims: Any) -> Any:
    """repeat() with missing counts taken as 1."""
    counts = shape_argument(dims)
    return repeat(input, (1,) * (len(input.shape) - len(counts)) + counts)


def repeat_interleave(
    input: Any, repeats: Any, dim: int | None = None, *, output_size: int | None = None
) -> Any:
    """Each element repeated `repeats` times along `dim` (flattened if None).

    `repeats` may be a tensor of counts, whose values must be known (not traced).
    """
    if dim is None:
        input, dim = flatten(input), 0
    axis = wrap_dim(dim, len(input.shape))
    if is_tensor(repeats):
        return _repeat_by_counts(input, repeats, axis)
    shape, count = tuple(input.shape), operator.index(repeats)
    if count < 0:
        raise RuntimeError(f"repeats has to be non-negative, got {count}")
    x = ops.reshape(input, shape=(*shape[: axis + 1], 1, *shape[axis + 1 :]))
    x = ops.expand(x, shape=(*shape[: axis + 1], count, *shape[axis + 1 :]))
    return ops.reshape(x, shape=(*shape[:axis], shape[axis] * count, *shape[axis + 1 :]))


def _repeat_by_counts(input: Any, repeats: Any, axis: int) -> Any:
    import numpy as np

    from .creation import from_numpy
    from .masks import known_values

    counts = known_values(repeats, "repeat_interleave")
    if counts.size not in (1, input.shape[axis]):
        raise RuntimeError(
            f"repeats must have the same size as input along dim, but got repeats.size(0) = "
            f"{counts.size} and input.size({axis}) = {input.shape[axis]}"
        )
    counts = np.broadcast_to(counts.reshape(-1), (input.shape[axis],))
    index = np.repeat(np.arange(input.shape[axis]), counts)
    return ops.take(input, from_numpy(index), axis=axis)


def broadcast_tensors(*tensors: Any) -> tuple:
    """All tensors expanded to the shape to which they broadcast."""
    if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)):
        tensors = tuple(tensors[0])
    shape = broadcast_shapes(*(tuple(x.shape) for x in tensors))
    return tuple(expand(x, shape) for x in tensors)


def meshgrid(*tensors: Any, indexing: str = "ij") -> tuple:
    """Coordinate grids from vectors; indexing "xy" exchanges the first two dims."""
    if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)):
        tensors = tuple(tensors[0])
    if indexing not in ("ij", "xy"):
        raise RuntimeError(
            f'torch.meshgrid: indexing must be one of "xy" or "ij", but received: {indexing}'
        )
    if indexing == "xy" and len(tensors) > 1:
        grids = list(meshgrid(tensors[1], tensors[0], *tensors[2:]))
        grids[0], grids[1] = grids[1], grids[0]
        return tuple(grids)
    lengths = tuple(x.numel() for x in tensors)
    rank = len(tensors)
    return tuple(
        expand(reshape(x, [-1 if j == i else 1 for j in range(rank)]), lengths)
        for i, x in enumerate(tensors)
    )


def cartesian_prod(*tensors: Any) -> Any:
    """All combinations of the elements of vectors, one per row."""
    if len(tensors) == 1:
        return tensors[0]
    return stack([flatten(x) for x in meshgrid(*tensors)], 1)


def block_diag(*tensors: Any) -> Any:
    """Matrices along the diagonal of a matrix of zeros."""
    from .rearrange import constant_pad_nd

    parts = [_at_least(x, 2) for x in tensors]
    width, left, rows = sum(x.shape[1] for x in parts), 0, []
    for x in parts:
        rows.append(constant_pad_nd(x, (left, width - left - x.shape[1])))
        left += x.shape[1]
    return cat(rows, 0)
