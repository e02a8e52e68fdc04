"""Rules of gathering, scattering and selecting by indices."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import nncomp

from ..functions.base import constant
from ..ir import ops
from ..ir.types import int64
from .load_reduce import one_axis
from .load_rules import rule
from .load_shape import ramp
from .load_steps import Step


def wrapped(index: Any, size: int) -> Any:
    """Indices as int64, negative ones counted from the end."""
    index = index.to(int64)
    return nncomp.where(index < 0, index + size, index)


@rule("Gather")
def gather(n: Step, x: Any, index: Any) -> Any:
    axis = one_axis(n, len(x.shape))
    return ops.take(x, wrapped(index, x.shape[axis]), axis=axis)


@rule("GatherElements")
def gather_elements(n: Step, x: Any, index: Any) -> Any:
    axis = one_axis(n, len(x.shape))
    return nncomp.gather(x, axis, wrapped(index, x.shape[axis]))


def _flat_places(index: Any, sizes: tuple[int, ...]) -> Any:
    """Row numbers of (..., k) tuples of indices into the first k axes of a shape."""
    place = None
    for i, size in enumerate(sizes):
        part = wrapped(index.select(-1, i), size)
        place = part if place is None else place * size + part
    return place


@rule("GatherND")
def gather_nd(n: Step, x: Any, index: Any) -> Any:
    batch = n.get("batch_dims", 0)
    depth = index.shape[-1]
    sizes = tuple(x.shape[batch : batch + depth])
    rest = tuple(x.shape[batch + depth :])
    if batch:
        rows = math.prod(x.shape[:batch])
        lead = tuple(index.shape[:-1])
        flat = index.reshape([rows, -1, depth])
        place = _flat_places(flat, sizes)
        place = place + ramp(rows).reshape([rows, 1]) * math.prod(sizes)
        place = place.reshape(lead)
        table = x.reshape([rows * math.prod(sizes), *rest])
        return ops.take(table, place, axis=0)
    table = x.reshape([math.prod(sizes), *rest])
    return ops.take(table, _flat_places(index, sizes), axis=0)


_REDUCE = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


@rule("ScatterElements", "Scatter")
def scatter_elements(n: Step, x: Any, index: Any, updates: Any) -> Any:
    axis = one_axis(n, len(x.shape))
    reduction = n.get("reduction", "none")
    index = wrapped(index, x.shape[axis])
    if reduction == "none":
        return nncomp.scatter(x, axis, index, updates)
    return nncomp.scatter_reduce(x, axis, index, updates, _REDUCE[reduction])


@rule("ScatterND")
def scatter_nd(n: Step, x: Any, index: Any, updates: Any) -> Any:
    depth = index.shape[-1]
    sizes, rest = tuple(x.shape[:depth]), tuple(x.shape[depth:])
    table = x.reshape([math.prod(sizes), *rest])
    place = _flat_places(index, sizes).reshape([-1])
    rows = updates.reshape([place.shape[0], *rest])
    reduction = n.get("reduction", "none")
    if reduction == "none":
        y = ops.index_put(table, place, rows, axis=0)
    elif reduction == "add":
        y = ops.index_add(table, place, rows, axis=0)
    else:
        combine = {"mul": "mul", "max": "maximum", "min": "minimum"}[reduction]
        y = ops.index_reduce(table, place, rows, axis=0, combine=combine)
    return y.reshape(tuple(x.shape))


@rule("OneHot", known=(1,))
def one_hot(n: Step, index: Any, depth: np.ndarray, values: Any) -> Any:
    """`values` are (off, on); an index out of range gives a row of off."""
    count = int(depth.reshape(-1)[0])
    rank = len(index.shape) + 1
    axis = one_axis(n, rank, -1)
    index = nncomp.unsqueeze(wrapped(index, count), axis)
    places = ramp(count).reshape([-1 if i == axis else 1 for i in range(rank)])
    return nncomp.where(index == places, values[1], values[0])


@rule("Compress", known=(1,))
def compress(n: Step, x: Any, condition: np.ndarray) -> Any:
    """The elements (or slices along `axis`) where a known condition is True."""
    if "axis" not in n.attrs:
        x, axis = x.reshape([-1]), 0
    else:
        axis = one_axis(n, len(x.shape))
    places = np.flatnonzero(condition.reshape(-1))
    return ops.take(x, nncomp.tensor(places.tolist(), dtype=int64), axis=axis)


@rule("NonZero", known=(0,))
def non_zero(n: Step, x: np.ndarray) -> np.ndarray:
    """Its shape depends on values, so these must be known."""
    return np.array(np.nonzero(np.atleast_1d(x)), np.int64)


@rule("Unique", known=(0,))
def unique(n: Step, x: np.ndarray) -> tuple:
    """Its shape depends on values, so these must be known."""
    axis = n.get("axis")
    values, first, inverse, counts = np.unique(
        x, return_index=True, return_inverse=True, return_counts=True, axis=axis
    )
    inverse = inverse.reshape(-1)
    if not n.get("sorted", 1):
        order = np.argsort(first, kind="stable")
        values = np.take(values, order, 0 if axis is None else axis)
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        first, inverse, counts = first[order], rank[inverse], counts[order]
    return values, *(a.astype(np.int64) for a in (first, inverse, counts))


@rule("TensorScatter")
def tensor_scatter(n: Step, past: Any, update: Any, indices: Any) -> Any:
    """Writes `update` from a place on along `axis`, for each row of the batch its own."""
    axis = one_axis(n, len(past.shape), -2)
    length, steps, rows = past.shape[axis], update.shape[axis], past.shape[0]
    start = constant(0, (rows,), int64) if indices is None else indices.to(int64)
    places = start.reshape([rows, 1]) + ramp(steps).reshape([1, steps])
    if n.get("mode", "linear") == "circular":
        places = nncomp.remainder(places, length)
    shape = [rows] + [steps if i == axis else 1 for i in range(1, len(past.shape))]
    index = nncomp.broadcast_to(places.reshape(shape), tuple(update.shape))
    return nncomp.scatter(past, axis, index, update)


