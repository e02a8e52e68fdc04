"""Which values a graph's kernels would store, from which step to which, as the planner orders them.

The steps are those of the fused graph in its order; what a kernel keeps in registers is not stored.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from ..graph import Graph, Node
from ..types import TensorType
from .fuse import Fusion, is_light, is_view, kernels_of
from .memory import padded
from .order import is_alias, with_updates_early


@dataclass(eq=False)
class Stored:
    """A value in memory: written at step `born`, read at `uses`, the last of which is `dies`."""

    node: Node
    bytes: int
    born: int
    uses: list[int] = field(default_factory=list)
    is_result: bool = False  # of the program: it has memory of its own

    @property
    def dies(self) -> int:
        """The last step that reads it."""
        return max(self.uses, default=self.born)


class Lifetimes:
    """The stored values of `graph`, by node, and how many bytes are alive at each step."""

    def __init__(self, graph: Graph):
        self.graph = graph
        fusion = Fusion(graph)
        groups = fusion.run()
        fused, new = kernels_of(graph, groups)
        order = {n: t for t, n in enumerate(with_updates_early(fused))}
        self.homes = {n: [_step(g.root, new, order) for g in gs] for n, gs in fusion.homes.items()}
        self.centers = {n: g.center for g in groups if g.center for n in g.outputs}
        self.roots = {n: _root(y) for n, y in new.items()}
        self.stored = self._stored(groups, order)
        self._read(fused, order)
        self.load = [0] * (len(order) + 1)
        for v in self.stored.values():
            if not v.is_result:
                for t in range(v.born, v.dies + 1):
                    self.load[t] += v.bytes

    def _stored(self, groups: list, order: dict[Node, int]) -> dict[Node, Stored]:
        found = {}
        for group in reversed(groups):
            for node in group.outputs:
                root = self.roots[node]
                if is_alias(node) or root not in order or not isinstance(node.type, TensorType):
                    continue
                kernel = root.inputs[0] if root.name == "get" else root
                found[node] = Stored(node, padded(node.type.nbytes), order[kernel])
        return found

    def _read(self, fused: Graph, order: dict[Node, int]) -> None:
        by_root = {self.roots[n]: v for n, v in self.stored.items()}
        for node, step in order.items():
            if node.name == "get" or is_alias(node):
                continue
            for x in node.inputs:
                value = by_root.get(_root(x))
                if value is not None:
                    value.uses.append(step)
        for y in fused.outputs:
            value = by_root.get(_root(y))
            if value is not None:
                value.is_result = True

    def step_of(self, node: Node) -> int:
        """The first step at which a kernel computes `node`."""
        return min(self.homes[node])

    def is_repeated(self, node: Node) -> bool:
        """Whether several kernels may compute `node`, each for itself."""
        return is_alias(node) or is_view(node) or is_light(node)

    def waiting(self, step: int) -> Iterator[Stored]:
        """Values that are alive at `step`, which neither writes nor reads them."""
        for v in self.stored.values():
            if v.born < step < v.dies and not v.is_result and step not in v.uses:
                yield v


def _root(y: Node) -> Node:
    """The value in whose memory `y` lies."""
    while y.op is not None and is_alias(y):
        y = y.inputs[0]
    return y


def _step(node: Node, new: dict[Node, Node], order: dict[Node, int]) -> int:
    """The step of the kernel that stores `node`, in the order of the fused graph."""
    made = new[node]
    return order[made.inputs[0] if made.name == "get" else made]
