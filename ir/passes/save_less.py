"""The backward pass reads few values of the forward pass and computes the others from them.

before:
    graph f(x: f32[64,64], w: f32[64,64], u: f32[64,64]) {
      mul_0 = mul(x, u)
      tanh_0 = tanh(mul_0)
      add_0 = add(tanh_0, 1.0)
      matmul_0 = matmul(add_0, w)
      mul_1 = mul(matmul_0, tanh_0)
      mul_2 = mul(mul_1, mul_0)
      return mul_2
    }
after:
    graph f(x: f32[64,64], w: f32[64,64], u: f32[64,64]) {
      mul_0 = mul(x, u)
      tanh_0 = tanh(mul_0)
      add_0 = add(tanh_0, 1.0)
      matmul_0 = matmul(add_0, w)
      mul_1 = mul(x, u)
      tanh_1 = tanh(mul_1)
      mul_2 = mul(matmul_0, tanh_1)
      mul_3 = mul(mul_2, mul_1)
      return mul_3
    }

Kernels end at matrix products and their like, so what is read behind one more of them than it was
computed behind (its level) must be kept in memory, or be computed again. What is kept is a minimum
cut, by bytes and by repeated instructions, between what is in memory anyway and what is read
behind, as near to the readers as possible (as in functorch: H. He and S. Yu, "Min-cut
rematerialization", 2022).
The same operations on the same values: no bit changes.
Needs: contractions in the form that the backend wants. Establishes: nothing.
"""

from __future__ import annotations

from ..cost import node_cost
from ..graph import Graph, Node
from ..lower import CENTERS
from ..op import Creation, Elementwise
from ..ops import again as read_stored
from ..panels import product_of, written_in_panels
from .cut import ENDLESS, minimum_cut
from .groups import REDUCTIONS, SCATTER

SMALL = 4096  # elements that may as well be kept
BYTE = 8  # instructions that may be repeated for a byte that need not be kept
COSTLY = 64  # instructions of an operation that is never repeated
VIEWS = frozenset({"reshape", "permute", "expand", "slice"})
ENDING = frozenset({*CENTERS, *SCATTER, *REDUCTIONS}) - {"sum", "prod", "amax", "argmax"}


def save_less(graph: Graph) -> Graph:
    """`graph` with elementwise values that later kernels read computed again from fewer ones."""
    found = _Levels(graph)
    again = found.computed_again()
    factors = found.factors - again
    if not again and not factors:
        return graph
    new: dict[Node, Node] = {n: n for n in graph.inputs}
    copies: dict[tuple[Node, int], Node] = {}

    def at_level(node: Node, level: int) -> Node:
        """The value of `node` for a reader of this level."""
        if found.level[node] == level or not (node in again or node in factors):
            return new[node]
        made = copies.get((node, level))
        if made is None and node in factors:  # or fusion would compute it where it is read
            made = copies[node, level] = read_stored(new[node], number=1)
        elif made is None:
            operands = tuple(at_level(x, level) for x in node.inputs)
            made = copies[node, level] = _with(node, operands)
        return made

    for node in graph.nodes:
        operands = tuple(at_level(x, found.reads_at(node)) for x in node.inputs)
        new[node] = node if operands == node.inputs else _with(node, operands)
    outputs = tuple(new[x] for x in graph.outputs)
    return graph if outputs == graph.outputs else graph.with_outputs(outputs)


def _with(node: Node, operands: tuple[Node, ...]) -> Node:
    return Node(node.op, operands, node.attrs, node.type, node.loc)


class _Levels:
    """How many products lie before each node where it is computed as late as its readers need it,
    and what is read behind more of them."""

    def __init__(self, graph: Graph):
        self.level: dict[Node, int] = {n: 0 for n in graph.inputs}
        for node in graph.nodes:
            before = max((self.level[x] for x in node.inputs), default=0)
            self.level[node] = before + ends_kernel(node)
        users = graph.users()
        self.panels = {n for n in graph.nodes if written_in_panels(n, users)}
        self.factors: set[Node] = set()
        self._sink(graph)
        self.sinks: dict[Node, None] = {}  # read behind, by what could compute it
        self.kept: set[Node] = {*graph.inputs, *graph.outputs}
        for node in graph.nodes:
            for x in node.inputs:
                if self.reads_at(node) > self.level[x]:
                    self.sinks[x] = None
                shown = self._viewed(x)  # what a kernel finds in memory at a later level
                if ends_kernel(node) and self.reads_at(node) > self.level[shown]:
                    self.kept.add(shown)

    def _sink(self, graph: Graph) -> None:
        """Give nodes the level of their first reader."""
        users, results = graph.users(), set(graph.outputs)
        for node in reversed(graph.nodes):
            if not users[node] or node in results or node.name == "again":
                continue
            if self._is_factor(node, users[node]):
                self.factors.add(node)
            else:
                self.level[node] = min(map(self.reads_at, users[node]))

    def _is_factor(self, node: Node, users: list[Node]) -> bool:
        """Whether later products' results are multiplied by `node`, which the kernel of another
        product can compute: keeping it is as good as keeping what it is computed from."""
        if not isinstance(node.op, Elementwise) or not can_repeat(node):
            return False

        def is_later(x: Node) -> bool:
            return x.name == "contract" and self.level[x] > self.level[node]

        later = all(u.name == "mul" and any(map(is_later, u.inputs)) for u in users)
        return later and product_of(node) is not None

    def reads_at(self, node: Node) -> int:
        """The level at which `node` reads its operands."""
        return self.level[node] - ends_kernel(node)

    def computed_again(self) -> set[Node]:
        """The nodes of which later kernels compute their own copies."""
        edges: list[tuple[Node, Node]] = []
        capacity: dict[Node, int] = {}
        sinks = [n for n in self.sinks if can_repeat(n) and n not in self.kept]
        stack = list(sinks)
        while stack:
            node = stack.pop()
            if node in capacity:
                continue
            capacity[node] = self._cost(node)
            if capacity[node] and can_repeat(node):
                for x in dict.fromkeys(node.inputs):
                    edges.append((x, node))
                    stack.append(x)
        sources = [n for n in capacity if not (capacity[n] and can_repeat(n))]
        price = {n: node_cost(n) * n.type.size for n in set(capacity) - set(sources)}
        return minimum_cut(capacity, edges, sources, sinks, price)

    def _cost(self, node: Node) -> int:
        """What keeping `node` costs, in instructions; views are not kept but what they show."""
        if node in self.kept or isinstance(node.op, Creation):
            return 0
        is_view = node.name in VIEWS and node not in self.panels
        return ENDLESS if is_view else BYTE * node.type.nbytes

    def _viewed(self, node: Node) -> Node:
        """What a view or a copy with a frame shows; panels are what is stored."""
        while (node.name in VIEWS or node.name == "pad") and node not in self.panels:
            node = node.inputs[0]
        return node


def ends_kernel(node: Node) -> bool:
    """Whether no kernel goes on behind it into what it reads."""
    is_opaque = node.op.element is None and not isinstance(node.op, Creation)
    return (is_opaque and node.name != "again") or node.name in ENDING


def can_repeat(node: Node) -> bool:
    """Whether computing `node` again is cheap enough: a view, or a large elementwise operation."""
    if node.name in VIEWS:
        return True
    large = isinstance(node.op, Elementwise) and node.type.size >= SMALL
    return large and node_cost(node) <= COSTLY
