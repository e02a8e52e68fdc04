"""Splits a graph in two: what depends on parameters only is computed once, the rest per call.

before:
    graph f(x: f32[8,3], w: f32[4,3], s: f32[4,3]) {
      mul_0 = mul(w, s)
      permute_0 = permute(mul_0, dims=(1,0))
      matmul_0 = matmul(x, permute_0)
      return matmul_0
    }
after:
    graph f_prepare(w: f32[4,3], s: f32[4,3]) {
      mul_0 = mul(w, s)  : f32[4,3]
      return mul_0
    }
    graph f(x: f32[8,3], w: f32[4,3], s: f32[4,3], prepared_0: f32[4,3]) {
      permute_0 = permute(prepared_0, dims=(1,0))  : f32[3,4]
      matmul_0 = matmul(x, permute_0)              : f32[8,4]
      return matmul_0
    }

Views stay in the call, applied to what was prepared: they cost nothing there, and an expanded
tensor would only take memory.
Establishes: main computes nothing from parameters alone but views. Needs: nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..grad import fresh_name
from ..graph import Graph, Node, input_node, rebuild
from ..types import TensorType

VIEWS = frozenset({"reshape", "permute", "expand", "slice", "flip"})


def split_prepare(
    graph: Graph,
    parameter_names: Iterable[str],
    worth: Callable[[Node], bool] | None = None,
) -> tuple[Graph, Graph]:
    """(prepare, main): `prepare` takes the parameters, main its results as prepared_0, ... last.

    `prepare` must run again whenever a parameter changes. `worth(view)` may ask for a view of a
    parameter or prepared value to be prepared too. If there is nothing to prepare, `prepare` has no
    outputs and main is `graph`.
    """
    names = set(parameter_names)
    unknown = names - set(graph.input_names)
    if unknown:
        raise ValueError(f"graph {graph.name} has no input {', '.join(sorted(unknown))}")
    parameters = [n for n in graph.inputs if n.attrs["name"] in names]
    moved = _hoisted(graph, parameter_only(graph, names), worth or (lambda node: False))
    prepare = Graph(f"{graph.name}_prepare", parameters, moved)
    if not moved:
        return prepare, graph
    taken = set(graph.input_names)
    extra = {
        n: input_node(fresh_name(f"prepared_{i}", taken), n.type, n.loc)
        for i, n in enumerate(moved)
    }
    body = rebuild(graph, lambda node, operands: extra.get(node))
    inputs = (*graph.inputs, *extra.values())
    return prepare, Graph(graph.name, inputs, body.outputs, body.output_names)


def parameter_only(graph: Graph, parameter_names: Iterable[str]) -> set[Node]:
    """Nodes that depend on parameters and on nothing else but constants."""
    names = set(parameter_names)
    found = {n for n in graph.inputs if n.attrs["name"] in names}
    constant: set[Node] = set()
    either = set(found)
    for node in graph.nodes:
        if either.issuperset(node.inputs):
            (constant if constant.issuperset(node.inputs) else found).add(node)
            either.add(node)
    return found


def _hoisted(graph: Graph, inside: set[Node], worth: Callable[[Node], bool]) -> list[Node]:
    """The nodes to prepare, in graph order: read by the rest of the graph, seen through views."""
    wanted: dict[Node, None] = {}
    read = [x for n in graph.nodes if n not in inside for x in n.inputs]
    for node in (*read, *graph.outputs):
        while node in inside and node.name in VIEWS and not worth(node):
            node = node.inputs[0]
        if node in inside and node.op is not None and isinstance(node.type, TensorType):
            wanted[node] = None
    return [n for n in graph.nodes if n in wanted]
