"""Graph bodies of `call` nodes that the tracer makes by itself."""

from __future__ import annotations

from .ir import Graph, Node, build_node, input_node, ops
from .ir.types import TensorType


def zero_node(type_: TensorType) -> Node:
    """A zero of any type."""
    value = {"f": 0.0, "b": False}.get(type_.dtype.kind, 0)
    return build_node(ops.full, (), dict(value=value, shape=type_.shape, dtype=type_.dtype))


def straight_through(old: Node, new: Node) -> Node:
    """`new`, whose gradient goes to `old`: what autograd makes of a write it did not see."""
    type_ = old.type
    names = ("old", "new")
    inputs = [input_node(name, type_) for name in names]
    body = Graph("overwrite", inputs, (inputs[1],))
    g, y, *xs = (input_node(name, type_) for name in ("g", "y", *names))
    rule = Graph("overwrite_backward", (g, y, *xs), (g, zero_node(type_)))
    attrs = dict(body=body, vjp_body=rule, name="overwrite")
    return build_node(ops.call, (old, new), attrs, new.loc)[0]
