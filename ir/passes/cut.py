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
    the sinks. (Blocking flows by levels: E. A. Dinic, 1970.)
    """
    number = {node: 2 + 2 * i for i, node in enumerate(capacity)}  # its way in; its way out is next
    network = _Network(2 + 2 * len(number))
    for node, at in number.items():
        network.connect(at, at + 1, capacity[node])
    for a, b in edges:
        network.connect(number[a] + 1, number[b], ENDLESS)
    for node, cost in (price or {}).items():
        network.connect(SOURCE, number[node], cost)
    for node in sources:
        network.connect(SOURCE, number[node], ENDLESS)
    for node in sinks:
        network.connect(number[node] + 1, SINK, ENDLESS)
    while network.find_levels():
        while network.send():
            pass
    behind = network.reaching_sink()
    return {node for node, at in number.items() if at in behind}


SOURCE, SINK = 0, 1


class _Network:
    """Residual capacities: edge i leads to `to[i]` and has `room[i]`, edge i ^ 1 leads back."""

    def __init__(self, count: int):
        self.to: list[int] = []
        self.room: list[int] = []
        self.out: list[list[int]] = [[] for _ in range(count)]
        self.level: list[int] = []
        self.next: list[int] = []  # the edge of each node to try next

    def connect(self, a: int, b: int, room: int) -> None:
        if room > 0:
            self.out[a].append(len(self.to))
            self.out[b].append(len(self.to) + 1)
            self.to += (b, a)
            self.room += (room, 0)

    def find_levels(self) -> bool:
        """Number the nodes by their distance from the source; whether the sink is reached."""
        level = self.level = [-1] * len(self.out)
        self.next = [0] * len(self.out)
        level[SOURCE] = 0
        queue = deque([SOURCE])
        while queue:
            a = queue.popleft()
            for i in self.out[a]:
                b = self.to[i]
                if self.room[i] and level[b] < 0:
                    level[b] = level[a] + 1
                    queue.append(b)
        return level[SINK] >= 0

    def send(self) -> bool:
        """Fill one more path that goes up a level at each step; False if there is none."""
        path: list[int] = []
        at = SOURCE
        while at != SINK:
            edges, k = self.out[at], self.next[at]
            while k < len(edges) and not self._leads_up(at, edges[k]):
                k += 1
            self.next[at] = k
            if k < len(edges):
                path.append(edges[k])
                at = self.to[edges[k]]
            elif path:  # a dead end: back by one step, and not here again
                at = self.to[path.pop() ^ 1]
                self.next[at] += 1
            else:
                return False
        amount = min(self.room[i] for i in path)
        for i in path:
            self.room[i] -= amount
            self.room[i ^ 1] += amount
        return True

    def _leads_up(self, a: int, i: int) -> bool:
        return self.room[i] > 0 and self.level[self.to[i]] == self.level[a] + 1

    def reaching_sink(self) -> set[int]:
        """What could still send something to the sink."""
        found, stack = {SINK}, [SINK]
        while stack:
            for i in self.out[stack.pop()]:
                a = self.to[i]
                if a not in found and self.room[i ^ 1]:
                    found.add(a)
                    stack.append(a)
        return found
