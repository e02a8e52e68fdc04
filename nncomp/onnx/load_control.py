"""Rules with graphs inside (If, Loop, Scan) and of sequences, which are Python lists here.

A branch is chosen and a loop is counted while the steps run if that is known. In a recorded graph
an If of an unknown condition computes both branches, and a Scan becomes one loop of the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import nncomp

from ..autograd.modes import state
from ..ir import ops
from ..trace_loop import loop
from .load_reduce import one_axis
from .load_rules import rule
from .load_run import Frame, known_value, tensor_of
from .load_shape import ints
from .load_steps import OnnxRunError, Step

MAX_TURNS = 4096  # of a Loop that is recorded turn by turn


@rule("If", control=True)
def if_(frame: Frame, n: Step, condition: Any) -> tuple:
    bodies = n.attrs["else_branch"], n.attrs["then_branch"]
    try:
        chosen = known_value(condition, n, 0)
    except OnnxRunError:
        chosen = None
    if chosen is not None:
        return tuple(frame.run(bodies[bool(chosen.reshape(-1)[0])], ()))
    other, then = ([tensor_of(v) for v in frame.run(body, ())] for body in bodies)
    results = []
    for x, y in zip(then, other, strict=True):
        same = hasattr(x, "dtype") and hasattr(y, "dtype") and x.dtype is y.dtype
        if not same or tuple(x.shape) != tuple(y.shape):
            raise n.error(
                "its condition is not known while a graph is recorded, and its branches give "
                "values of different types"
            )
        results.append(nncomp.where(condition.reshape([]), x, y))
    return tuple(results)


@rule("Loop", control=True)
def loop_(frame: Frame, n: Step, trips: Any, condition: Any, *carried: Any) -> tuple:
    """Turn after turn; how many there are must be known."""
    body = n.attrs["body"]
    limit = None if trips is None else int(known_value(trips, n, 0).reshape(-1)[0])
    goes = True if condition is None else bool(known_value(condition, n, 1).reshape(-1)[0])
    values, stacked, turn = list(carried), [[] for _ in body.outputs[1 + len(carried) :]], 0
    while goes and (limit is None or turn < limit):
        if state.tracer is not None and turn >= MAX_TURNS:
            raise n.error(f"takes more than {MAX_TURNS} turns, too many for one graph")
        results = frame.run(body, (np.array(turn, np.int64), np.array(True), *values))
        keeps, values = results[0], results[1 : 1 + len(carried)]
        for rows, value in zip(stacked, results[1 + len(carried) :], strict=True):
            rows.append(tensor_of(value))
        turn += 1
        if limit is None or turn < limit:
            goes = bool(known_value(keeps, _named(n, body.outputs[0]), 0).reshape(-1)[0])
    if not turn and stacked:
        raise n.error("takes no turn, so the shapes of what it stacks are not known")
    return (*values, *(nncomp.stack(rows, 0) for rows in stacked))


def _named(n: Step, name: str) -> Step:
    """The step as errors about its body's condition show it."""
    return Step(n.op_type, n.domain, n.name, [name], n.outputs, {}, n.opset)


@rule("Scan", control=True)
def scan(frame: Frame, n: Step, *values: Any) -> tuple:
    """The body for each slice of the last operands; before opset 9 it had another form."""
    if n.opset < 9:
        raise n.error("needs a file of opset 9 or newer")
    body, count = n.attrs["body"], n.attrs["num_scan_inputs"]
    carries = len(values) - count
    tensors = [tensor_of(v) for v in values]
    backward = n.get("scan_input_directions", [0] * count)
    axes = n.get("scan_input_axes", [0] * count)
    slices = []
    for x, axis, reverse in zip(tensors[carries:], axes, backward, strict=True):
        x = nncomp.movedim(x, one_axis(n, len(x.shape), axis=axis), 0)
        slices.append(nncomp.flip(x, (0,)) if reverse and not all(backward) else x)

    def turn(*operands: Any) -> list[Any]:
        return [tensor_of(v) for v in frame.run(body, operands)]

    last, rows = over_time(turn, tensors[:carries], slices, all(backward))
    outs = n.get("scan_output_directions", [0] * len(rows))
    places = n.get("scan_output_axes", [0] * len(rows))
    results = []
    for y, reverse, axis in zip(rows, outs, places, strict=True):
        y = nncomp.flip(y, (0,)) if bool(reverse) != all(backward) else y
        results.append(nncomp.movedim(y, 0, one_axis(n, len(y.shape), axis=axis)))
    return (*last, *results)


def over_time(
    step: Callable, carried: Sequence[Any], slices: Sequence[Any], reverse: bool
) -> tuple[list[Any], list[Any]]:
    """The last state, and what `step(*state, *slices)` gives besides, at the places of the slices.

    One loop of the graph that is recorded, or a loop of Python.
    """
    if state.tracer is not None:
        return loop(step, carried, slices, reverse=reverse)
    values, rows = list(carried), []
    length = slices[0].shape[0]
    for t in range(length)[:: -1 if reverse else 1]:
        results = step(*values, *(x[t] for x in slices))
        values = list(results[: len(carried)])
        rows.append(results[len(carried) :])
    if not rows:
        raise ValueError("a loop without turns does not tell the shapes of its results")
    rows = rows[::-1] if reverse else rows
    return values, [nncomp.stack(list(column), 0) for column in zip(*rows, strict=True)]


# -- sequences ------------------------------------------------------------------------------------


@rule("SequenceConstruct")
def sequence_construct(n: Step, *xs: Any) -> list:
    return list(xs)


@rule("SequenceEmpty")
def sequence_empty(n: Step) -> list:
    return []


def _place(position: np.ndarray | None, default: int) -> int:
    return default if position is None else int(position.reshape(-1)[0])


@rule("SequenceInsert", known=(2,))
def sequence_insert(n: Step, xs: list, x: Any, position: np.ndarray | None) -> list:
    at = _place(position, len(xs))
    at = at + len(xs) if at < 0 else at
    return [*xs[:at], x, *xs[at:]]


@rule("SequenceErase", known=(1,))
def sequence_erase(n: Step, xs: list, position: np.ndarray | None) -> list:
    at = range(len(xs))[_place(position, -1)]
    return [*xs[:at], *xs[at + 1 :]]


@rule("SequenceAt", known=(1,))
def sequence_at(n: Step, xs: list, position: np.ndarray) -> Any:
    return xs[_place(position, 0)]


@rule("SequenceLength")
def sequence_length(n: Step, xs: list) -> np.ndarray:
    return np.array(len(xs), np.int64)


@rule("SplitToSequence", known=(1,))
def split_to_sequence(n: Step, x: Any, sizes: np.ndarray | None) -> list:
    axis = one_axis(n, len(x.shape))
    total = x.shape[axis]
    if sizes is None:
        parts = list(nncomp.split(x, 1, axis))
        return parts if n.get("keepdims", 1) else [p.squeeze(axis) for p in parts]
    if sizes.ndim:
        return list(nncomp.split(x, ints(sizes), axis))
    step = int(sizes)
    return [x.narrow(axis, i, min(step, total - i)) for i in range(0, total, step)]


@rule("ConcatFromSequence")
def concat_from_sequence(n: Step, xs: list) -> Any:
    if n.get("new_axis", 0):
        return nncomp.stack(xs, n.attrs["axis"])
    return ops.concat(*xs, axis=one_axis(n, len(xs[0].shape)))


@rule("SequenceMap", control=True)
def sequence_map(frame: Frame, n: Step, xs: list, *others: Any) -> tuple:
    """The body for each element; further lists give their elements along with it."""
    rows = []
    for i, x in enumerate(xs):
        given = [x, *(v[i] if isinstance(v, list) else v for v in others)]
        rows.append([tensor_of(v) for v in frame.run(n.attrs["body"], given)])
    return tuple(map(list, zip(*rows, strict=True)))
