"""Module backward hooks in a graph: a pair of identities around forward, with hooks as gradients.

While forward is recorded both are plain identities, and nodes on the tape run the hooks when a
gradient is asked for inside of the traced code. In the finished graph they become `call` nodes
whose gradients are the recorded hooks:

    x', tokens = call(x)  ->  y = forward(x')  ->  y' = call(y, tokens)

A token is zeros of the type of an output. The gradient of the second call gives grad_output to the
tokens, too: so the gradient of the first one has grad_input and grad_output at hand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from .autograd.function import Function, check_gradients, function_node
from .ir import Graph, Node, build_node, input_node, ops
from .ir.graph import toposort, with_operands
from .trace_bodies import zero_node
from .trace_error import trace_error
from .trace_function import BodyTracer, backward_graph, recording
from .trace_tracer import Tracer


class Side(NamedTuple):
    """One recorded identity: the body of its call, and the types of the tensors through it."""

    body: Graph
    types: list


class Pair:
    """The identities around one call of a module, as they were recorded."""

    def __init__(self, boundary: Any):
        self.boundary = boundary
        self.inputs: Side | None = None
        self.outputs: Side | None = None


def boundary_call(tracer: Tracer, ctx: Function, args: tuple) -> tuple:
    """Record an identity on the tensors after the callback in `args`."""
    if isinstance(tracer, BodyTracer):
        raise trace_error(
            "a module backward hook inside of a custom Function or a loop cannot be recorded in a "
            "graph; put the hook on a module around it, or run this module eagerly"
        )
    callback, *tensors = args
    ctx.callback = callback  # type: ignore[attr-defined]
    ctx.set_materialize_grads(False)
    tape_node = function_node(ctx, args)
    types = [x._type for x in tensors]
    inputs = [input_node(f"x{i}", t) for i, t in enumerate(types)]
    side = Side(Graph("boundary", inputs, inputs), types)
    boundary = callback.__self__
    pair = tracer.boundaries.setdefault(id(boundary), Pair(boundary))
    if callback == boundary._on_grad_input:
        pair.inputs = side
    else:
        pair.outputs = side
    attrs = dict(body=side.body, vjp_body=None, name="boundary")
    made = tracer.build(ops.call, [tracer.node_of(x) for x in tensors], attrs)
    results = tuple(tracer.wrap(node) for node in made)
    for number, y in enumerate(results):
        if tape_node is not None:
            tape_node.add_result(y._type)
            y._grad_fn, y._output_nr, y._requires_grad = tape_node, number, True
    return results


class _Call(NamedTuple):
    """What a recorded identity becomes: attributes of the call, operands besides the tensors."""

    attrs: dict[str, Any]
    more: list[Node]
    pair: Pair
    is_output: bool


def hooked_calls(tracer: Tracer) -> dict[Graph, _Call]:
    """The calls with hooks, by the bodies of the identities whose places they take."""
    found: dict[Graph, _Call] = {}
    for pair in tracer.boundaries.values():
        if pair.outputs is None:
            continue
        found[pair.outputs.body] = _output_call(tracer, pair)
        if pair.inputs is not None:
            found[pair.inputs.body] = _input_call(tracer, pair)
    return found


def _output_call(tracer: Tracer, pair: Pair) -> _Call:
    """y, and tokens if there are inputs -> y; the gradient goes through the pre hooks."""
    boundary, types = pair.boundary, pair.outputs.types
    tokens = types if pair.inputs is not None else []

    def rule(grads: list) -> list:
        full = boundary.before(grads)
        if not tokens:
            boundary.without_inputs(full)
        new = [full[place] for place in boundary.output_places]
        return new + new if tokens else new

    return _call(tracer, pair, True, [*types, *tokens], [], rule)


def _input_call(tracer: Tracer, pair: Pair) -> _Call:
    """x -> x and a token for each output; the gradient goes through the hooks."""
    boundary, types = pair.boundary, pair.inputs.types
    count = len(types)

    def rule(grads: list) -> list:
        outputs = boundary.full_outputs(grads[count:])
        full = boundary.after(grads[:count], outputs)
        return [full[place] for place in boundary.input_places]

    return _call(tracer, pair, False, types, pair.outputs.types, rule)


def _call(
    tracer: Tracer, pair: Pair, is_output: bool, operands: list, tokens: list, rule: Callable
) -> _Call:
    """A call that gives on its first operands and makes `tokens`; `rule` is its gradient."""
    count = len(pair.outputs.types) if is_output else len(operands)
    body = BodyTracer(tracer)
    inputs = [input_node(f"x{i}", t) for i, t in enumerate(operands)]
    for node in inputs:
        body.operands.append((tracer.wrap(zero_node(node.type)), node))
    body.results = [*inputs[:count], *(zero_node(t) for t in tokens)]
    back = BodyTracer(tracer, body)
    cotangents = [input_node(f"g{i}", n.type) for i, n in enumerate(body.results)]
    given = len(cotangents)
    with recording(back, False):
        grads = rule([back.wrap(n) for n in cotangents])
        fitted = check_gradients("module backward hook", grads, operands, [True] * len(operands))
        nodes = [None if g is None else back.node_of(g) for g in fitted]
    if back.written():
        raise trace_error("a module backward hook writes a tensor from outside; clone() it first")
    name = "hooked_outputs" if is_output else "hooked_inputs"
    vjp = backward_graph(f"{name}_backward", body, back, cotangents, given, nodes)
    graph = Graph(name, [n for _, n in body.operands], body.results)
    more = [tracer.node_of(x) for x, _ in body.operands[len(operands) :]]
    return _Call(dict(body=graph, vjp_body=vjp, name=name), more, pair, is_output)


def with_hooks(outputs: Sequence[Node], calls: dict[Graph, _Call]) -> list[Node]:
    """The outputs with the hooked calls in the places of their identities."""
    if not calls:
        return list(outputs)
    new: dict[Node, Node] = {}
    made: dict[int, Node] = {}  # the call at the inputs of a pair
    for node in toposort(outputs):
        operands = tuple(new[x] for x in node.inputs)
        call = calls.get(node.attrs["body"]) if node.name == "call" else None
        if call is None:
            new[node] = with_operands(node, operands)
            continue
        operands = (*operands, *_tokens(call, made), *(new.get(x, x) for x in call.more))
        (found, *_) = build_node(ops.call, operands, call.attrs, node.loc)
        new[node] = found.inputs[0]
        if not call.is_output:
            made[id(call.pair)] = new[node]
    return [new[x] for x in outputs]


def _tokens(call: _Call, made: dict[int, Node]) -> list[Node]:
    """What the call at the outputs gets from the one at the inputs."""
    pair = call.pair
    if not call.is_output or pair.inputs is None:
        return []
    source = made.get(id(pair))
    if source is None:  # the outputs depend on none of the inputs
        return [zero_node(t) for t in pair.outputs.types]
    first = len(pair.inputs.types)
    return [
        Node(ops.get, (source,), {"index": first + i}, t, source.loc)
        for i, t in enumerate(pair.outputs.types)
    ]
