"""Reverse-mode differentiation of graphs: one reverse walk that asks each op for its `vjp`.

    vjp_graph(g)       cotangents of all outputs, then the inputs  ->  one gradient per input
    grad(g)            the inputs; output 0 must be a scalar       ->  gradients of the inputs
    value_and_grad(g)  the same                                    ->  outputs, then gradients
    joint(g)           the inputs, then cotangents grad_0, ...     ->  outputs, then gradients

The results are ordinary graphs, so all of these apply to their own results, to any order. Gradients
must be taken before passes fuse nodes. Zeros are returned for inputs that no output depends on.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .graph import Graph, Loc, Node, build_node, input_node, toposort
from .op import OPS
from .types import TensorType


class GradError(TypeError):
    """A graph, input or output that cannot be differentiated."""


def grad(graph: Graph, wrt: Iterable[str] | None = None, output: int = 0) -> Graph:
    """Gradients of the one-element output number `output` for the inputs named in `wrt`.

    `wrt` defaults to all floating-point inputs; the result takes the same inputs as `graph`.
    """
    gradients = _scalar_gradients(graph, _wanted(graph, wrt), output)
    return Graph(f"{graph.name}_grad", graph.inputs, gradients)


def value_and_grad(graph: Graph, wrt: Iterable[str] | None = None, output: int = 0) -> Graph:
    """All outputs of `graph` (buffer updates included), then the gradients `grad` returns."""
    gradients = _scalar_gradients(graph, _wanted(graph, wrt), output)
    names = (*graph.output_names, *("" for _ in gradients))
    outputs = (*graph.outputs, *gradients)
    return Graph(f"{graph.name}_value_and_grad", graph.inputs, outputs, names)


def vjp_graph(graph: Graph, with_results: bool = False) -> Graph:
    """Pulls cotangents of all outputs back: one gradient per input, zeros for integer inputs.

    Takes the cotangents first (also those of integer outputs, which are ignored), then all results
    if `with_results` (so that they need not be computed again), then the inputs of `graph`.
    """
    taken = set(graph.input_names)
    cotangents = [
        input_node(fresh_name(f"g{i}", taken), n.type) for i, n in enumerate(graph.outputs)
    ]
    results, given = [], {}
    if with_results:
        results = [
            input_node(fresh_name(f"y{i}", taken), n.type) for i, n in enumerate(graph.outputs)
        ]
        given = dict(zip(graph.outputs, results, strict=True))
    wanted = [n for n in graph.inputs if is_float(n.type)]
    found = backprop(graph.outputs, cotangents, wanted, given)
    gradients = [found.get(n) or zeros(n.type) for n in graph.inputs]
    return Graph(f"{graph.name}_vjp", (*cotangents, *results, *graph.inputs), gradients)


def joint(graph: Graph, wrt: Iterable[str] | None = None) -> Graph:
    """Forward and backward in one: the outputs of `graph`, then one gradient per wanted input.

    Takes the inputs of `graph`, then one cotangent `grad_<i>` for each floating-point output number
    i that is a plain result (buffer updates have none).
    """
    wanted = _wanted(graph, wrt)
    taken = set(graph.input_names)
    cotangents: list[Node | None] = []
    for i, (node, name) in enumerate(zip(graph.outputs, graph.output_names, strict=True)):
        plain = not name and is_float(node.type)
        cotangents.append(input_node(fresh_name(f"grad_{i}", taken), node.type) if plain else None)
    found = backprop(graph.outputs, cotangents, wanted)
    gradients = [found.get(n) or zeros(n.type) for n in wanted]
    inputs = (*graph.inputs, *(c for c in cotangents if c is not None))
    names = (*graph.output_names, *("" for _ in gradients))
    return Graph(f"{graph.name}_joint", inputs, (*graph.outputs, *gradients), names)


def backprop(
    outputs: Iterable[Node],
    cotangents: Iterable[Node | None],
    wanted: Iterable[Node],
    given: dict[Node, Node] | None = None,
) -> dict[Node, Node]:
    """Gradients of sum(output * cotangent) for the input nodes in `wanted` that are reached.

    `given` maps nodes whose values are already known to the nodes that hold them. New nodes carry
    the `loc` of the node they are the gradient of.
    """
    outputs = tuple(outputs)
    order = toposort(outputs)
    values = _forward_values(order, given or {})
    active = _active(order, set(wanted))
    sums: dict[Node, Any] = {}
    for node, g in zip(outputs, cotangents, strict=True):
        if g is not None and node in active and is_float(node.type):
            _accumulate(sums, node, g)
    known = {*order, *values.values(), *(g for g in sums.values() if isinstance(g, Node))}
    for node in reversed(order):
        if node not in sums or node.op is None:
            continue
        g = _whole_cotangent(sums.pop(node), node.type)
        operands = tuple(values[x] for x in node.inputs)
        gradients = node.op.vjp(g, _value_of(node, values), *operands, **node.attrs)
        for x, part in zip(node.inputs, gradients, strict=True):
            if x not in active or part is None:
                continue
            part = part() if callable(part) else part
            if part is not None:
                _accumulate(sums, x, part)
                _stamp(sums[x], known, node.loc)
    return {n: g for n, g in sums.items() if n.op is None}


def _forward_values(order: list[Node], given: dict[Node, Node]) -> dict[Any, Node]:
    """For each node the node that holds its value, when the nodes in `given` need no computing."""
    values: dict[Any, Node] = {}  # by node; by (node, number) for one of several results
    for node in order:
        if node in given:
            values[node] = given[node]
            continue
        operands = tuple(values[x] for x in node.inputs)
        same = all(a is b for a, b in zip(operands, node.inputs, strict=True))
        values[node] = node if same else Node(node.op, operands, node.attrs, node.type, node.loc)
    if given:
        for node in order:  # the results of a multi-result node may be given one by one
            if node.name == "get":
                values[node.inputs[0], node.attrs["index"]] = values[node]
    return values


def _value_of(node: Node, values):
    """The value of a node; for several results the tuple of their `get` nodes."""
    value = values[node]
    if isinstance(node.type, TensorType):
        return value
    return tuple(
        values.get((node, i)) or Node(OPS["get"], (value,), {"index": i}, t, node.loc)
        for i, t in enumerate(node.type)
    )


def _active(order: list[Node], wanted: set[Node]) -> set[Node]:
    """The nodes on a differentiable path from a wanted input."""
    active = set()
    for node in order:
        if node.op is None:
            reached = node in wanted
        else:
            reached = any(x in active for x in node.inputs)
            reached = reached and has_float(node.type)
            if reached and not node.op.differentiable:
                raise GradError(
                    f"{node!r} has no gradient: take gradients before the passes that make kernels"
                )
        if reached:
            active.add(node)
    return active


def _accumulate(sums: dict, node: Node, part):
    """Adds a contribution; for a multi-result node it is a tuple, None for unreached results."""
    known = sums.get(node)
    if known is None:
        sums[node] = part
    elif isinstance(part, tuple):
        pairs = zip(known, part, strict=True)
        sums[node] = tuple(a if b is None else b if a is None else a + b for a, b in pairs)
    else:
        sums[node] = known + part


def _whole_cotangent(g, type):
    """Fills the unreached results of a multi-result node with zeros."""
    if not isinstance(g, tuple):
        return g
    return tuple(zeros(t) if part is None else part for part, t in zip(g, type, strict=True))


def _stamp(value, known: set[Node], loc: Loc):
    """Gives freshly made gradient nodes the place of the node they belong to."""
    stack = [v for v in value if v is not None] if isinstance(value, tuple) else [value]
    while stack:
        node = stack.pop()
        if node in known:
            continue
        known.add(node)
        if node.op is not None:
            node.loc = loc
            stack.extend(node.inputs)


# -- helpers --------------------------------------------------------------------------------------


def is_float(type) -> bool:
    return isinstance(type, TensorType) and type.dtype.is_floating_point


def has_float(type) -> bool:
    return is_float(type) if isinstance(type, TensorType) else any(map(is_float, type))


def zeros(type: TensorType) -> Node:
    value = 0.0 if type.dtype.is_floating_point else 0
    return build_node(OPS["full"], (), dict(value=value, shape=type.shape, dtype=type.dtype))


def fresh_name(name: str, taken: set[str]) -> str:
    """`name`, or `name_1`, `name_2`, ... if it is taken; marks the result as taken."""
    candidate, count = name, 0
    while candidate in taken:
        count += 1
        candidate = f"{name}_{count}"
    taken.add(candidate)
    return candidate


def _wanted(graph: Graph, wrt: Iterable[str] | None) -> list[Node]:
    by_name = {n.attrs["name"]: n for n in graph.inputs}
    if wrt is None:
        return [n for n in graph.inputs if is_float(n.type)]
    wanted = []
    for name in wrt:
        if name not in by_name:
            known = ", ".join(by_name)
            raise GradError(
                f"graph {graph.name} has no input {name} to differentiate (has: {known})"
            )
        if not is_float(by_name[name].type):
            raise GradError(
                f"input {name} : {by_name[name].type} has no gradient; only floating point does"
            )
        wanted.append(by_name[name])
    return wanted


def _scalar_gradients(graph: Graph, wanted: list[Node], output: int) -> list[Node]:
    if not -len(graph.outputs) <= output < len(graph.outputs):
        raise GradError(f"graph {graph.name} has no output {output} (has {len(graph.outputs)})")
    node = graph.outputs[output]
    if not is_float(node.type) or node.type.size != 1:
        raise GradError(
            f"grad needs an output with one floating-point element, got {node.type}; "
            "use joint or vjp_graph to give cotangents of larger outputs"
        )
    attrs = dict(value=1.0, shape=node.type.shape, dtype=node.type.dtype)
    found = backprop((node,), (build_node(OPS["full"], (), attrs),), wanted)
    return [found.get(n) or zeros(n.type) for n in wanted]
