"""Reordering, padding and triangles: results are new tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..ir import ops
from ..ir import types as dt
from .base import constant, create, like, shape_argument, to_kind, wrap_dim
from .views import diagonal, flatten


def flip(input: Any, *dims: Any) -> Any:
    """Elements in reverse order along `dims`."""
    axes = tuple(sorted(wrap_dim(d, len(input.shape)) for d in shape_argument(dims)))
    if len(set(axes)) != len(axes):
        raise RuntimeError(f"dim {axes[0]} appears multiple times in the list of dims")
    return ops.flip(input, axes=axes) if axes and input.shape else input.clone()


def fliplr(input: Any) -> Any:
    """Columns in reverse order."""
    return flip(input, (1,))


def flipud(input: Any) -> Any:
    """Rows in reverse order."""
    return flip(input, (0,))


def rot90(input: Any, k: int = 1, dims: Sequence[int] = (0, 1)) -> Any:
    """`k` turns by 90 degrees from the first to the second of `dims`."""
    from .views import transpose

    a, b = dims
    if k % 4 == 0:
        return input.clone()
    if k % 4 == 2:
        return flip(input, (a, b))
    return transpose(flip(input, (b,)), a, b) if k % 4 == 1 else flip(transpose(input, a, b), (b,))


def _cut(x: Any, axis: int, start: int, stop: int) -> Any:
    return ops.slice(
        x,
        start=tuple(start if i == axis else 0 for i in range(len(x.shape))),
        stop=tuple(stop if i == axis else n for i, n in enumerate(x.shape)),
        step=(1,) * len(x.shape),
    )


def roll(input: Any, shifts: Any, dims: Any = None) -> Any:
    """Elements shifted around along `dims` (of the flattened tensor if None)."""
    if dims is None or dims == ():
        flat = roll(flatten(input), shifts if isinstance(shifts, int) else shifts[0], 0)
        return ops.reshape(flat, shape=tuple(input.shape))
    shifts = (shifts,) if isinstance(shifts, int) else tuple(shifts)
    dims = (dims,) if isinstance(dims, int) else tuple(dims)
    if len(shifts) != len(dims):
        raise RuntimeError(
            f"shifts and dimensions must align. shifts: {len(shifts)}, dims:{len(dims)}"
        )
    x = input
    for shift, dim in zip(shifts, dims, strict=True):
        axis = wrap_dim(dim, len(x.shape))
        n = x.shape[axis] if x.shape else 0
        at = -shift % n if n else 0
        if at:
            x = ops.concat(_cut(x, axis, at, n), _cut(x, axis, 0, at), axis=axis)
    return x if x is not input else input.clone()


def _column_minus_row(shape: tuple[int, ...]) -> Any:
    """column - row at each place of the last two dims."""
    rank = len(shape)
    ramps = [create(ops.iota, shape=shape, axis=rank - k, dtype=dt.int64) for k in (1, 2)]
    return ops.sub(*ramps)


def _check_matrix(name: str, input: Any) -> None:
    if len(input.shape) < 2:
        raise RuntimeError(f"{name}: input tensor must have at least 2 dimensions")


def tril(input: Any, diagonal: int = 0) -> Any:
    """The lower triangle of the last two dims, up to `diagonal`; zero above."""
    _check_matrix("tril", input)
    away = _column_minus_row(tuple(input.shape))
    return ops.where(ops.le(away, like(away, diagonal)), input, like(input, 0))


def triu(input: Any, diagonal: int = 0) -> Any:
    """The upper triangle of the last two dims, from `diagonal`; zero below."""
    _check_matrix("triu", input)
    away = _column_minus_row(tuple(input.shape))
    return ops.where(ops.le(like(away, diagonal), away), input, like(input, 0))


def diag(input: Any, diagonal: int = 0) -> Any:
    """A matrix with a vector as diagonal, or the diagonal of a matrix."""
    if len(input.shape) == 1:
        return diag_embed(input, diagonal)
    if len(input.shape) != 2:
        raise RuntimeError(f"diag(): Supports 1D or 2D tensors. Got {len(input.shape)}D")
    return _diagonal_of(input, diagonal).clone()


_diagonal_of = diagonal


def diag_embed(input: Any, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Any:
    """The last dim spread along a diagonal of two new dims, zero elsewhere."""
    from .views import movedim

    shape = tuple(input.shape)
    n = shape[-1] + abs(offset)
    down, right = max(-offset, 0), max(offset, 0)
    padded = ops.pad(
        input,
        low=(0,) * (len(shape) - 1) + (right,),
        high=(0,) * (len(shape) - 1) + (down,),
        interior=(0,) * len(shape),
        value=to_kind(0, input.dtype),
    )
    square = (*shape[:-1], n, n)
    rows = ops.expand(ops.reshape(padded, shape=(*shape[:-1], 1, n)), shape=square)
    away = _column_minus_row(square)
    result = ops.where(ops.eq(away, like(away, offset)), rows, like(rows, 0))
    rank = len(square)
    a, b = wrap_dim(dim1, rank), wrap_dim(dim2, rank)
    return result if (a, b) == (rank - 2, rank - 1) else movedim(result, (-2, -1), (a, b))


def diagflat(input: Any, offset: int = 0) -> Any:
    """A matrix with the flattened elements as diagonal."""
    return diag_embed(flatten(input), offset)


def tril_indices(row: int, col: int, offset: int = 0, *, dtype: Any = dt.int64) -> Any:
    """Row and column numbers (2, n) of the lower triangle."""
    return _triangle_indices(row, col, lambda i, j: j - i <= offset, dtype)


def triu_indices(row: int, col: int, offset: int = 0, *, dtype: Any = dt.int64) -> Any:
    """Row and column numbers (2, n) of the upper triangle."""
    return _triangle_indices(row, col, lambda i, j: j - i >= offset, dtype)


def _triangle_indices(row: int, col: int, inside: Any, dtype: Any) -> Any:
    import numpy as np

    from .creation import from_numpy

    i, j = np.indices((row, col))
    return from_numpy(np.stack(np.nonzero(inside(i, j))).astype(dtype.numpy))


def constant_pad_nd(input: Any, pad: Sequence[int], value: float = 0) -> Any:
    """`value` around the last dims; `pad` lists (before, after) from the last dim backwards.

    Negative amounts crop.
    """
    rank = len(input.shape)
    if len(pad) % 2 or len(pad) > 2 * rank:
        raise RuntimeError(
            f"Padding length must be even and at most twice the input dimension {rank}, got "
            f"{list(pad)}"
        )
    low, high = [0] * rank, [0] * rank
    for number in range(len(pad) // 2):
        low[rank - 1 - number], high[rank - 1 - number] = pad[2 * number : 2 * number + 2]
    start = tuple(max(-a, 0) for a in low)
    stop = tuple(n - max(-b, 0) for n, b in zip(input.shape, high, strict=True))
    if any(a > b for a, b in zip(start, stop, strict=True)):
        raise RuntimeError(f"padding {list(pad)} crops more than there is of {list(input.shape)}")
    x = input
    if (start, stop) != ((0,) * rank, tuple(input.shape)):
        x = ops.slice(x, start=start, stop=stop, step=(1,) * rank)
    low, high = (tuple(max(p, 0) for p in side) for side in (low, high))
    if not any(low) and not any(high):
        return x if x is not input else input.clone()
    return ops.pad(
        x, low=low, high=high, interior=(0,) * rank, value=to_kind(value, input.dtype)
    )


def vander(x: Any, N: int | None = None, increasing: bool = False) -> Any:
    """Powers of a vector as columns."""
    n = x.shape[0] if N is None else N
    powers = create(ops.iota, shape=(x.shape[0], n), axis=1, dtype=x.dtype)
    if not increasing:
        powers = ops.sub(like(powers, n - 1), powers)
    column = ops.expand(ops.reshape(x, shape=(x.shape[0], 1)), shape=(x.shape[0], n))
    return ops.pow(column, powers)


def eye_mask(n: int, m: int) -> Any:
    """True on the main diagonal of an n x m matrix."""
    away = _column_minus_row((n, m))
    return ops.eq(away, constant(0, (n, m), dt.int64))
