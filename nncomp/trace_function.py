"""autograd.Function and tensor hooks in a graph: `call` nodes with a gradient of their own.

The user's forward is traced into the body, the user's backward into the gradient's body. What
backward uses of forward's intermediate tensors becomes an extra result of the body; what either one
uses from outside becomes an extra operand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import contextmanager
from typing import Any

from . import dispatch, inplace
from .autograd.function import Function, call_backward, call_forward, check_gradients
from .autograd.modes import state
from .ir import Graph, Node, input_node, ops
from .trace_bodies import zero_node
from .trace_error import trace_error
from .trace_memory import GraphStorage
from .trace_tracer import Tracer

# The Functions there carry state from one node's backward to another's: see trace_hooks.py.
BOUNDARIES = ("nncomp.nn._call",)


@contextmanager
def recording(tracer: Tracer | None, grad: bool) -> Any:
    """Make `tracer` the one that gets all operations, under a grad mode."""
    before = state.tracer, state.grad_enabled
    state.tracer, state.grad_enabled = tracer, grad
    try:
        yield tracer
    finally:
        state.tracer, state.grad_enabled = before


class BodyTracer(Tracer):
    """Records the body of a `call`; tensors of the surrounding traces become its operands."""

    def __init__(self, parent: Tracer, forward: BodyTracer | None = None):
        super().__init__(parent)
        self.forward = forward
        self.operands: list[tuple[Any, Node]] = []  # (tensor of the parent, input node)
        self.results: list[Node] = []
        self.inputs_of: dict[Node, Node] = {}  # backward: a node of forward -> the input here
        self.storages: list[GraphStorage] = []

    def operand(self, x: Any) -> Any:
        """A new operand: the tensor that stands for `x` inside."""
        node = input_node(f"x{len(self.operands)}", x._type)
        self.operands.append((x, node))
        inner = self.wrap(node)
        strides = state.tracer.strides(x) if x._tracer is state.tracer else None
        inner._storage = GraphStorage(node, "operand", strides)
        self.storages.append(inner._storage)
        return inner

    def capture(self, x: Any) -> GraphStorage:
        """A tensor from outside: an operand, or for backward something that forward had."""
        found = self.captured.get(id(x))
        if found is not None:
            return found
        if x._tracer is None:
            x._data  # an error that says why, if it has no value  # noqa: B018
        elif not self.reaches(x):
            raise dispatch.leaked(ops.detach, (x,))
        if self.forward is None:
            node = input_node(f"x{len(self.operands)}", x._type)
            self.operands.append((x, node))
        elif x._tracer is self.forward:
            node = self.input_for(self.forward.node_of(x))
        else:
            node = self.input_for(self.forward.capture(x).first)
        self.keys[id(x)] = x, id(x)
        found = self.captured[id(x)] = GraphStorage(node, x)
        self.storages.append(found)
        return found

    def reaches(self, x: Any) -> bool:
        """True if the tensor belongs to a trace around this one."""
        tracer: Any = self
        while tracer is not None:
            if x._tracer is tracer or x._tracer is getattr(tracer, "forward", None):
                return True
            tracer = tracer.parent
        return False

    def capture_traced(self, x: Any) -> GraphStorage:
        return self.capture(x)

    def input_for(self, node: Node) -> Node:
        """In backward, the input that holds the value of a node of forward."""
        found = self.inputs_of.get(node)
        if found is None:
            forward = self.forward
            if all(node is not n for _, n in forward.operands):
                if all(node is not n for n in forward.results):
                    forward.results.append(node)
            found = self.inputs_of[node] = input_node(f"v{len(self.inputs_of)}", node.type)
        return found

    def remember(self, x: Any) -> None:
        self.parent.remember(x)

    def next_key(self, generator: Any = None) -> Any:
        with recording(self.parent, False):
            key = self.parent.next_key(generator)
        return self.wrap(self.capture(key).node)

    def register_hook(self, x: Any, hook: Callable) -> Any:
        raise trace_error(
            "a tensor hook inside of a custom Function cannot be recorded in a graph; register it "
            "on the result of the Function"
        )

    def written(self) -> list[GraphStorage]:
        """The storages from outside that were written."""
        return [s for s in self.storages if s.writes]


def call_function(tracer: Tracer, ctx: Function, args: tuple) -> Any:
    """Record a call of a Function; gives what forward returned, as tensors of `tracer`."""
    if type(ctx).__module__ in BOUNDARIES:
        from .trace_hooks import boundary_call

        return boundary_call(tracer, ctx, args)
    ctx.needs_input_grad = tuple(hasattr(a, "_type") and a.requires_grad for a in args)
    body = BodyTracer(tracer)
    inner = tuple(body.operand(a) if hasattr(a, "_type") else a for a in args)
    with recording(body, False):
        output = call_forward(ctx, inner)
        outputs = output if isinstance(output, tuple) else (output,)
        places = [i for i, y in enumerate(outputs) if hasattr(y, "_type")]
        body.results = [body.node_of(outputs[i]) for i in places]
    _check_writes(ctx, body, inner)
    fixed = _flags(ctx, outputs, places)
    rule = None
    if state.grad_enabled and any(ctx.needs_input_grad):
        rule = _trace_backward(tracer, ctx, args, body)
    name = type(ctx).__name__
    graph = Graph(name, [n for _, n in body.operands], body.results)
    attrs = dict(body=graph, vjp_body=rule, name=name)
    made = tracer.apply(ops.call, [x for x, _ in body.operands], attrs)
    results = list(outputs)
    for i, y, (plain, dirty) in zip(places, made, fixed, strict=False):
        results[i] = _result(y, plain, None if dirty is None else args[_index(dirty, inner)])
    return tuple(results) if isinstance(output, tuple) else results[0]


def _index(x: Any, items: Sequence) -> int:
    return next(i for i, item in enumerate(items) if item is x)


def _flags(ctx: Function, outputs: Sequence, places: list[int]) -> list[tuple[bool, Any]]:
    """For each tensor result: has it no gradient, and which dirty input is it."""
    flags = []
    for i in places:
        y = outputs[i]
        plain = any(y is t for t in ctx._non_differentiable)
        flags.append((plain, y if any(y is t for t in ctx._dirty) else None))
    return flags


def _check_writes(ctx: Function, body: BodyTracer, inner: tuple) -> None:
    dirty = [x._storage for x in ctx._dirty]
    for storage in body.written():
        if not any(storage is s for s in dirty):
            raise trace_error(
                f"{type(ctx).__name__}.forward writes a tensor in place that it got from outside; "
                "call ctx.mark_dirty(tensor) and return the tensor, or clone() it first"
            )


def _result(y: Any, plain: bool, dirty: Any) -> Any:
    if dirty is not None:
        return inplace.assign(dirty, y)
    return inplace.alias(y) if plain and y.requires_grad else y


def _trace_backward(tracer: Tracer, ctx: Function, args: tuple, body: BodyTracer) -> Graph:
    """The gradient's body: cotangents, results, operands -> one gradient per operand."""
    back = BodyTracer(tracer, body)
    count = len(body.results)
    cotangents = [input_node(f"g{i}", n.type) for i, n in enumerate(body.results)]
    with recording(back, False):
        grads = call_backward(ctx, [back.wrap(n) for n in cotangents])
        types = [getattr(a, "_type", None) for a in args]
        name = f"{type(ctx).__name__}Backward"
        checked = check_gradients(name, grads, types, ctx.needs_input_grad)
        found = [None if g is None else back.node_of(g) for g in checked]
    if back.written():
        raise trace_error(
            f"{type(ctx).__name__}.backward writes a saved tensor in place; clone() it first"
        )
    found = [g for g, t in zip(found, types, strict=True) if t is not None]
    return backward_graph(name, body, back, cotangents, count, found)


def backward_graph(
    name: str, body: BodyTracer, back: BodyTracer, cotangents: list, count: int, grads: list
) -> Graph:
    """A Graph in the order that `call` wants: all cotangents, all results, all operands."""
    extra = body.results[count:]
    cotangents = cotangents + [input_node(f"g{count + i}", n.type) for i, n in enumerate(extra)]
    operands = [n for _, n in body.operands]
    inputs_of, used = back.inputs_of, set()

    def place(prefix: str, number: int, node: Node) -> Node:
        known = inputs_of.get(node)
        if known is None or known in used:
            return input_node(f"{prefix}{number}", node.type)
        used.add(known)
        return known

    xs = [place("x", i, n) for i, n in enumerate(operands)]
    ys = [place("y", i, n) for i, n in enumerate(body.results)]
    outputs = [
        grads[i] if i < len(grads) and grads[i] is not None else zero_node(n.type)
        for i, n in enumerate(operands)
    ]
    return _named(Graph(name, (*cotangents, *ys, *xs), outputs), len(cotangents), len(ys))


def _named(graph: Graph, cotangents: int, results: int) -> Graph:
    """The same graph with inputs called g0, y0, x0, ..."""
    from .ir.graph import inline

    names = [f"g{i}" for i in range(cotangents)] + [f"y{i}" for i in range(results)]
    names += [f"x{i}" for i in range(len(graph.inputs) - len(names))]
    inputs = [input_node(name, n.type) for name, n in zip(names, graph.inputs, strict=True)]
    return Graph(graph.name, inputs, inline(graph, inputs))


# -- tensor hooks ---------------------------------------------------------------------------------


def hook_call(tracer: Tracer, node: Node, hooks: Sequence[Callable]) -> Node:
    """`node` through an identity whose gradient goes through `hooks`."""
    from .autograd.engine import call_tensor_hooks

    body = BodyTracer(tracer)
    x = input_node("x0", node.type)
    body.operands.append((tracer.wrap(node), x))
    body.results = [x]
    back = BodyTracer(tracer, body)
    g = input_node("g0", node.type)
    with recording(back, False):
        grad = call_tensor_hooks(dict(enumerate(hooks)), back.wrap(g))
        found = back.node_of(grad)
    rule = backward_graph("hook_backward", body, back, [g], 1, [found])
    graph = Graph("hook", [n for _, n in body.operands], body.results)
    attrs = dict(body=graph, vjp_body=rule, name="hook")
    nodes = [tracer.node_of(x) for x, _ in body.operands]
    return tracer.build(ops.call, nodes, attrs)[0]
