"""One spelling for what can be spelled in several ways, so that later passes look for one.

before:
    graph f(x: f32[4]) {
      mul_0 = mul(2, x)                : f32[4]
      maximum_0 = maximum(0.0, mul_0)  : f32[4]
      return maximum_0
    }
after:
    graph f(x: f32[4]) {
      mul_0 = mul(x, 2.0)              : f32[4]
      maximum_0 = maximum(0.0, mul_0)  : f32[4]
      return maximum_0
    }

Constants become the second operand of commutative ops and have the Python type of their dtype. The
order of the others stays; `cse` ignores it. maximum and minimum with a zero are left alone: which
of 0.0 and -0.0 they return depends on the order.
Establishes: constants second, normal constant values. Needs: nothing.
"""

from __future__ import annotations

from ..graph import Graph, Node, rebuild, with_operands
from ..rewrite import COMMUTATIVE, full_node, normal_value, with_bodies


def canonicalize(graph: Graph) -> Graph:
    """`graph` with constants in normal form and in second place; bodies included."""
    return rebuild(graph, _visit)


def _visit(node: Node, operands: tuple[Node, ...]) -> Node:
    node = with_bodies(with_operands(node, operands), canonicalize)
    if node.name == "full":
        value = node.attrs["value"]
        same = type(normal_value(value, node.dtype)) is type(value)
        return node if same else full_node(value, node.type, node.loc)
    if len(operands) == 2 and is_constant(operands[0]) and not is_constant(operands[1]):
        if node.name in COMMUTATIVE or (
            node.name in ("maximum", "minimum") and operands[0].attrs["value"] != 0
        ):
            return with_operands(node, operands[::-1])
    return node


def is_constant(node: Node) -> bool:
    return node.name == "full"
