"""Sums of multiples of one gradient become the gradient times one factor.

before:
    graph f(x: f32[64,64], w: f32[64,64], g: f32[64,64]) {
      tanh_0 = tanh(x)
      matmul_0 = matmul(g, w)
      mul_0 = mul(matmul_0, tanh_0)
      mul_1 = mul(matmul_0, x)
      add_0 = add(mul_0, mul_1)
      return add_0
    }
after:
    graph f(x: f32[64,64], w: f32[64,64], g: f32[64,64]) {
      tanh_0 = tanh(x)
      matmul_0 = matmul(g, w)
      add_0 = add(tanh_0, x)
      mul_0 = mul(matmul_0, add_0)
      return mul_0
    }

Gradients of activations such as gelu and silu come as such sums. The factor is there before the
product that makes the gradient is: the kernel of the activation can compute it from what it has at
hand (its tanh above all), and save_less keeps it in place of the activation's operand.
The results are those of the sum within its rounding.
Needs: nothing. Establishes: nothing.
"""

from __future__ import annotations

from ..graph import Graph, Node, build_node, rebuild
from ..op import Elementwise
from ..ops import mul
from ..rewrite import full_node
from .save_less import ends_kernel

SUMS = frozenset({"add", "sub"})


def factor_gradients(graph: Graph) -> Graph:
    """`graph` with such sums as products; itself if it has none."""
    found = _Multiples(graph)
    tops = found.tops(graph)
    if not tops:
        return graph
    new: dict[Node, Node] = {n: n for n in graph.inputs}
    factors: dict[Node, Node | None] = {}

    def visit(node: Node, operands: tuple[Node, ...]) -> Node | None:
        new.update(zip(node.inputs, operands, strict=True))
        if node not in tops:
            return None
        factor = found.factor(node, new, factors)
        assert factor is not None, "a sum of multiples has a factor"
        return mul(new[found.of[node]], factor)

    return rebuild(graph, visit)


class _Multiples:
    """Which nodes are multiples of which other one: `of[node]`, the node itself for most.

    What they are multiplied by is there before one more product (its level) than that one.
    """

    def __init__(self, graph: Graph):
        self.level: dict[Node, int] = {n: 0 for n in graph.inputs}
        self.of: dict[Node, Node] = {n: n for n in graph.inputs}
        for node in graph.nodes:
            before = max((self.level[x] for x in node.inputs), default=0)
            self.level[node] = before + ends_kernel(node)
            self.of[node] = self._of(node) if _is_wide_float(node) else node

    def _of(self, node: Node) -> Node:
        roots = [self.of[x] for x in node.inputs]
        if node.name in SUMS:
            return roots[0] if roots[0] is roots[1] and self._is_late(roots[0]) else node
        if node.name == "neg":
            return roots[0] if self._is_late(roots[0]) else node
        if node.name == "div":
            return roots[0] if self._is_before(node.inputs[1], roots[0]) else node
        if node.name == "mul":
            for root, other in zip(roots, reversed(node.inputs), strict=True):
                if self._is_before(other, root):
                    return root
        return node

    def _is_late(self, root: Node) -> bool:
        return self.level[root] > 0

    def _is_before(self, other: Node, root: Node) -> bool:
        return self.level[other] < self.level[root]

    def is_multiple(self, node: Node) -> bool:
        """Whether a node is another one times something."""
        return self.of[node] is not node

    def tops(self, graph: Graph) -> set[Node]:
        """Multiples with a sum among what they are made of, which no further multiple reads."""
        users, results = graph.users(), set(graph.outputs)
        has_sum: set[Node] = set()
        for node in graph.nodes:
            sums = node.name in SUMS or not has_sum.isdisjoint(node.inputs)
            if sums and self.is_multiple(node):
                has_sum.add(node)
        return {
            n for n in has_sum
            if n in results or any(self.of[u] is not self.of[n] for u in users[n])
        }  # fmt: skip

    def factor(
        self, top: Node, new: dict[Node, Node], factors: dict[Node, Node | None]
    ) -> Node | None:
        """What `of[top]` is multiplied by, in `new` operands; None for 1."""
        root = self.of[top]
        stack = [top]
        while stack:
            node = stack[-1]
            missing = [x for x in self._parts(node) if x is not root and x not in factors]
            if missing:
                stack += missing
                continue
            stack.pop()
            if node not in factors:
                parts = [None if x is root else factors[x] for x in self._parts(node)]
                factors[node] = self._combined(node, parts, new)
        return factors[top]

    def _parts(self, node: Node) -> tuple[Node, ...]:
        """The operands that are multiples, too."""
        root = self.of[node]
        return tuple(x for x in node.inputs if self.of[x] is root)

    def _combined(self, node: Node, parts: list[Node | None], new: dict[Node, Node]) -> Node | None:
        if node.name == "mul":
            (other,) = (x for x in node.inputs if self.of[x] is not self.of[node])
            return new[other] if parts[0] is None else mul(parts[0], new[other])
        assert node.op is not None
        one = full_node(1.0, node.type, node.loc)
        operands = [one if x is None else x for x in parts]
        if node.name == "div":
            operands.append(new[node.inputs[1]])
        return build_node(node.op, tuple(operands), node.attrs, node.loc)


def _is_wide_float(node: Node) -> bool:
    if not isinstance(node.op, Elementwise):
        return False
    return node.dtype.kind == "f" and node.dtype.itemsize >= 4
