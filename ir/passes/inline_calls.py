"""Replaces calls by what they compute, and drops the marks that only gradients read.

before:
    graph f(x: f32[4], y: f32[4]) {
      call_0 = call(x, y, vjp_body=None, name='product')  : (f32[4],) {   # net.scale
        body = graph product(a: f32[4], b: f32[4]) {
          detach_0 = detach(b)      : f32[4]
          mul_0 = mul(a, detach_0)  : f32[4]
          return mul_0
        }
      }
      neg_0 = neg(call_0[0])                              : f32[4]
      return neg_0
    }
after:
    graph f(x: f32[4], y: f32[4]) {
      mul_0 = mul(x, y)   : f32[4]
      neg_0 = neg(mul_0)  : f32[4]
      return neg_0
    }

A `call` exists to give its body a gradient of its own, a `detach` to cut gradients off; once
gradients have been taken, neither means anything.
Establishes: no call and no detach, in bodies neither. Needs: gradients taken.
"""

from __future__ import annotations

from ..graph import Graph, Node, inline, rebuild, with_operands
from ..rewrite import with_bodies


def inline_calls(graph: Graph) -> Graph:
    """`graph` with every call replaced by the nodes of its body, however deeply nested."""
    results: dict[Node, tuple[Node, ...]] = {}

    def visit(node: Node, operands: tuple[Node, ...]) -> Node:
        if node.name == "call":
            results[node] = inline(inline_calls(node.attrs["body"]), operands)
            return node  # only its `get` nodes read it, and they are replaced below
        if node.name == "get" and node.inputs[0] in results:
            return results[node.inputs[0]][node.attrs["index"]]
        if node.name == "detach":
            return operands[0]
        return with_bodies(with_operands(node, operands), inline_calls)

    return rebuild(graph, visit)
