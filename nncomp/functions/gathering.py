"""Reading and writing one element per index: gather, scatter and relatives.

Rows are the places outside `dim`. With `dim` moved last and the tensor flattened, the element of
row r with index i stands at r * n + i, so one `take`, `index_add` or `index_put` does the work.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from ..ir import ops
from ..ir import types as dt
from .autocasting import promoted
from .base import constant, create, is_tensor, like, no_out, wrap_dim
from .promotion import broadcast_shapes, cast, expand_to, reshaped
from .selection import where
from .views import flatten


def _last(x: Any, axis: int) -> Any:
    """`x` with `axis` last."""
    rank = len(x.shape)
    if axis == rank - 1:
        return x
    return ops.permute(x, dims=(*(i for i in range(rank) if i != axis), axis))


def _back(x: Any, axis: int) -> Any:
    """The inverse of _last."""
    rank = len(x.shape)
    if axis == rank - 1:
        return x
    return ops.permute(x, dims=(*range(axis), rank - 1, *range(axis, rank - 1)))


def _check_index(name: str, index: Any, x: Any) -> None:
    if index.dtype not in (dt.int64, dt.int32):
        raise RuntimeError(f"{name}(): Expected dtype int32/int64 for index")
    if len(index.shape) != len(x.shape):
        raise RuntimeError(
            "Index tensor must have the same number of dimensions as input tensor, got "
            f"{len(index.shape)} and {len(x.shape)} ({name})"
        )


def _positions(index: Any, lead: tuple[int, ...], n: int) -> Any:
    """Flat positions of the elements `index` picks, from a tensor [*lead, n] with `dim` last.

    The index has the same rank and at most that many places in each leading dim.
    """
    index = ops.bounded(cast(index, dt.int64), length=n)  # else it would pick from another row
    shape, stride = tuple(index.shape), n
    if shape[:-1] == lead:
        rows = math.prod(lead)
        index = reshaped(index, (rows, shape[-1]))
        if rows == 1:
            return index
        ramp = create(ops.iota, shape=tuple(index.shape), axis=0, dtype=dt.int64)
        return ops.add(ops.mul(ramp, like(ramp, n)), index)
    for axis in reversed(range(len(lead))):
        ramp = create(ops.iota, shape=shape, axis=axis, dtype=dt.int64)
        index = ops.add(index, ops.mul(ramp, like(ramp, stride)))
        stride *= lead[axis]
    return index


def _line(x: Any) -> Any:
    return reshaped(x, (math.prod(x.shape),))


def gather(input: Any, dim: int, index: Any, *, out: Any = None) -> Any:
    """out[i][j] = input[index[i][j]][j] for dim 0 (and so on); the result has index's shape."""
    no_out("gather", out)
    _check_index("gather", index, input)
    axis = wrap_dim(dim, len(input.shape))
    for i, (n, m) in enumerate(zip(index.shape, input.shape, strict=True)):
        if n > m and i != axis:
            raise RuntimeError(
                f"Size does not match at dimension {i} expected index {list(index.shape)} to be no "
                f"larger than self {list(input.shape)} apart from dimension {axis}"
            )
    if not input.shape:
        return input.clone()
    x, at = _last(input, axis), _last(index, axis)
    shape = tuple(at.shape)
    picked = ops.take(_line(x), _positions(at, tuple(x.shape[:-1]), x.shape[-1]), axis=0)
    if tuple(picked.shape) != shape:
        picked = reshaped(picked, shape)
    return _back(picked, axis)


def take_along_dim(input: Any, indices: Any, dim: int | None = None) -> Any:
    """gather() with input and indices broadcast outside `dim`."""
    if dim is None:
        return take(input, flatten(indices))
    axis = wrap_dim(dim, len(input.shape))
    lead = broadcast_shapes(
        *(tuple(1 if i == axis else n for i, n in enumerate(x.shape)) for x in (input, indices))
    )
    whole = [
        expand_to(x, tuple(x.shape[axis] if i == axis else n for i, n in enumerate(lead)))
        for x in (input, indices)
    ]
    return gather(whole[0], axis, whole[1])


def written(name: str, input: Any, dim: int, index: Any, src: Any, op: Any) -> Any:
    """`input` with `src` stored or combined (by `op`) where `index` points along `dim`."""
    _check_index(name, index, input)
    axis = wrap_dim(dim, len(input.shape))
    if not input.shape:
        input, index = (reshaped(x, (1,)) for x in (input, index))
        src = reshaped(src, (1,)) if is_tensor(src) else src
        return reshaped(written(name, input, 0, index, src, op), ())
    if is_tensor(src):
        src = _cropped(name, src, input, index)
    else:
        src = constant(src, index.shape, input.dtype)
    x, at = _last(input, axis), _last(index, axis)
    positions = _line(_positions(at, tuple(x.shape[:-1]), x.shape[-1]))
    flat = op(_line(x), positions, _line(_last(src, axis)), axis=0)
    return _back(reshaped(flat, tuple(x.shape)), axis)


def _cropped(name: str, src: Any, input: Any, index: Any) -> Any:
    """The part of `src` that the index covers."""
    if src.dtype is not input.dtype:
        raise RuntimeError(f"{name}(): Expected self.dtype to be equal to src.dtype")
    shape = tuple(index.shape)
    if len(src.shape) != len(shape) or any(
        n > m for n, m in zip(shape, src.shape, strict=True)
    ):
        raise RuntimeError(
            f"Expected index {list(shape)} to be no larger than src {list(src.shape)} ({name})"
        )
    if shape == tuple(src.shape):
        return src
    return ops.slice(src, start=(0,) * len(shape), stop=shape, step=(1,) * len(shape))


def scatter(
    input: Any, dim: int, index: Any, src: Any = None, *, value: Any = None,
    reduce: str | None = None,
) -> Any:  # fmt: skip
    """`input` with out[index[i][j]][j] = src[i][j] for dim 0 (and so on); src may be a number.

    `reduce` is None, "add" or "multiply": what is there is replaced, added to or multiplied.
    """
    src = value if src is None else src
    if src is None:
        raise TypeError("scatter() needs src (a tensor or a number) or value")
    if reduce is None:
        return written("scatter", input, dim, index, src, ops.index_put)
    if reduce not in ("add", "multiply"):
        raise RuntimeError(f"reduce argument must be either add or multiply, got {reduce!r}")
    op = ops.index_add if reduce == "add" else partial(ops.index_reduce, combine="mul")
    return written("scatter", input, dim, index, src, op)


def scatter_add(input: Any, dim: int, index: Any, src: Any) -> Any:
    """`input` with src[i][j] added at out[index[i][j]][j] for dim 0 (and so on)."""
    return written("scatter_add", input, dim, index, src, ops.index_add)


def _index_line(name: str, index: Any) -> Any:
    if index.dtype not in (dt.int64, dt.int32):
        raise RuntimeError(f"{name}(): Expected dtype int32 or int64 for index")
    if len(index.shape) > 1:
        raise IndexError(f"{name}(): Index is supposed to be a vector, got {len(index.shape)}-D")
    return index if index.shape else reshaped(index, (1,))


def index_select(input: Any, dim: int, index: Any, *, out: Any = None) -> Any:
    """The slices of `input` at the positions of a vector `index` along `dim`."""
    no_out("index_select", out)
    axis, index = wrap_dim(dim, len(input.shape)), _index_line("index_select", index)
    if not input.shape:
        return reshaped(ops.take(_line(input), index, axis=0), ())
    return ops.take(input, index, axis=axis)


def index_add(input: Any, dim: int, index: Any, source: Any, *, alpha: float = 1) -> Any:
    """`input` with alpha * source[..., j, ...] added at position index[j] along `dim`."""
    from .arithmetic import mul

    axis, index = wrap_dim(dim, len(input.shape)), _index_line("index_add", index)
    source = source if alpha == 1 else mul(source, alpha)
    return ops.index_add(input, index, source, axis=axis)


def index_copy(input: Any, dim: int, index: Any, source: Any) -> Any:
    """`input` with source[..., j, ...] stored at position index[j] along `dim`."""
    input, source = promoted(input, source)
    axis, index = wrap_dim(dim, len(input.shape)), _index_line("index_copy", index)
    return ops.index_put(input, index, source, axis=axis)


def index_fill(input: Any, dim: int, index: Any, value: Any) -> Any:
    """`input` with a number stored at the positions of `index` along `dim`."""
    axis, index = wrap_dim(dim, len(input.shape)), _index_line("index_fill", index)
    value = value.item() if is_tensor(value) else value
    shape = tuple(index.shape[0] if i == axis else n for i, n in enumerate(input.shape))
    return ops.index_put(input, index, constant(value, shape, input.dtype), axis=axis)


def index_put(input: Any, indices: Any, values: Any, accumulate: bool = False) -> Any:
    """`input` with input[indices] = values; `accumulate` adds instead."""
    from .index import _fitted, _plan, _Spread

    spread = _Spread(_plan(input, tuple(indices)))
    source = _fitted(values, spread.result_shape, input.dtype)
    return spread.written(source, ops.index_add if accumulate else ops.index_put)


def take(input: Any, index: Any) -> Any:
    """The elements of the flattened tensor at `index`; negative ones count from the end."""
    index = cast(index, dt.int64)
    size = input.numel()
    wrapped = where(index < 0, index + size, index)
    return ops.take(_line(input), wrapped, axis=0)


def one_hot(tensor: Any, num_classes: int = -1) -> Any:
    """int64 [..., num_classes] with a 1 at the class; -1 counts the classes of known values."""
    if tensor.dtype is not dt.int64:
        raise RuntimeError("one_hot is only applicable to index tensor of type LongTensor.")
    if num_classes < 0:
        from .masks import known_values

        num_classes = int(known_values(tensor, "one_hot without num_classes").max()) + 1
    shape = (*tensor.shape, num_classes)
    classes = create(ops.iota, shape=shape, axis=len(shape) - 1, dtype=dt.int64)
    column = reshaped(tensor, (*tensor.shape, 1))
    return cast(ops.eq(ops.expand(column, shape=shape), classes), dt.int64)


def embedding(
    weight: Any, indices: Any, padding_idx: int = -1, scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Any:  # fmt: skip
    """The rows of `weight` at `indices`; the row `padding_idx` gets no gradient."""
    if scale_grad_by_freq or sparse:
        raise NotImplementedError(
            "embedding(): scale_grad_by_freq and sparse gradients are not supported; leave them "
            "False"
        )
    if indices.dtype.kind != "i":
        raise RuntimeError(
            "Expected tensor for argument #1 'indices' to have one of the following scalar types: "
            f"Long, Int; but got {indices.dtype.name} instead (in embedding)"
        )
    rows = ops.take(weight, indices, axis=0)
    if padding_idx < 0:
        return rows
    padded = ops.eq(indices, like(indices, padding_idx))
    padded = reshaped(padded, (*padded.shape, 1))
    return ops.where(expand_to(padded, tuple(rows.shape)), ops.detach(rows), rows)
