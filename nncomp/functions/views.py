"""Shape functions whose result shares memory with the operand, as in torch."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..inplace import view as view_op
from ..ir import ops
from .base import is_traced, shape_argument, wrap_dim


def infer_shape(shape: Sequence[int], size: int) -> tuple[int, ...]:
    """`shape` with its -1 replaced by what makes the number of elements `size`."""
    shape = tuple(operator.index(n) for n in shape)
    invalid = RuntimeError(f"shape '{list(shape)}' is invalid for input of size {size}")
    if shape.count(-1) > 1:
        raise RuntimeError("only one dimension can be inferred")
    if any(n < -1 for n in shape):
        raise RuntimeError(f"invalid shape dimension {min(shape)} in {list(shape)}")
    if -1 in shape:
        rest = -math.prod(shape)
        if rest == 0:
            raise RuntimeError(
                f"cannot reshape tensor of {size} elements into shape {list(shape)} because the "
                "unspecified dimension size -1 can be any value and is ambiguous"
            )
        if size % rest:
            raise invalid
        shape = tuple(size // rest if n == -1 else n for n in shape)
    if math.prod(shape) != size:
        raise invalid
    return shape


def reshape(input: Any, *shape: Any) -> Any:
    """The same elements in another shape: a view if strides allow, else a copy."""
    return view_op(ops.reshape, input, shape=infer_shape(shape_argument(shape), input.numel()))


def view(input: Any, *shape: Any) -> Any:
    """Like reshape, but RuntimeError if the memory layout does not allow a view."""
    from ..ir import DType

    if len(shape) == 1 and isinstance(shape[0], DType):
        return view_as_dtype(input, shape[0])
    shape = infer_shape(shape_argument(shape), input.numel())
    if not is_traced(input) and not _is_viewable(input._data, shape):
        raise RuntimeError(
            "view size is not compatible with input tensor's size and stride (at least one "
            "dimension spans across two contiguous subspaces). Use .reshape(...) instead."
        )
    return view_op(ops.reshape, input, shape=shape)


def _is_viewable(array: Any, shape: tuple[int, ...]) -> bool:
    if array.flags.c_contiguous or array.size == 0:
        return True
    return np.may_share_memory(array.reshape(shape), array)


def view_as_dtype(input: Any, dtype: Any) -> Any:
    """The same bytes as another dtype of the same width."""
    if dtype is input.dtype:
        return view_op(ops.reshape, input, shape=tuple(input.shape))
    if is_traced(input) or input.requires_grad:
        raise RuntimeError(
            "view(dtype) reinterprets memory, which has no meaning in a trace or for gradients; "
            "use .to(dtype) to convert values"
        )
    if dtype.itemsize != input.dtype.itemsize:
        raise RuntimeError(
            f"view(dtype) needs a dtype of {input.dtype.itemsize} bytes, got {dtype} of "
            f"{dtype.itemsize} bytes"
        )
    return type(input)._wrap(input._data.view(dtype.numpy))


def view_as(input: Any, other: Any) -> Any:
    """view(other.shape)."""
    return view(input, other.shape)


def reshape_as(input: Any, other: Any) -> Any:
    """reshape(other.shape)."""
    return reshape(input, other.shape)


def flatten(input: Any, start_dim: int = 0, end_dim: int = -1) -> Any:
    """Dims start_dim..end_dim joined into one."""
    shape = tuple(input.shape)
    if not shape:
        return view_op(ops.reshape, input, shape=(1,))
    start, end = wrap_dim(start_dim, len(shape)), wrap_dim(end_dim, len(shape))
    if start > end:
        raise RuntimeError("flatten() has invalid args: start_dim cannot come after end_dim")
    if start == end:
        return input
    joined = math.prod(shape[start : end + 1])
    return view_op(ops.reshape, input, shape=(*shape[:start], joined, *shape[end + 1 :]))


def ravel(input: Any) -> Any:
    """All dims joined into one."""
    return flatten(input)


def unflatten(input: Any, dim: int, sizes: Sequence[int]) -> Any:
    """Dim `dim` split into `sizes`, one of which may be -1."""
    axis = wrap_dim(dim, len(input.shape))
    shape = tuple(input.shape)
    parts = infer_shape(sizes, shape[axis])
    return view_op(ops.reshape, input, shape=(*shape[:axis], *parts, *shape[axis + 1 :]))


def squeeze(input: Any, dim: Any = None) -> Any:
    """Without the dims of length 1 (all of them, or those in `dim`)."""
    shape = tuple(input.shape)
    dims = range(len(shape)) if dim is None else (dim if isinstance(dim, (tuple, list)) else (dim,))
    dropped = {wrap_dim(d, len(shape)) for d in dims}
    kept = tuple(n for i, n in enumerate(shape) if i not in dropped or n != 1)
    return view_op(ops.reshape, input, shape=kept)


def unsqueeze(input: Any, dim: int) -> Any:
    """With a dim of length 1 inserted at `dim`."""
    shape = tuple(input.shape)
    at = wrap_dim(dim, len(shape) + 1)
    return view_op(ops.reshape, input, shape=(*shape[:at], 1, *shape[at:]))


def permute(input: Any, *dims: Any) -> Any:
    """Dims in another order: result dim i is operand dim dims[i]."""
    rank = len(input.shape)
    order = tuple(wrap_dim(d, rank) for d in shape_argument(dims))
    if len(order) != rank:
        raise RuntimeError(
            f"permute(sparse_coo): number of dimensions in the tensor input does not match the "
            f"length of the desired ordering of dimensions i.e. input.dim() = {rank} is not equal "
            f"to len(dims) = {len(order)}"
        )
    if len(set(order)) != rank:
        raise RuntimeError("permute(): duplicate dims are not allowed.")
    return view_op(ops.permute, input, dims=order)


def transpose(input: Any, dim0: int, dim1: int) -> Any:
    """Two dims exchanged."""
    rank = len(input.shape)
    if not rank:
        return input
    a, b = wrap_dim(dim0, rank), wrap_dim(dim1, rank)
    order = list(range(rank))
    order[a], order[b] = order[b], order[a]
    return view_op(ops.permute, input, dims=tuple(order))


def t(input: Any) -> Any:
    """A matrix transposed; vectors and scalars stay."""
    if len(input.shape) > 2:
        raise RuntimeError(
            f"t() expects a tensor with <= 2 dimensions, but self is {len(input.shape)}D"
        )
    return transpose(input, 0, 1) if len(input.shape) == 2 else input


def adjoint(input: Any) -> Any:
    """The last two dims exchanged."""
    if len(input.shape) < 2:
        raise RuntimeError(
            "tensor.mT is only supported on matrices or batches of matrices. Got "
            f"{len(input.shape)}-D tensor."
        )
    return transpose(input, -2, -1)


def reverse_dims(input: Any) -> Any:
    """All dims in reverse order, as `x.T`."""
    return view_op(ops.permute, input, dims=tuple(reversed(range(len(input.shape)))))


def movedim(input: Any, source: Any, destination: Any) -> Any:
    """Dims moved from `source` to `destination` positions; the others keep their order."""
    rank = len(input.shape)
    sources = source if isinstance(source, (tuple, list)) else (source,)
    targets = destination if isinstance(destination, (tuple, list)) else (destination,)
    if len(sources) != len(targets):
        raise RuntimeError(
            f"movedim: Invalid source or destination dims: source ({list(sources)} dims) should "
            f"contain the same number of dims as destination ({list(targets)} dims)"
        )
    moved = {wrap_dim(b, rank): wrap_dim(a, rank) for a, b in zip(sources, targets, strict=True)}
    rest = iter(i for i in range(rank) if i not in moved.values())
    return permute(input, tuple(moved[i] if i in moved else next(rest) for i in range(rank)))


def expand(input: Any, *sizes: Any) -> Any:
    """Dims of length 1 repeated, without copying; -1 keeps a dim, new dims come in front."""
    sizes = shape_argument(sizes)
    shape = tuple(input.shape)
    new = len(sizes) - len(shape)
    if new < 0:
        raise RuntimeError(
            f"expand(torch.FloatTensor{{{list(shape)}}}, size={list(sizes)}): the number of sizes "
            f"provided ({len(sizes)}) must be greater or equal to the number of dimensions in the "
            f"tensor ({len(shape)})"
        )
    aligned = (1,) * new + shape
    full = tuple(n if m == -1 and i >= new else m for i, (n, m) in enumerate(zip(aligned, sizes)))  # noqa: B905
    for i, (n, m) in enumerate(zip(aligned, full, strict=True)):
        if n not in (1, m) or m < 0:
            raise RuntimeError(
                f"The expanded size of the tensor ({m}) must match the existing size ({n}) at "
                f"non-singleton dimension {i}.  Target sizes: {list(sizes)}.  Tensor sizes: "
                f"{list(shape)}"
            )
    if new:
        input = view_op(ops.reshape, input, shape=aligned)
    return view_op(ops.expand, input, shape=full)


def expand_as(input: Any, other: Any) -> Any:
    """expand(other.shape)."""
    return expand(input, tuple(other.shape))


def broadcast_to(input: Any, size: Sequence[int]) -> Any:
    """expand(size)."""
    return expand(input, tuple(size))


def slice_along(input: Any, axis: int, start: int, stop: int, step: int = 1) -> Any:
    """input[start:stop:step] along one axis, with bounds that are already in range."""
    rank, shape = len(input.shape), tuple(input.shape)
    return view_op(
        ops.slice,
        input,
        start=tuple(start if i == axis else 0 for i in range(rank)),
        stop=tuple(stop if i == axis else n for i, n in enumerate(shape)),
        step=tuple(step if i == axis else 1 for i in range(rank)),
    )


def narrow(input: Any, dim: int, start: Any, length: int) -> Any:
    """`length` elements from `start` along `dim`."""
    axis = wrap_dim(dim, len(input.shape))
    if not input.shape:
        raise RuntimeError("narrow() cannot be applied to a 0-dim tensor.")
    n, start, length = input.shape[axis], int(start), int(length)
    if not -n <= start <= n:
        raise IndexError(
            f"start out of range (expected to be in range of [{-n}, {n}], but got {start})"
        )
    start = start + n if start < 0 else start
    if length < 0 or start + length > n:
        raise RuntimeError(f"start ({start}) + length ({length}) exceeds dimension size ({n}).")
    return slice_along(input, axis, start, start + length)


def select(input: Any, dim: int, index: Any) -> Any:
    """The slice at `index` along `dim`, which disappears."""
    rank = len(input.shape)
    if not rank:
        raise IndexError("select() cannot be applied to a 0-dim tensor.")
    axis, index = wrap_dim(dim, rank), operator.index(index)
    n = input.shape[axis]
    if not -n <= index < n:
        raise IndexError(
            f"select(): index {index} out of range for tensor of size {list(input.shape)} at "
            f"dimension {axis}"
        )
    index += n if index < 0 else 0
    part = slice_along(input, axis, index, index + 1)
    shape = tuple(part.shape)
    return view_op(ops.reshape, part, shape=shape[:axis] + shape[axis + 1 :])


def split(tensor: Any, split_size_or_sections: Any, dim: int = 0) -> tuple:
    """Parts of one size (the last may be smaller), or of the listed sizes, along `dim`."""
    axis = wrap_dim(dim, len(tensor.shape))
    if not tensor.shape:
        raise RuntimeError("split expects at least a 1-dimensional tensor")
    n, sizes = tensor.shape[axis], split_size_or_sections
    if isinstance(sizes, (list, tuple)):
        if sum(sizes) != n or min(sizes, default=0) < 0:
            raise RuntimeError(
                f"split_with_sizes expects split_sizes to sum exactly to {n} (input tensor's size "
                f"at dimension {axis}), but got split_sizes={list(sizes)}"
            )
    else:
        size = operator.index(sizes)
        if size < 0 or size == 0 and n:
            raise RuntimeError(
                f"split expects split_size be non-negative, but got split_size={size}"
            )
        sizes = [min(size, n - i) for i in range(0, n, size)] if n else [0]
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
    return tuple(slice_along(tensor, axis, b - m, b) for b, m in zip(ends, sizes, strict=True))


def chunk(input: Any, chunks: int, dim: int = 0) -> tuple:
    """At most `chunks` parts of equal size along `dim`; the last may be smaller."""
    axis = wrap_dim(dim, len(input.shape))
    if chunks <= 0:
        raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    n = input.shape[axis]
    if n == 0:
        return tuple(slice_along(input, axis, 0, 0) for _ in range(chunks))
    return split(input, -(-n // chunks), axis)


def tensor_split(input: Any, indices_or_sections: Any, dim: int = 0) -> tuple:
    """Parts of sizes that differ by at most one, or between the listed indices."""
    axis = wrap_dim(dim, len(input.shape))
    n = input.shape[axis]
    if isinstance(indices_or_sections, int):
        size, longer = divmod(n, indices_or_sections)
        sizes = [size + (i < longer) for i in range(indices_or_sections)]
        return split(input, sizes, axis)
    bounds = [0, *(min(max(i + n if i < 0 else i, 0), n) for i in indices_or_sections), n]
    pairs = zip(bounds, bounds[1:], strict=False)
    return tuple(slice_along(input, axis, a, max(a, b)) for a, b in pairs)


def unbind(input: Any, dim: int = 0) -> tuple:
    """All slices along `dim`."""
    axis = wrap_dim(dim, len(input.shape))
    if not input.shape:
        raise RuntimeError("Dimension specified as 0 but tensor has no dimensions")
    return tuple(select(input, axis, i) for i in range(input.shape[axis]))


def diagonal(input: Any, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Any:
    """The diagonal of two dims as last dim: every (m + 1)-th element of the rows joined."""
    rank = len(input.shape)
    a, b = wrap_dim(dim1, rank), wrap_dim(dim2, rank)
    if a == b:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    x = movedim(input, (a, b), (-2, -1))
    n, m = x.shape[-2], x.shape[-1]
    length = max(min(n, m - offset) if offset >= 0 else min(n + offset, m), 0)
    first = offset if offset >= 0 else -offset * m
    flat = view_op(ops.reshape, x, shape=(*x.shape[:-2], n * m))
    first = min(first, n * m)
    stop = min(first + max(length - 1, 0) * (m + 1) + 1, n * m) if length else first
    return slice_along(flat, rank - 2, first, stop, m + 1)


def unfold(input: Any, dimension: int, size: int, step: int) -> Any:
    """Windows of `size` elements every `step` along a dim, as a new last dim; a copy."""
    rank = len(input.shape)
    axis = wrap_dim(dimension, rank)
    n = input.shape[axis]
    if size > n or size < 0 or step <= 0:
        raise RuntimeError(
            f"maximum size for tensor at dimension {axis} is {n} but size is {size} (step {step})"
        )
    last = movedim(input, axis, -1)
    windows = ops.unfold(last, kernel=(size,), stride=(step,), padding=((0, 0),), dilation=(1,))
    return movedim(windows, -2, axis)
