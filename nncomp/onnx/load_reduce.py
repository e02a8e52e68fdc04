"""Rules of reductions, running sums, extremes with their places, and softmax."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

import nncomp

from ..functions.base import constant
from ..ir import ops
from ..ir.ops.window import lowest
from ..ir.types import int32, int64
from ..nn import functional as F
from .load_rules import rule
from .load_steps import Step


def axes_of(n: Step, axes: np.ndarray | None, rank: int) -> tuple[int, ...]:
    """The axes of a reduction, from the attribute or the operand: all if there are none."""
    given = n.get("axes") if axes is None else axes.reshape(-1).tolist()
    if not given:
        return () if n.get("noop_with_empty_axes", 0) else tuple(range(rank))
    wrapped = {a + rank if a < 0 else a for a in given}
    if not all(0 <= a < rank for a in wrapped):
        raise n.error(f"axes {list(given)} do not fit an operand with {rank} axes")
    return tuple(sorted(wrapped))


def _kept(n: Step, y: Any, x: Any, axes: tuple[int, ...]) -> Any:
    """The result with the reduced axes as 1, unless keepdims is 0."""
    if not n.get("keepdims", 1):
        return y
    return y.reshape([1 if i in axes else m for i, m in enumerate(x.shape)])


def _sum(x: Any, axes: tuple[int, ...]) -> Any:
    return ops.sum(x, axes=axes)


def _mean(x: Any, axes: tuple[int, ...]) -> Any:
    count = math.prod(x.shape[a] for a in axes)
    if x.dtype.is_floating_point:
        return ops.sum(x, axes=axes) / count
    return nncomp.div(ops.sum(x, axes=axes), max(count, 1), rounding_mode="trunc")


def _amax(x: Any, axes: tuple[int, ...]) -> Any:
    if any(x.shape[a] == 0 for a in axes):
        shape = [m for i, m in enumerate(x.shape) if i not in axes]
        low = -math.inf if x.dtype.is_floating_point else lowest(x.dtype.numpy)
        return constant(low, shape, x.dtype)
    return ops.amax(x, axes=axes)


def _amin(x: Any, axes: tuple[int, ...]) -> Any:
    if x.dtype.kind == "b":
        return ~_amax(~x, axes)
    if x.dtype.kind in "iu":
        return ~_amax(~x, axes)  # the order of the integers, turned around without overflow
    return -_amax(-x, axes)


def _log_sum_exp(x: Any, axes: tuple[int, ...]) -> Any:
    """With the largest element taken out, so that nothing overflows."""
    if 0 in x.shape:
        return nncomp.log(_sum(nncomp.exp(x), axes))
    top = _amax(x, axes).detach()
    top = nncomp.where(nncomp.isinf(top), nncomp.zeros_like(top), top)
    wide = top.reshape([1 if i in axes else m for i, m in enumerate(x.shape)])
    return nncomp.log(_sum(nncomp.exp(x - wide), axes)) + top


REDUCTIONS: dict[str, Callable] = {
    "ReduceSum": _sum,
    "ReduceMean": _mean,
    "ReduceMax": _amax,
    "ReduceMin": _amin,
    "ReduceProd": lambda x, axes: ops.prod(x, axes=axes),
    "ReduceL1": lambda x, axes: _sum(nncomp.abs(x), axes),
    "ReduceL2": lambda x, axes: nncomp.sqrt(_sum(x * x, axes)),
    "ReduceLogSum": lambda x, axes: nncomp.log(_sum(x, axes)),
    "ReduceLogSumExp": _log_sum_exp,
    "ReduceSumSquare": lambda x, axes: _sum(x * x, axes),
}


def _reduction(function: Callable) -> Callable:
    def reduce(n: Step, x: Any, axes: np.ndarray | None) -> Any:
        which = axes_of(n, axes, len(x.shape))
        return _kept(n, function(x, which), x, which)

    return reduce


def _register() -> None:
    for name, function in REDUCTIONS.items():
        rule(name, known=(1,))(_reduction(function))


_register()


def one_axis(n: Step, rank: int, default: int = 0, axis: int | None = None) -> int:
    """The attribute `axis` in [0, rank)."""
    axis = n.get("axis", default) if axis is None else axis
    if not -rank <= axis < max(rank, 1):
        raise n.error(f"axis {axis} does not fit an operand with {rank} axes")
    return axis + rank if axis < 0 else axis


@rule("ArgMax")
def argmax(n: Step, x: Any) -> Any:
    axis = one_axis(n, len(x.shape))
    x = x if x.dtype.kind != "b" else x.to(int32)
    if n.get("select_last_index", 0):
        y = x.shape[axis] - 1 - ops.argmax(nncomp.flip(x, (axis,)), axis=axis)
    else:
        y = ops.argmax(x, axis=axis)
    return _kept(n, y, x, (axis,))


@rule("ArgMin")
def argmin(n: Step, x: Any) -> Any:
    return argmax(n, -x if x.dtype.is_floating_point else ~x)


def _running(n: Step, x: Any, axis: np.ndarray, run: Callable, neutral: int) -> Any:
    """A running total; `exclusive` leaves out the element itself, `reverse` starts at the end."""
    at = one_axis(n, len(x.shape), axis=int(axis.reshape(-1)[0]))
    x = nncomp.flip(x, (at,)) if n.get("reverse", 0) else x
    y = run(x, at)
    if n.get("exclusive", 0):
        one = [1 if i == at else m for i, m in enumerate(x.shape)]
        y = nncomp.cat([constant(neutral, one, x.dtype), y.narrow(at, 0, x.shape[at] - 1)], at)
    return nncomp.flip(y, (at,)) if n.get("reverse", 0) else y


@rule("CumSum", known=(1,))
def cumsum(n: Step, x: Any, axis: np.ndarray) -> Any:
    return _running(n, x, axis, lambda x, at: ops.cumsum(x, axis=at), 0)


@rule("CumProd", known=(1,))
def cumprod(n: Step, x: Any, axis: np.ndarray) -> Any:
    return _running(n, x, axis, lambda x, at: nncomp.cumprod(x, at, dtype=x.dtype), 1)


@rule("TopK", known=(1,))
def topk(n: Step, x: Any, k: np.ndarray | None) -> Any:
    """The first k of a stable sort."""
    axis = one_axis(n, len(x.shape), -1)
    count = int(n.get("k", 0) if k is None else k.reshape(-1)[0])
    if not 0 <= count <= x.shape[axis]:
        raise n.error(f"k = {count} does not fit axis {axis} of an operand {tuple(x.shape)}")
    order = ops.argsort(x, axis=axis, descending=bool(n.get("largest", 1)))
    order = order.narrow(axis, 0, count)
    return nncomp.gather(x, axis, order), order.to(int64)


# -- softmax --------------------------------------------------------------------------------------


def _rows(n: Step, x: Any, function: Callable) -> Any:
    """Along one axis; before opset 13, over all axes from `axis` on."""
    if n.opset >= 13:
        return function(x, one_axis(n, len(x.shape), -1))
    axis = one_axis(n, len(x.shape), 1)
    flat = x.reshape([math.prod(x.shape[:axis]), math.prod(x.shape[axis:])])
    return function(flat, 1).reshape(tuple(x.shape))


@rule("Softmax")
def softmax(n: Step, x: Any) -> Any:
    return _rows(n, x, F.softmax)


@rule("LogSoftmax")
def log_softmax(n: Step, x: Any) -> Any:
    return _rows(n, x, F.log_softmax)


@rule("Hardmax")
def hardmax(n: Step, x: Any) -> Any:
    def first(x: Any, axis: int) -> Any:
        best = ops.argmax(x, axis=axis)
        places = nncomp.arange(x.shape[axis]).reshape([-1, *(1,) * (len(x.shape) - axis - 1)])
        return (places == nncomp.unsqueeze(best, axis)).to(x.dtype)

    return _rows(n, x, first)
