"""Export rules of creation, movement, reduction and indexing."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..ir.graph import Node
from ..ir.types import int32, int64
from .export_builder import Builder
from .export_contraction import average_pool

RULES: dict[str, Callable] = {}
SMALL = 1024  # ramps up to this length are stored
_LAST = np.iinfo(np.int64).min


def rule(function: Callable) -> Callable:
    RULES[function.__name__] = function
    return function


# ruff: noqa: A001  (rules carry the names of the ops)


@rule
def full(b: Builder, node: Node) -> str:
    return b.filled(node.attrs["value"], node.type)


@rule
def iota(b: Builder, node: Node) -> str:
    axis, n = node.attrs["axis"], node.shape[node.attrs["axis"]]
    line = tuple(n if i == axis else 1 for i in range(len(node.shape)))
    if n <= SMALL and not b.open_sizes:
        ramp = b.constant(np.arange(n).reshape(line), node.dtype)
    else:
        ends = [b.scalar(value, int64) for value in (0, n, 1)]
        ramp = b.reshape(b.cast(b.emit("Range", *ends), node.dtype), line)
    return ramp if line == node.shape else b.emit("Expand", ramp, b.ints(node.shape))


# -- movement -------------------------------------------------------------------------------------


@rule
def reshape(b: Builder, node: Node) -> str:
    return b.reshape(b.values[node.inputs[0]], node.shape)


@rule
def permute(b: Builder, node: Node) -> str:
    return b.transpose(b.values[node.inputs[0]], node.attrs["dims"])


@rule
def expand(b: Builder, node: Node) -> str:
    return b.emit("Expand", b.values[node.inputs[0]], b.ints(node.shape))


@rule
def slice(b: Builder, node: Node) -> str:
    x, a = node.inputs[0], node.attrs
    whole = [(0, n, 1) for n in x.shape]
    bounds = list(zip(a["start"], a["stop"], a["step"], strict=True))
    axes = [i for i, (have, all_) in enumerate(zip(bounds, whole, strict=True)) if have != all_]
    start, stop, step = ([bounds[i][k] for i in axes] for k in range(3))
    return b.slice(b.values[x], start, stop, axes, step if any(s != 1 for s in step) else None)


@rule
def flip(b: Builder, node: Node) -> str:
    axes = node.attrs["axes"]
    count = len(axes)
    return b.slice(b.values[node.inputs[0]], [-1] * count, [_LAST] * count, axes, [-1] * count)


@rule
def pad(b: Builder, node: Node) -> str:
    """The gaps between elements are made as a column of padding beside each element."""
    x, a = node.inputs[0], node.attrs
    y, shape = b.values[x], list(x.shape)
    for axis, gap in enumerate(a["interior"]):
        if gap and shape[axis]:
            n, rest = shape[axis], shape[axis + 1 :]
            y = b.reshape(y, (*shape[:axis], n, 1, *rest))
            zeros = [0] * (len(shape) + 1)
            high = [gap if i == axis + 1 else 0 for i in range(len(shape) + 1)]
            y = b.pad(y, zeros, high, a["value"], x.dtype)
            y = b.reshape(y, (*shape[:axis], n * (gap + 1), *rest))
            shape[axis] = n * (gap + 1) - gap
            y = b.slice(y, [0], [shape[axis]], [axis])
    if x.type.size == 0:
        return b.filled(a["value"], node.type)
    return b.pad(y, a["low"], a["high"], a["value"], x.dtype)


@rule
def concat(b: Builder, node: Node) -> str:
    parts = [b.values[x] for x in node.inputs if x.type.size]
    return parts[0] if len(parts) == 1 else b.emit("Concat", *parts, axis=node.attrs["axis"])


# -- reductions -----------------------------------------------------------------------------------


@rule
def sum(b: Builder, node: Node) -> str:
    x = node.inputs[0]
    if x.type.size == 0:
        return b.filled(0, node.type)
    return average_pool(b, node) or b.reduce("ReduceSum", b.values[x], node.attrs["axes"])


@rule
def prod(b: Builder, node: Node) -> str:
    x = node.inputs[0]
    if x.type.size == 0:
        return b.filled(1, node.type)
    return b.reduce("ReduceProd", b.values[x], node.attrs["axes"])


@rule
def amax(b: Builder, node: Node) -> str:
    x = b.values[node.inputs[0]]
    if node.dtype.kind != "b":
        return b.reduce("ReduceMax", x, node.attrs["axes"])
    return b.cast(b.reduce("ReduceMax", b.cast(x, int32), node.attrs["axes"]), node.dtype)


@rule
def argmax(b: Builder, node: Node) -> str:
    x = node.inputs[0]
    value = b.cast(b.values[x], int32) if x.dtype.kind == "b" else b.values[x]
    return b.emit("ArgMax", value, axis=node.attrs["axis"], keepdims=0)


@rule
def cumsum(b: Builder, node: Node) -> str:
    return b.emit("CumSum", b.values[node.inputs[0]], b.scalar(node.attrs["axis"], int64))


# -- indexing -------------------------------------------------------------------------------------


def _index(b: Builder, node: Node) -> str:
    """Indices as int32 or int64, the two that ONNX takes."""
    index = b.values[node]
    return index if node.dtype in (int32, int64) else b.cast(index, int64)


@rule
def take(b: Builder, node: Node) -> str:
    x, index = node.inputs
    return b.emit("Gather", b.values[x], _index(b, index), axis=node.attrs["axis"])


@rule
def bounded(b: Builder, node: Node) -> str:
    return b.values[node.inputs[0]]


@rule
def again(b: Builder, node: Node) -> str:
    return b.values[node.inputs[0]]


def _scatter(b: Builder, node: Node, reduction: str | None) -> str:
    x, index, source = node.inputs
    axis = node.attrs["axis"]
    if source.type.size == 0:
        return b.values[x]
    line = tuple(index.shape[0] if i == axis else 1 for i in range(len(x.shape)))
    places = b.emit("Expand", b.reshape(_index(b, index), line), b.ints(source.shape))
    operands = (b.values[x], places, b.values[source])
    return b.emit("ScatterElements", *operands, axis=axis, reduction=reduction)


@rule
def index_add(b: Builder, node: Node) -> str:
    return _scatter(b, node, "add")


@rule
def index_put(b: Builder, node: Node) -> str:
    return _scatter(b, node, None)


@rule
def index_reduce(b: Builder, node: Node) -> str:
    combine = node.attrs["combine"]
    if combine == "mul":
        return _scatter(b, node, "mul")
    b.need(18, f"index_reduce with {combine}")
    return _scatter(b, node, {"maximum": "max", "minimum": "min"}[combine])


@rule
def argsort(b: Builder, node: Node) -> str:
    """All elements by TopK, which puts equal ones in the order of their indices."""
    x, axis = node.inputs[0], node.attrs["axis"]
    if not node.shape:
        return b.filled(0, node.type)
    value = b.cast(b.values[x], int32) if x.dtype.kind == "b" else b.values[x]
    count = b.ints([x.shape[axis]])
    largest = int(node.attrs["descending"])
    return b.emit("TopK", value, count, count=2, axis=axis, largest=largest, sorted=1)[1]
