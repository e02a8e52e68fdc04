"""Checks that a graph is well formed: what every pass may rely on and must keep.

Inputs are declared once under distinct names; every node has the type that its op's rule gives for
its operands; bodies are graphs of the same kind; an output with a name replaces an input of that
name and type. There are no cycles by construction: nodes are immutable.
"""

from __future__ import annotations

from .graph import Graph, Node
from .op import OPS
from .printer import print_lines, type_text
from .types import TensorType

CONTEXT = 5  # printed lines shown before and after the bad one


class VerifyError(ValueError):
    """A malformed graph; `node` is the offending node (None when it is the graph itself)."""

    def __init__(self, graph: Graph, node: Node | None, message: str):
        self.node = node
        place = ""
        if node is not None and any(node.loc):
            place = f", from {' '.join(part for part in node.loc if part)}"
        shown = f"node {node.name}" if node is not None else "the graph"
        super().__init__(f"graph {graph.name}, {shown}{place}: {message}\n{excerpt(graph, node)}")


def verify(graph: Graph) -> Graph:
    """The graph itself, if it is well formed; VerifyError otherwise.

    What was found good before is not looked at again: nodes and graphs do not change.
    """
    if graph.sound:
        return graph
    _verify_inputs(graph)
    declared = set(graph.inputs)
    for x in graph.outputs:
        if x.op is None and x not in declared:
            raise _undeclared(graph, x)
    for node in graph.nodes:
        for x in node.inputs:
            if x.op is None and x not in declared:
                raise _undeclared(graph, x)
        if not node.sound:
            _verify_node(graph, node)
            node.sound = True
    _verify_outputs(graph)
    graph.sound = True
    return graph


def _undeclared(graph: Graph, node: Node) -> VerifyError:
    name = node.attrs.get("name")
    return VerifyError(graph, node, f"reads {name}, which is not an input of this graph")


def _verify_inputs(graph: Graph):
    seen = set()
    for node in graph.inputs:
        if node.op is not None or not isinstance(node.attrs.get("name"), str):
            raise VerifyError(graph, node, "is listed as an input but is not an input node")
        if node.attrs["name"] in seen:
            raise VerifyError(graph, node, f"two inputs are called {node.attrs['name']}")
        seen.add(node.attrs["name"])


def _verify_node(graph: Graph, node: Node):
    assert node.op is not None, "inputs are not listed among the nodes"
    if OPS.get(node.op.name) is not node.op:
        raise VerifyError(graph, node, f"{node.op.name} is not a registered op")
    for value in node.attrs.values():
        if isinstance(value, Graph):
            verify(value)
    try:
        expected = node.op.type(*(x.type for x in node.inputs), **node.attrs)
    except (TypeError, ValueError, IndexError, AttributeError) as error:
        raise VerifyError(graph, node, f"its type rule refuses the operands: {error}") from error
    if expected != node.type:
        got, right = type_text(node.type), type_text(expected)
        raise VerifyError(graph, node, f"its type is {got}, but its rule gives {right}")


def _verify_outputs(graph: Graph):
    if len(graph.outputs) != len(graph.output_names):
        count = f"{len(graph.outputs)} outputs but {len(graph.output_names)} output names"
        raise VerifyError(graph, None, f"has {count}")
    types = {n.attrs["name"]: n.type for n in graph.inputs}
    for node, name in zip(graph.outputs, graph.output_names, strict=True):
        if not isinstance(node.type, TensorType):
            raise VerifyError(graph, node, "an output must be one tensor; use get to pick a result")
        if name and types.get(name) != node.type:
            found = f"an input of type {types[name]}" if name in types else "not an input"
            raise VerifyError(
                graph, node, f"the output -> {name} has type {node.type}, but {name} is {found}"
            )


def excerpt(graph: Graph, node: Node | None) -> str:
    """The printed lines around `node`, the node's own marked; the first lines without one."""
    lines = print_lines(graph)
    at = next((i for i, line in enumerate(lines) if line.node is node), 0) if node else 0
    first = max(0, at - CONTEXT)
    return "\n".join(
        f"{'>' if node is not None and line.node is node else ' '} {line.text}"
        for line in lines[first : at + CONTEXT + 1]
    )
