"""Minimum cut through nodes, for graphs of some thousand nodes and few augmenting paths."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable, Mapping
from typing import TypeVar

ENDLESS = 1 << 60
N = TypeVar("N", bound=Hashable)


def minimum_cut(
    capacity: Mapping[N, int],
    edges: Iterable[tuple[N, N]],
    sources: Iterable[N],
    sinks: Iterable[N],
    price: Mapping[N, int] | None = None,
) -> set[N]:
    """The nodes behind the cheapest set of nodes that separates `sinks` from `sources`.

    Every path from a source to a sink passes a node of the cut, which may be either end; its cost
    is the sum of `capacity`, and of `price` for the nodes behind. Of several, the cut nearest to
    the sinks. (Paths by breadth-first search: J. Edmonds and R. M. Karp, 1972.)
    """
    network = _Network()
    for node, room in capacity.items():
        network.connect((node, 0), (node, 1), room)
    for a, b in edges:
        network.connect((a, 1), (b, 0), ENDLESS)
    for node, cost in (price or {}).items():
        network.connect("source", (node, 0), cost)
    for node in sources:
        network.connect("source", (node, 0), ENDLESS)
    for node in sinks:
        network.connect((node, 1), "sink", ENDLESS)
    while network.augment("source", "sink"):
        pass
    behind = network.reaching("sink")
    return {node for node in capacity if (node, 0) in behind}


class _Network:
    """Residual capacities by (from, to)."""

    def __init__(self) -> None:
        self.room: dict[Hashable, dict[Hashable, int]] = {}

    def connect(self, a: Hashable, b: Hashable, room: int) -> None:
        self.room.setdefault(a, {})[b] = room
        self.room.setdefault(b, {}).setdefault(a, 0)

    def augment(self, start: Hashable, end: Hashable) -> bool:
        """Send as much as fits along one shortest path; False if there is none."""
        before: dict[Hashable, Hashable] = {start: None}
        queue = deque([start])
        while queue and end not in before:
            a = queue.popleft()
            for b, room in self.room.get(a, {}).items():
                if room > 0 and b not in before:
                    before[b] = a
                    queue.append(b)
        if end not in before:
            return False
        path, b = [], end
        while b != start:
            path.append((before[b], b))
            b = before[b]
        amount = min(self.room[a][b] for a, b in path)
        for a, b in path:
            self.room[a][b] -= amount
            self.room[b][a] += amount
        return True

    def reaching(self, end: Hashable) -> set[Hashable]:
        """What could still send something to `end`."""
        found = {end}
        stack = [end]
        while stack:
            b = stack.pop()
            for a in self.room.get(b, {}):
                if a not in found and self.room[a][b] > 0:
                    found.add(a)
                    stack.append(a)
        return found
