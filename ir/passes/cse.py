"""Common subexpressions: what is computed twice is computed once.

before:
    graph f(x: f32[4], y: f32[4]) {
      add_0 = add(x, y)          : f32[4]
      exp_0 = exp(add_0)         : f32[4]
      add_1 = add(y, x)          : f32[4]
      exp_1 = exp(add_1)         : f32[4]
      mul_0 = mul(exp_0, exp_1)  : f32[4]
      return mul_0
    }
after:
    graph f(x: f32[4], y: f32[4]) {
      add_0 = add(x, y)          : f32[4]
      exp_0 = exp(add_0)         : f32[4]
      mul_0 = mul(exp_0, exp_0)  : f32[4]
      return mul_0
    }

Two nodes are one if op, attributes and operands are (in either order for commutative ops); bodies
are compared by what they compute, not by name. A scan whose results are the first results of
another scan over the same operands becomes that scan: gradients run a loop again to keep its
carries, and after this pass it runs once. random_bits with one key are one by definition.
Establishes: no two nodes compute the same. Needs: nothing.
"""

from __future__ import annotations

from ..graph import Graph, Node, rebuild, with_operands
from ..op import attribute_key
from ..rewrite import COMMUTATIVE, with_bodies


def cse(graph: Graph) -> Graph:
    """`graph` with equal nodes merged (the first one stays), inside bodies too."""
    return merge_scans(merge_equal(graph))


class Numbering:
    """Gives equal computations equal numbers."""

    def __init__(self):
        self.numbers: dict[tuple, int] = {}

    def number(self, key: tuple) -> int:
        return self.numbers.setdefault(key, len(self.numbers))

    def key(self, node: Node, operands: tuple[int, ...]) -> tuple:
        if node.name in COMMUTATIVE:
            operands = tuple(sorted(operands))
        if node.key is None:
            plain = {k: v for k, v in node.attrs.items() if not isinstance(v, Graph)}
            node.key = node.name, attribute_key(plain), len(plain) == len(node.attrs)
        if node.key[2]:
            return (operands, node.key)
        bodies = ((k, self.graph(v)) for k, v in node.attrs.items() if isinstance(v, Graph))
        return (operands, node.key, *bodies)

    def graph(self, graph: Graph) -> tuple:
        """Input types and output numbers: equal for graphs that compute the same."""
        found = {n: self.number(("input", i, n.type)) for i, n in enumerate(graph.inputs)}
        for node in graph.nodes:
            found[node] = self.number(self.key(node, tuple(found[x] for x in node.inputs)))
        return tuple(n.type for n in graph.inputs), tuple(found[x] for x in graph.outputs)


def merge_equal(graph: Graph) -> Graph:
    numbering = Numbering()
    number_of = {n: -1 - i for i, n in enumerate(graph.inputs)}
    first: dict[int, Node] = {}

    def visit(node: Node, operands: tuple[Node, ...]) -> Node:
        node = with_bodies(with_operands(node, operands), merge_equal)
        number = numbering.number(numbering.key(node, tuple(number_of[x] for x in operands)))
        kept = first.setdefault(number, node)
        number_of[kept] = number
        return kept

    return rebuild(graph, visit)


def merge_scans(graph: Graph) -> Graph:
    """Scans whose results begin another scan's results over the same operands become that scan."""
    numbering = Numbering()
    groups: dict[tuple, list[tuple[tuple, Node]]] = {}
    for node in graph.nodes:
        if node.name == "scan":
            types, outputs = numbering.graph(node.attrs["body"])
            plain = {k: v for k, v in node.attrs.items() if k != "body"}
            key = (*(id(x) for x in node.inputs), types, attribute_key(plain))
            groups.setdefault(key, []).append((outputs, node))
    replaced: dict[Node, Node] = {}
    for scans in groups.values():
        longest, whole = max(scans, key=lambda pair: len(pair[0]))
        for outputs, node in scans:
            if node is not whole and longest[: len(outputs)] == outputs:
                replaced[node] = whole
    if not replaced:
        return graph
    kept, made = set(replaced.values()), {}

    def visit(node: Node, operands: tuple[Node, ...]) -> Node | None:
        whole = replaced.get(node, node)
        if whole not in kept:
            return None
        if whole not in made:
            made[whole] = with_operands(whole, operands)
        return made[whole]

    return merge_equal(rebuild(graph, visit))
