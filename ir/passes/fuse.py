"""Groups nodes into kernels: chains, reductions with what they read, epilogues of contractions.

    sub_0 = sub(x, m)  : f32[8,128]             fused_0 = fused(x, m, kind="map") {
    exp_0 = exp(sub_0) : f32[8,128]      ->       sub_0 = sub(x, m) : f32[8,128]
    sum_0 = sum(exp_0, axes=(1,)) : f32[8]        ... }                           : (f32[8])

Nodes are visited from the outputs backwards. A node joins the group of its users when it can be
computed there once per element; it starts a group of its own otherwise. A node that is also read
elsewhere can still join, as a further result of the kernel, if no cycle of kernels arises.

Needs: contractions in the form the backend wants. Establishes: every node is a kernel, a view or an
op the backend has a kernel for.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..cost import node_cost
from ..graph import Graph, Node, build_node, input_node, with_operands
from ..lower import CENTERS
from ..op import OPS, Creation, Elementwise, Movement
from ..panels import written_in_panels
from .beside import with_neighbour
from .groups import SCATTER, Group
from .order import is_alias

LIGHT = 2  # instructions of an operation that is rather repeated than stored


def is_view(node: Node) -> bool:
    """Index arithmetic only: repeated in every kernel that reads it rather than stored."""
    if isinstance(node.op, Creation):
        return True
    return isinstance(node.op, Movement) and len(node.inputs) == 1


def is_light(node: Node) -> bool:
    """One cheap operation on one value of the node's size: reading the operand is as good."""
    if not isinstance(node.op, Elementwise) or node_cost(node) > LIGHT or not node.inputs:
        return False
    large = {x for x in node.inputs if x.type.size * 8 > node.type.size}
    return len(large) <= 1 and all(x.type.nbytes <= 2 * node.type.nbytes for x in large)


class Fusion:
    """The state of one run of the pass."""

    def __init__(self, graph: Graph, alone: frozenset[str] = frozenset()):
        self.graph, self.alone = graph, alone
        self.users = graph.users()
        self.results = set(graph.outputs)
        self.in_memory = _in_memory(graph)
        self.groups: list[Group] = []
        self.homes: dict[Node, list[Group]] = {}  # groups a node is a member of

    def run(self) -> list[Group]:
        for node in reversed(self.graph.nodes):
            self._place(node)
        return self.groups

    def _place(self, node: Node) -> None:
        readers = self._reader_groups(node)
        if node in self.in_memory or self._is_stored_in_panels(node, readers):
            self._start(node)
            return
        if is_view(node):
            self._place_view(node, readers)
            return
        if node.op.element is not None or node.name in (*SCATTER, *CENTERS):
            if node not in self.results:
                if len(readers) == 1 and readers[0].join(node):
                    self._add(node, readers[0])
                    return
                if is_light(node) or self._reads_what_others_read(node):
                    readers = self._repeat(node, readers)
                    if not readers:
                        return
            for group in sorted(readers, key=lambda g: g.extent, reverse=True):
                later = self._made_later(node, group)
                if later is not None and group.join(node, stored=True):
                    self._list_before(later, group)
                    self._add(node, group)
                    return
        self._start(node)

    def _reads_what_others_read(self, node: Node) -> bool:
        """One cheap operation on a value and a broadcast one that other kernels read too, such as
        x - mean: both are stored anyway."""
        if not isinstance(node.op, Elementwise) or node_cost(node) > LIGHT or not node.inputs:
            return False
        spread = {x for x in node.inputs if x.name == "expand"}
        if len({*node.inputs} - spread) != 1:
            return False
        is_broadcast = all(x.inputs[0].type.size * 8 <= x.type.size for x in spread)
        return is_broadcast and all(map(self._has_readers, node.inputs))

    def _has_readers(self, node: Node) -> bool:
        """Whether more than one node reads a value, maybe through views."""
        while len(self.users[node]) == 1:
            if node.name in CENTERS or not is_view(node) or not node.inputs:
                return False
            (node,) = node.inputs
        return node.name not in CENTERS

    def _is_stored_in_panels(self, node: Node, readers: list[Group]) -> bool:
        """Whether a product's kernel writes these panels, for others to read what it wrote."""
        if not any(g.reads_memory(node) for g in readers):
            return False
        return written_in_panels(node, self.users) is not None

    def _repeat(self, node: Node, readers: list[Group]) -> list[Group]:
        """Compute a light node in every kernel that reads it; returns those that cannot."""
        if any(g.reads_memory(node) for g in readers):
            return readers
        left = []
        for group in readers:
            if group.join(node):
                self._add(node, group)
            else:
                left.append(group)
        return left

    def _reader_groups(self, node: Node) -> list[Group]:
        return list(dict.fromkeys(g for u in self.users[node] for g in self.homes[u]))

    def _place_view(self, node: Node, readers: list[Group]) -> None:
        stored = node in self.results
        for group in readers:
            if group.join_view(node):
                self._add(node, group)
            else:
                stored = True
        if stored or not readers:
            self._start(node)

    def _start(self, node: Node) -> None:
        group = Group(node, self.alone, written_in_panels(node, self.users))
        group.position = len(self.groups)
        self.groups.append(group)
        self._add(node, group)
        with_neighbour(self, group)

    def _add(self, node: Node, group: Group) -> None:
        self.homes.setdefault(node, []).append(group)

    # -- the order of kernels: `groups` lists them, what a kernel needs behind the kernel ---------

    def _made_later(self, node: Node, group: Group) -> set[Group] | None:
        """The groups that must run after `group` if it stores `node`, but are listed behind it.

        None if one of them is needed by `group` itself.
        """
        found: set[Group] = set()
        stack = [g for g in self._reader_groups(node) if g.position > group.position]
        while stack:
            current = stack.pop()
            if current not in found:
                found.add(current)
                following = {g for out in current.outputs for g in self._reader_groups(out)}
                if group in following:
                    return None
                stack.extend(g for g in following if g.position > group.position)
        return found

    def _list_before(self, later: set[Group], group: Group) -> None:
        """List the groups `later` in front of `group`, leaving everything else in order."""
        if not later:
            return
        begin, end = group.position, max(g.position for g in later) + 1
        window = self.groups[begin:end]
        window.sort(key=lambda g: g not in later)
        self.groups[begin:end] = window
        for position in range(begin, end):
            self.groups[position].position = position


def fuse(graph: Graph, alone: frozenset[str] = frozenset()) -> Graph:
    """The graph with one `fused` node per kernel.

    Reductions named in `alone` share a kernel with no other one and read stored operands.
    """
    return kernels_of(graph, Fusion(graph, alone).run())[0]


def kernels_of(graph: Graph, groups: list[Group]) -> tuple[Graph, dict[Node, Node]]:
    """The fused graph, and for each node that a kernel stores the node that stands for it there."""
    new: dict[Node, Node] = {n: n for n in graph.inputs}
    for group in reversed(groups):
        _emit_group(group, new)
    return graph.with_outputs(tuple(new[x] for x in graph.outputs)), new


def _emit_group(group: Group, new: dict[Node, Node]) -> None:
    operands = group.operands()
    arguments = tuple(new[x] for x in operands)
    if group.kind == "opaque" or _is_alias(group):
        node = group.root
        new[node] = Node(node.op, arguments_of(node, new), node.attrs, node.type, node.loc)
        return
    body = _body(group, operands)
    results = build_node(
        OPS["fused"], arguments, {"body": body, "kind": group.kind}, loc=_loc(group)
    )
    for out, result in zip(group.outputs, results, strict=True):
        new[out] = result


def arguments_of(node: Node, new: dict[Node, Node]) -> tuple[Node, ...]:
    return tuple(new[x] for x in node.inputs)


def _is_alias(group: Group) -> bool:
    """A lone view that is the operand's own memory."""
    return len(group.members) == 1 and is_alias(group.root)


def _in_memory(graph: Graph) -> set[Node]:
    """Views that are (a contiguous part of) an input's memory: nothing to compute."""
    found = set(graph.inputs)
    for node in graph.nodes:
        if is_alias(node) and node.inputs[0] in found:
            found.add(node)
    return found - set(graph.inputs)


def _body(group: Group, operands: Iterable[Node]) -> Graph:
    inner: dict[Node, Node] = {}
    names = {}
    for i, x in enumerate(operands):
        inner[x] = input_node(f"x{i}", x.type, x.loc)
        names[x] = inner[x]
    for n in group.ordered():
        inner[n] = with_operands(n, tuple([inner[x] for x in n.inputs]))
    return Graph(group.root.name, list(names.values()), [inner[o] for o in group.outputs])


def _loc(group: Group):
    located = [n.loc for n in group.ordered() if n.loc.scope or n.loc.line]
    return located[-1] if located else group.root.loc
