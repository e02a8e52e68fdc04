"""Writing through a chain of movement ops, as a function: the whole with one part replaced.

This is what an in-place write to a view means without memory. It works on Tensors and on graph
nodes, and is used by the gradient of a write and by the tracer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .ir import ops
from .ir.ops.creation import full_like
from .ir.types import bool_

OVERLAP = (
    "unsupported operation: more than one element of the written-to tensor refers to a single "
    "memory location. Please clone() the tensor before performing the operation."
)


def scatter_chain(whole: Any, chain: Sequence[tuple[Any, dict]], part: Any) -> Any:
    """`whole` with `part` at the place that `chain` leads to; shapes as the chain gives them."""
    if not chain:
        return part
    op, attrs = chain[0]
    if len(chain) > 1:
        inner = op(whole, **attrs)
        part = scatter_chain(inner, chain[1:], part)
    return _scatter(op, attrs, whole, part)


def _scatter(op: Any, attrs: dict, whole: Any, part: Any) -> Any:
    """`whole` such that `op(result) == part` and everything else as it was."""
    name = op.name
    if name == "detach":
        return part
    if name == "reshape":
        return ops.reshape(part, shape=tuple(whole.shape))
    if name == "permute":
        dims = attrs["dims"]
        return ops.permute(part, dims=tuple(dims.index(i) for i in range(len(dims))))
    if name == "flip":
        return ops.flip(part, **attrs)
    if name == "slice":
        return _scatter_slice(whole, part, **attrs)
    if name == "expand" and tuple(whole.shape) == tuple(part.shape):
        return part
    raise RuntimeError(OVERLAP)


def _scatter_slice(whole: Any, part: Any, start: tuple, stop: tuple, step: tuple) -> Any:
    if tuple(whole.shape) == tuple(part.shape):
        return part
    if 0 in part.shape:
        return whole
    low, high = [], []
    for n, m, a, s in zip(whole.shape, part.shape, start, step, strict=True):
        low.append(a)
        high.append(n - a - ((m - 1) * s + 1))
    where = dict(low=tuple(low), high=tuple(high), interior=tuple(s - 1 for s in step))
    inside = ops.pad(full_like(part, True, dtype=bool_), value=False, **where)
    return ops.where(inside, ops.pad(part, value=_zero(part.dtype), **where), whole)


def _zero(dtype: Any) -> Any:
    return {"f": 0.0, "b": False}.get(dtype.kind, 0)
