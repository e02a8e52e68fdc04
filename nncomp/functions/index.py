"""x[...] and x[...] = y.

An index is read in two steps. The basic part (integers, slices, None, Ellipsis) is a view. Index
tensors then select along the dims that are left: those dims are moved together, flattened, and read
with one `take` or written with one `index_put` at combined positions.
"""

from __future__ import annotations

import math
import operator
from typing import Any, NamedTuple

import numpy as np

from ..autograd.modes import state
from ..inplace import assign
from ..inplace import view as view_op
from ..ir import ops
from ..ir import types as dt
from .base import constant, is_tensor, like
from .promotion import broadcast, cast, expand_to, reshaped
from .views import permute


class Plan(NamedTuple):
    """The basic part as a view, and for each of its dims the index tensor or None."""

    view: Any
    indices: list


def getitem(x: Any, key: Any) -> Any:
    """x[key]; a view if `key` has no tensors, lists or arrays."""
    plan = _plan(x, key)
    if all(i is None for i in plan.indices):
        return plan.view
    spread = _Spread(plan)
    return ops.take(spread.flat(), spread.positions, axis=spread.axis)


def setitem(x: Any, key: Any, value: Any) -> None:
    """x[key] = value in place; `value` is a number or a tensor that broadcasts."""
    if _is_mask_write(x, key, value):
        _write_mask(x, key, value)
        return
    plan = _plan(x, key)
    target = plan.view
    if all(i is None for i in plan.indices):
        if _same_place(target, value):  # the last step of x[0] += 1, which is done already
            return
        assign(target, _fitted(value, tuple(target.shape), target.dtype))
        return
    spread = _Spread(plan)
    source = _fitted(value, spread.result_shape, target.dtype)
    assign(target, spread.written(source))


def _same_place(target: Any, value: Any) -> bool:
    """True if both see the same elements of the same memory."""
    if not is_tensor(value) or value.type_ != target.type_ or value._storage is None:
        return False
    return value._storage is target._storage and value._chain == target._chain


def _fitted(value: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """`value` as a tensor of that shape and dtype."""
    if isinstance(value, np.ndarray):
        from .creation import from_numpy

        value = from_numpy(value)
    if not is_tensor(value):
        return constant(value, shape, dtype)
    own = tuple(value.shape)
    while len(own) > len(shape) and own[0] == 1:
        own = own[1:]
    if own != tuple(value.shape):
        value = reshaped(value, own)
    fits = len(own) <= len(shape) and all(
        n in (1, m) for n, m in zip(reversed(own), reversed(shape))  # noqa: B905
    )
    if not fits:
        raise RuntimeError(
            f"shape mismatch: value tensor of shape {list(own)} cannot be broadcast to indexing "
            f"result of shape {list(shape)}"
        )
    return expand_to(cast(value, dtype), shape)


# -- masks ----------------------------------------------------------------------------------------


def _as_index(item: Any) -> Any:
    """Sequences and arrays as tensors; everything else unchanged."""
    if isinstance(item, (list, tuple, range, np.ndarray)):
        from .creation import tensor

        return tensor(item if len(item) else np.zeros(0, np.int64))
    return item


def _is_mask(item: Any) -> bool:
    return is_tensor(item) and item.dtype in (dt.bool_, dt.uint8)


def _is_mask_write(x: Any, key: Any, value: Any) -> bool:
    """x[mask] = value where the number of masked elements does not matter: a plain `where`."""
    if not _is_mask(key) or len(key.shape) > len(x.shape):
        return False
    if tuple(key.shape) != tuple(x.shape[: len(key.shape)]):
        return False
    if not is_tensor(value):
        return isinstance(value, (bool, int, float, np.generic))
    rest = tuple(x.shape[len(key.shape) :])
    own = tuple(value.shape)
    aligned = zip(reversed(own), reversed(rest))  # noqa: B905
    return len(own) <= len(rest) and all(n in (1, m) for n, m in aligned)


def _write_mask(x: Any, mask: Any, value: Any) -> None:
    shape = tuple(x.shape)
    mask = cast(mask, dt.bool_)
    mask = reshaped(mask, tuple(mask.shape) + (1,) * (len(shape) - len(mask.shape)))
    filler = _fitted(value, shape, x.dtype)
    assign(x, ops.where(expand_to(mask, shape), filler, x))


# -- the basic part -------------------------------------------------------------------------------


def _consumed(item: Any) -> int:
    """How many dims of x an index item uses up."""
    if item is None or isinstance(item, (bool, np.bool_)):
        return 0
    if _is_mask(item):
        return len(item.shape)
    return 1


def _items(x: Any, key: Any) -> list:
    """The items of a key, with one Ellipsis replaced by the slices it stands for."""
    items = [_as_index(i) for i in (key if isinstance(key, tuple) else (key,))]
    dots = [n for n, item in enumerate(items) if item is Ellipsis]
    if len(dots) > 1:
        raise IndexError("an index can only have a single ellipsis ('...')")
    rank, used = len(x.shape), sum(_consumed(i) for i in items if i is not Ellipsis)
    if used > rank:
        if rank == 0:
            raise IndexError(
                "invalid index of a 0-dim tensor. Use `tensor.item()` in Python or "
                "`tensor.item<T>()` in C++ to convert a 0-dim tensor to a number"
            )
        raise IndexError(f"too many indices for tensor of dimension {rank}")
    fill = [slice(None)] * (rank - used)
    at = dots[0] if dots else len(items)
    return [*items[:at], *fill, *items[at + 1 :]]


class _Basic:
    """Collects bounds per operand dim and the shape of the view that they give."""

    def __init__(self, x: Any):
        self.x, self.dim = x, 0
        self.start: list[int] = []
        self.stop: list[int] = []
        self.step: list[int] = []
        self.shape: list[int] = []
        self.indices: list[Any] = []

    def bounds(self, start: int, stop: int, step: int, keep: bool, index: Any = None) -> None:
        self.start.append(start)
        self.stop.append(stop)
        self.step.append(step)
        self.dim += 1
        if keep:
            self.shape.append(-(-(stop - start) // step))
            self.indices.append(index)

    def new_axis(self, index: Any = None) -> None:
        self.shape.append(1)
        self.indices.append(index)

    def integer(self, index: int) -> None:
        n = self.x.shape[self.dim]
        if not -n <= index < n:
            raise IndexError(
                f"index {index} is out of bounds for dimension {self.dim} with size {n}"
            )
        index += n if index < 0 else 0
        self.bounds(index, index + 1, 1, keep=False)

    def slice(self, item: slice) -> None:
        bounds = slice(*(None if b is None else operator.index(b)
                         for b in (item.start, item.stop, item.step)))  # fmt: skip
        if bounds.step is not None and bounds.step <= 0:
            raise ValueError("step must be greater than zero")
        start, stop, step = bounds.indices(self.x.shape[self.dim])
        self.bounds(start, max(start, stop), step, keep=True)

    def tensor(self, index: Any) -> None:
        n = self.x.shape[self.dim]
        if index.dtype.kind not in "iu":
            raise IndexError(
                "tensors used as indices must be long, int, byte or bool tensors, got "
                f"{index.dtype.name}"
            )
        self.bounds(0, n, 1, keep=True, index=_wrapped(index, n))

    def mask(self, mask: Any) -> None:
        from .masks import nonzero

        here = tuple(self.x.shape[self.dim : self.dim + len(mask.shape)])
        for i, (n, m) in enumerate(zip(mask.shape, here, strict=True)):
            if n != m:
                raise IndexError(
                    f"The shape of the mask {list(mask.shape)} at index {i} does not match the "
                    f"shape of the indexed tensor {list(self.x.shape)} at index {self.dim + i}"
                )
        if not mask.shape:
            self.boolean(bool(mask))
            return
        for index in nonzero(mask, as_tuple=True):
            self.bounds(0, self.x.shape[self.dim], 1, keep=True, index=index)

    def boolean(self, value: bool) -> None:
        self.new_axis(constant(0, (1 if value else 0,), dt.int64))

    def view(self) -> Any:
        x, shape = self.x, tuple(self.x.shape)
        whole = (tuple(self.start), tuple(self.stop), tuple(self.step))
        if whole != ((0,) * len(shape), shape, (1,) * len(shape)):
            x = view_op(ops.slice, x, start=whole[0], stop=whole[1], step=whole[2])
        if x is self.x or tuple(x.shape) != tuple(self.shape):
            x = view_op(ops.reshape, x, shape=tuple(self.shape))
        return x


def _plan(x: Any, key: Any) -> Plan:
    basic = _Basic(x)
    for item in _items(x, key):
        if item is None:
            basic.new_axis()
        elif isinstance(item, slice):
            basic.slice(item)
        elif isinstance(item, (bool, np.bool_)):
            basic.boolean(bool(item))
        elif _is_mask(item):
            basic.mask(item)
        elif is_tensor(item):
            if item.shape or state.tracer is not None:
                basic.tensor(item)
            else:
                basic.integer(int(item))
        else:
            basic.integer(_integer(item))
    return Plan(basic.view(), basic.indices)


def _integer(item: Any) -> int:
    try:
        return operator.index(item)
    except TypeError:
        raise IndexError(
            "only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are "
            f"valid indices (got {type(item).__name__})"
        ) from None


def _wrapped(index: Any, n: int) -> Any:
    """Index values in [0, n): negative ones count from the end."""
    if index.dtype.kind == "u":
        return cast(index, dt.int64)
    index = cast(index, dt.int64)
    wrapped = ops.where(ops.lt(index, like(index, 0)), ops.add(index, like(index, n)), index)
    return ops.bounded(wrapped, length=n)


# -- the part of index tensors --------------------------------------------------------------------


class _Spread:
    """A view whose indexed dims are together, flattened to `axis`, with combined positions."""

    def __init__(self, plan: Plan):
        self.target = plan.view
        shape, rank = tuple(plan.view.shape), len(plan.view.shape)
        indexed = [i for i, index in enumerate(plan.indices) if index is not None]
        together = indexed == list(range(indexed[0], indexed[-1] + 1))
        self.axis = indexed[0] if together else 0
        rest = [i for i in range(rank) if i not in indexed]
        self.order = (*rest[: self.axis], *indexed, *rest[self.axis :])
        self.moved_shape = tuple(shape[i] for i in self.order)
        self.sizes = tuple(shape[i] for i in indexed)
        self.positions = self._combine([plan.indices[i] for i in indexed])
        before = tuple(shape[i] for i in rest[: self.axis])
        after = tuple(shape[i] for i in rest[self.axis :])
        self.flat_shape = (*before, math.prod(self.sizes), *after)
        self.result_shape = (*before, *self.positions.shape, *after)

    def _combine(self, indices: list) -> Any:
        """One position in the flattened dims from one index per dim."""
        if len(indices) > 1:
            try:
                indices = broadcast(*indices)
            except RuntimeError:
                shapes = ", ".join(str(list(i.shape)) for i in indices)
                raise IndexError(
                    "shape mismatch: indexing tensors could not be broadcast together with shapes "
                    f"{shapes}"
                ) from None
        position = indices[0]
        for index, n in zip(indices[1:], self.sizes[1:], strict=True):
            position = ops.add(ops.mul(position, like(position, n)), index)
        return position

    def flat(self) -> Any:
        x = self.target
        if self.order != tuple(range(len(self.order))):
            x = ops.permute(x, dims=self.order)
        return x if tuple(x.shape) == self.flat_shape else reshaped(x, self.flat_shape)

    def written(self, source: Any, write: Any = ops.index_put) -> Any:
        """The target with `source` (of result_shape) stored at the positions."""
        count = math.prod(self.positions.shape)
        line = reshaped(self.positions, (count,))
        a = self.axis
        parts = (*self.flat_shape[:a], count, *self.flat_shape[a + 1 :])
        stored = write(self.flat(), line, reshaped(source, parts), axis=a)
        stored = reshaped(stored, self.moved_shape)
        if self.order == tuple(range(len(self.order))):
            return stored
        return permute(stored, tuple(self.order.index(i) for i in range(len(self.order))))
