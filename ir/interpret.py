"""Runs a graph with numpy, node by node: the definition of what a graph means.

    interpret(graph, x, w) -> [array, ...]      one array per graph output

Every other way of running a graph is tested against this one. Floating-point warnings are silent:
inf and nan are ordinary results here. `trace` sees every node, `check_nan` stops at the first nan.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .debug import debug
from .graph import Graph, Node
from .types import TensorType, type_of_array


class InterpretError(ValueError):
    """Arguments that do not fit the graph, or an op whose result does not fit its type."""


class NanError(ArithmeticError):
    """The first node that made a nan out of operands without one."""

    def __init__(self, graph: Graph, node: Node):
        self.node = node
        place = " ".join(part for part in node.loc if part) or "an unknown place"
        super().__init__(
            f"{node.name} : {node.type} in graph {graph.name} gave nan, from {place}; "
            f"its operands hold none"
        )


def interpret(
    graph: Graph,
    *arrays: np.ndarray,
    trace: Callable[[Node, np.ndarray | tuple], None] | None = None,
    check_nan: bool | None = None,
) -> list[np.ndarray]:
    """The outputs of `graph` on `arrays`, one per graph input, of exactly the declared types.

    `trace(node, value)` is called after each node; a node with several results has a tuple value.
    `check_nan` defaults to the debug switch `nans`.
    """
    values = dict(zip(graph.inputs, _checked(graph, arrays), strict=True))
    last_use = _last_uses(graph)
    check_nan = debug.nans if check_nan is None else check_nan
    with np.errstate(all="ignore"):
        for position, node in enumerate(graph.nodes):
            operands = [values[x] for x in node.inputs]
            assert node.op is not None, "inputs are not listed among the nodes"
            value = _conform(node, node.op.eval(*operands, **node.attrs))
            values[node] = value
            if trace is not None:
                trace(node, value)
            if check_nan and _has_nan(value) and not any(map(_has_nan, operands)):
                raise NanError(graph, node)
            for x in node.inputs:
                if last_use.get(x) == position:
                    values.pop(x, None)
    return [values[x] for x in graph.outputs]


def _checked(graph: Graph, arrays) -> list[np.ndarray]:
    if len(arrays) != len(graph.inputs):
        raise InterpretError(
            f"graph {graph.name} takes {len(graph.inputs)} inputs "
            f"({', '.join(graph.input_names)}), got {len(arrays)}"
        )
    checked = []
    for node, array in zip(graph.inputs, arrays, strict=True):
        array = np.asarray(array)
        if array.shape != node.type.shape or array.dtype != node.type.dtype.numpy:
            raise InterpretError(
                f"input {node.attrs['name']} of graph {graph.name} must be {node.type}, "
                f"got {array.dtype}{list(array.shape)}"
            )
        checked.append(array)
    return checked


def _last_uses(graph: Graph) -> dict[Node, int]:
    """For each node that is not an output the position of its last reader."""
    last = {x: position for position, node in enumerate(graph.nodes) for x in node.inputs}
    for x in graph.outputs:
        last.pop(x, None)
    return last


def _conform(node: Node, value):
    """Numpy scalars become 0-d arrays; a result of another type than declared is an error."""
    if isinstance(node.type, TensorType):
        return _conform_one(node, np.asarray(value), node.type)
    return tuple(
        _conform_one(node, np.asarray(v), t) for v, t in zip(value, node.type, strict=True)
    )


def _conform_one(node: Node, value: np.ndarray, expected: TensorType) -> np.ndarray:
    if value.shape != expected.shape or value.dtype != expected.dtype.numpy:
        raise InterpretError(
            f"{node.name} should give {expected} by its type rule, but its eval gave "
            f"{value.dtype}{list(value.shape)}"
        )
    return value


def _has_nan(value) -> bool:
    if isinstance(value, tuple):
        return any(map(_has_nan, value))
    if not type_of_array(value).dtype.is_floating_point:
        return False
    return bool((value != value).any())
