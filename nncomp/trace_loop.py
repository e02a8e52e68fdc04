"""A loop in a graph, written as a Python function of its state.

    state, rows = loop(step, state, slices)      # step(*state, *slices) -> (*new state, *rows)

`step` runs once, on tensors without values; what it records is the body of a `scan` node. Tensors
from outside that it uses become constants of the loop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .autograd.modes import state as modes
from .ir import Graph, input_node, ops
from .ir.types import TensorType
from .trace_function import BodyTracer, recording
from .trace_memory import GraphStorage


def loop(
    step: Callable[..., Sequence[Any]], state: Sequence[Any], slices: Sequence[Any] = (),
    *, length: int | None = None, reverse: bool = False,
) -> tuple[list[Any], list[Any]]:  # fmt: skip
    """(the last state, what each step gave besides, stacked along a new first dim).

    Step i gets `slices[...][i]`, from the last to the first with `reverse`; without slices there
    are `length` steps. Only while a graph is recorded, and for steps that write nothing in place.
    """
    body = BodyTracer(modes.tracer)
    count = slices[0].shape[0] if slices else length
    types = [x._type for x in state]
    types += [TensorType(tuple(x.shape[1:]), x.dtype) for x in slices]
    inputs = [input_node(f"s{i}", t) for i, t in enumerate(types)]
    with recording(body, False):
        results = [body.node_of(y) for y in step(*(_operand(body, node) for node in inputs))]
    carries, consts = len(state), body.operands
    nodes = [*inputs[:carries], *(node for _, node in consts), *inputs[carries:]]
    graph = Graph(getattr(step, "__name__", "step"), nodes, results)
    found = ops.scan(
        *state, *(x for x, _ in consts), *slices, body=graph, carries=carries, consts=len(consts),
        length=count, reverse=reverse,
    )  # fmt: skip
    found = found if isinstance(found, tuple) else (found,)
    return list(found[:carries]), list(found[carries:])


def _operand(body: BodyTracer, node: Any) -> Any:
    tensor = body.wrap(node)
    tensor._storage = GraphStorage(node, "operand")
    return tensor
