"""Kernels of a fused graph made one: which may be, and what the one computes.

A kernel may join another if none needs the other by way of a third; it may read what the other
stores, which is then read where it is computed. Bodies are put together over the same operands:
a reshaped operand is the operand itself, read at other positions.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..graph import Graph, Node, build_node, input_node
from ..op import OPS
from .cse import merge_equal


@dataclass(eq=False)
class Bundle:
    """Kernels that become one; `first` and `last` are their numbers in the graph."""

    members: list[Node]
    first: int
    last: int
    kind: str = "map"
    attrs: dict[str, Any] = field(default_factory=dict)


class Merging:
    """A fused graph whose kernels are bundled one after the other."""

    def __init__(self, graph: Graph):
        self.graph = graph
        self.number = {n: i for i, n in enumerate((*graph.inputs, *graph.nodes))}
        self.of: dict[Node, Bundle] = {}

    def bundle(self, node: Node) -> Bundle:
        """What a kernel is part of by now, if only of itself."""
        if node not in self.of:
            self.of[node] = Bundle([node], self.number[node], self.number[node])
        return self.of[node]

    def may_join(self, a: Bundle, b: Bundle) -> bool:
        """Whether no third kernel stands between the two."""
        return a is not b and not self._needs(a, b) and not self._needs(b, a)

    def join(self, a: Bundle, b: Bundle) -> None:
        """Make one of the two; the first result stays that of `a`."""
        a.members += b.members
        a.first, a.last = min(a.first, b.first), max(a.last, b.last)
        for node in b.members:
            self.of[node] = a

    def _needs(self, later: Bundle, earlier: Bundle) -> bool:
        """Whether `later` reads something that is made of what `earlier` stores."""
        mine, sought = set(later.members), set(earlier.members)
        stack = [
            x for n in later.members for x in n.inputs
            if memory_of(x) not in sought and memory_of(x) not in mine
        ]  # fmt: skip
        seen: set[Node] = set()
        while stack:
            node = stack.pop()
            if node in seen:
                continue
            seen.add(node)
            group = self.of.get(node)
            if node in sought or group is earlier:
                return True
            last = group.last if group else self.number[node]
            if last > earlier.first:
                stack += [x for n in (group.members if group else (node,)) for x in n.inputs]
        return False

    def result(self) -> Graph:
        """The graph with one node for each bundle."""
        new: dict[Node, Node] = {n: n for n in self.graph.inputs}
        places: dict[Node, tuple[Node, int]] = {}  # the merged kernel, where results begin
        stack = list(reversed(self.graph.outputs))
        while stack:
            node = stack[-1]
            members = self._members(node)
            missing = [x for n in members for x in n.inputs if self._is_missing(x, members, new)]
            if node in new or not missing:
                stack.pop()
                if node not in new:
                    self._make(node, members, new, places)
                continue
            stack += missing
        return self.graph.with_outputs(tuple(new[x] for x in self.graph.outputs))

    def _members(self, node: Node) -> list[Node]:
        bundle = self.of.get(node)
        return bundle.members if bundle else [node]

    @staticmethod
    def _is_missing(x: Node, members: list[Node], new: dict[Node, Node]) -> bool:
        while x not in new and memory_of(x) in members:
            return False
        return x not in new

    def _make(self, node: Node, members: list[Node], new, places) -> None:
        if node.name == "get" and node.inputs[0] in places:
            kernel, begin = places[node.inputs[0]]
            index = begin + node.attrs["index"]
            new[node] = Node(OPS["get"], (kernel,), {"index": index}, node.type, node.loc)
        elif len(members) == 1:
            operands = tuple(new[x] for x in node.inputs)
            same = operands == node.inputs
            new[node] = node if same else Node(node.op, operands, node.attrs, node.type, node.loc)
        else:
            sources, body, begins = merged_body(members)
            bundle = self.of[node]
            attrs = {"body": body, "kind": bundle.kind, **bundle.attrs}
            types = tuple(n.type for n in body.outputs)
            values = tuple(new[x] for x in sources)
            kernel = Node(OPS["fused"], values, attrs, types, members[0].loc)
            for member, begin in zip(members, begins, strict=True):
                new[member], places[member] = kernel, (kernel, begin)


def memory_of(node: Node) -> Node:
    """The kernel or other node whose result this is, maybe under another shape."""
    while node.name in ("get", "reshape"):
        node = node.inputs[0]
    return node


def stored_of(node: Node) -> Node:
    """What is in memory: an operand without its reshapes."""
    while node.name == "reshape":
        node = node.inputs[0]
    return node


def merged_body(members: list[Node]) -> tuple[list[Node], Graph, list[int]]:
    """The operands of kernels made one, its body, and where the results of each begin."""
    operands: dict[Node, Node] = {}  # input of the body by what it is outside
    outputs: dict[Node, tuple[Node, ...]] = {}
    waiting = list(members)
    while waiting:  # one that reads another's results comes after it
        member = next(m for m in waiting if not _reads(m, waiting))
        waiting.remove(member)
        outputs[member] = _inlined(member, operands, outputs)
    begins: list[int] = []
    every: list[Node] = []
    for member in members:
        begins.append(len(every))
        every += outputs[member]
    body = Graph(members[0].attrs["body"].name, list(operands.values()), every)
    return list(operands), merge_equal(body), begins


def _reads(member: Node, others: list[Node]) -> bool:
    return any(memory_of(x) in others for x in member.inputs)


def _inlined(member: Node, operands: dict[Node, Node], outputs) -> tuple[Node, ...]:
    """The results of a member's body over the operands of the merged one."""
    body: Graph = member.attrs["body"]
    new: dict[Node, Node] = {}
    for inner, x in zip(body.inputs, member.inputs, strict=True):
        base = stored_of(x)
        if base.name == "get" and base.inputs[0] in outputs:
            value = outputs[base.inputs[0]][base.attrs["index"]]
        else:
            value = operands.setdefault(base, input_node(f"x{len(operands)}", base.type, base.loc))
        if value.shape != x.shape:
            value = build_node(OPS["reshape"], (value,), {"shape": x.shape}, x.loc)
        new[inner] = value
    for node in body.nodes:
        inputs = tuple(new[x] for x in node.inputs)
        new[node] = Node(node.op, inputs, node.attrs, node.type, node.loc)
    return tuple(new[x] for x in body.outputs)
