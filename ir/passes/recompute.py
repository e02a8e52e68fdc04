"""Computes values again instead of keeping them, until a program's arena fits a limit.

    exp_0 = exp(x)                    exp_0 = exp(x)
    y = sum(exp_0) ... a long way     y = sum(exp_0) ...
    z = mul(exp_0, g)                 exp_1 = exp(again(x))
                                      z = mul(exp_1, g)

A training step keeps what its forward part computes until the backward part reads it. Where the
steps of the program need most memory, values that are only waiting there are dropped, cheapest
first (instructions per byte that gets free), and computed again before their next use, from
values that are there anyway. The same operations on the same values: the same results, bit for bit.
(Rematerialization as in Chen et al., 2016, chosen greedily as by Kirisame et al., 2021.)

Needs: everything before fuse. Establishes: the arena is no larger than the limit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from ..graph import Graph, Node
from ..ops import again
from .lifetimes import Lifetimes, Stored
from .memory import padded
from .recompute_costs import Region, is_there, region_of

ROUNDS = 12
PICKS = 400  # values that one round drops at most
NEAR = 32  # kernels within which uses share one recomputed value


class MemoryLimitError(RuntimeError):
    """A program needs more memory than the limit, whatever is computed again."""


class Choice(NamedTuple):
    """A value that is dropped after step `last`, and read again at step `again`."""

    last: int
    again: int


def fit_memory(graph: Graph, limit: int, arena_of: Callable[[Graph], int]) -> Graph:
    """The graph, changed so that `arena_of` it is at most `limit` bytes.

    MemoryLimitError, which names the smallest size found, if that cannot be reached.
    """
    first = arena_of(graph)
    tight = [int(limit * (1 - k / ROUNDS)) for k in range(ROUNDS // 2)]
    steady = [int(first * (1 - k / ROUNDS)) for k in range(1, ROUNDS + 1)]
    smallest = first
    for targets in (tight, steady):  # the same steps for every limit: so all can be reached again
        found, arena = _squeezed(graph, first, limit, targets, arena_of)
        if arena <= limit:
            return found
        smallest = min(smallest, arena) if targets is steady else smallest
    raise MemoryLimitError(
        f"memory_limit is {limit} bytes, but the smallest arena that was found for the "
        f"intermediate values of this program has {smallest} bytes ({first} without a limit); make "
        "the batch smaller or the limit larger"
    )


def _squeezed(
    graph: Graph, arena: int, limit: int, targets: Sequence[int], arena_of: Callable[[Graph], int]
) -> tuple[Graph, int]:
    """The first graph within the limit on the way along `targets`, else the smallest: (it, size).
    """
    best = graph, arena
    for target in targets:
        if arena <= limit:
            break
        lives = Lifetimes(graph)
        gaps = max(arena - max(lives.load, default=0), 0)  # what no step uses all of
        chosen = choose(lives, target - gaps)
        if chosen:
            graph = apply(lives, chosen)
            arena = arena_of(graph)
            best = min(best, (graph, arena), key=lambda pair: pair[1])
    return best


class _Candidate(NamedTuple):
    """Values that are dropped together; with `stop`, which is then stored, to compute them from."""

    values: tuple[Stored, ...]
    stop: Stored | None
    region: Region
    gain: int


def choose(lives: Lifetimes, target: int) -> dict[Node, Choice]:
    """The values to drop so that no step needs more than `target` bytes, as far as possible."""
    load = list(lives.load)
    chosen: dict[Node, Choice] = {}
    pinned: set[Node] = set()
    stuck: set[int] = set()
    while len(chosen) < PICKS:
        over = [t for t, n in enumerate(load) if n > target and t not in stuck]
        if not over:
            break
        peak = max(over, key=load.__getitem__)
        found = [c for c in _candidates(lives, chosen, pinned, peak) if c.gain > 0]
        if not found:
            stuck.add(peak)
            continue
        best = min(found, key=lambda c: c.region.cost / c.gain)
        _take(lives, best, peak, load, chosen)
        pinned |= best.region.kept
    return chosen


def _candidates(lives: Lifetimes, chosen: dict, pinned: set[Node], peak: int):
    """What can be dropped around step `peak`: single values, or all that a contraction gave."""
    waiting = [v for v in lives.waiting(peak) if v.node not in chosen and v.node not in pinned]
    for v in waiting:
        yield from _candidate(lives, (v,), None, peak, chosen)
    by_center: dict[Node, list[Stored]] = {}
    for v in waiting:
        center = lives.centers.get(v.node)
        if center is not None and center not in lives.stored:
            by_center.setdefault(center, []).append(v)
    for center, values in by_center.items():
        if len(values) > 1:
            stop = Stored(center, padded(center.type.nbytes), values[0].born)
            yield from _candidate(lives, tuple(values), stop, peak, chosen)


def _candidate(lives: Lifetimes, values: tuple, stop: Stored | None, peak: int, chosen: dict):
    again = min(_choice(v, peak).again for v in values)
    region = region_of(lives, values, again, chosen, stop and stop.node)
    if region is not None:
        gain = sum(v.bytes for v in values) - sum(kept.bytes for kept in region.extended)
        yield _Candidate(values, stop, region, gain - (stop.bytes if stop else 0))


def _take(lives: Lifetimes, taken: _Candidate, peak: int, load: list, chosen: dict) -> None:
    """Note a choice, and what it does to the memory needed at each step."""
    choices = [_choice(v, peak) for v in taken.values]
    for v, choice in zip(taken.values, choices, strict=True):
        chosen[v.node] = choice
        for t in range(choice.last + 1, choice.again):
            load[t] -= v.bytes
    again = min(c.again for c in choices)
    for kept in taken.region.extended:
        for t in range(kept.dies + 1, again + 1):
            load[t] += kept.bytes
        kept.uses.append(again)
    if taken.stop is not None:
        taken.stop.uses.extend(c.again for c in choices)
        lives.stored[taken.stop.node] = taken.stop
        for t in range(taken.stop.born, taken.stop.dies + 1):
            load[t] += taken.stop.bytes


def _choice(value: Stored, peak: int) -> Choice:
    """Where the gap around step `peak` begins and ends."""
    last = max([value.born, *(t for t in value.uses if t < peak)])
    return Choice(last, min(t for t in value.uses if t > peak))


class _Rewriter:
    """Builds the graph in which chosen values are computed again for their late uses."""

    def __init__(self, lives: Lifetimes, chosen: dict[Node, Choice]):
        self.lives, self.chosen = lives, chosen
        self.new: dict[Node, Node] = {n: n for n in lives.graph.inputs}
        self.copies: dict[Node, list[tuple[int, Node]]] = {}
        self.kept: dict[Node, Node] = {}

    def run(self) -> Graph:
        graph = self.lives.graph
        for node in graph.nodes:
            step = self.lives.step_of(node)
            operands = tuple(self._at(x, step) for x in node.inputs)
            self.new[node] = _on(node, operands)
        return graph.with_outputs(tuple(self.new[y] for y in graph.outputs))

    def _at(self, x: Node, step: int) -> Node:
        """What a kernel at `step` reads for `x`."""
        if x.op is None:
            return x
        choice = self.chosen.get(x)
        if choice is not None and step > choice.last:
            return self._copy(x, step)
        if x in self.lives.stored or not self.lives.is_repeated(x):
            return self.new[x]
        return _on(x, tuple(self._at(o, step) for o in x.inputs), self.new[x])

    def _copy(self, x: Node, step: int) -> Node:
        """`x` computed again, shared by uses that are near each other."""
        made = self.copies.setdefault(x, [])
        for at, node in made:
            if abs(step - at) <= NEAR:
                return node
        operands = tuple(self._inside(o, step) for o in x.inputs)
        node = Node(x.op, operands, x.attrs, x.type, x.loc)
        made.append((step, node))
        return node

    def _inside(self, x: Node, step: int) -> Node:
        """An operand of a copy: a value that is still there, or a copy too."""
        if x.op is None:
            return x
        if not is_there(self.lives, x, step, self.chosen):
            return self._copy(x, step)
        if x not in self.kept:  # so that no kernel of the copies computes things for others, early
            self.kept[x] = again(self.new[x], number=0)
        return self.kept[x]


def _on(node: Node, operands: tuple[Node, ...], same: Node | None = None) -> Node:
    """The node on other operands; itself (or `same`) if they are its own."""
    if all(a is b for a, b in zip(operands, (same or node).inputs, strict=True)):
        return same or node
    return Node(node.op, operands, node.attrs, node.type, node.loc)


def apply(lives: Lifetimes, chosen: dict[Node, Choice]) -> Graph:
    """The graph with the chosen values computed again after their gaps."""
    return _Rewriter(lives, chosen).run()


__all__ = ["MemoryLimitError", "apply", "choose", "fit_memory"]
