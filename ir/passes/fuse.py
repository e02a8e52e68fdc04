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

from ..graph import Graph, Node, build_node, input_node
from ..index import Var
from ..lower import Lowering, NotFusible, domain_of, is_full_position
from ..loops import Buffer
from ..op import OPS, Creation, Movement
from ..types import TensorType

MAX_NODES = 48
MAX_BUFFERS = 14
SCATTER = ("index_add", "index_put")


def is_view(node: Node) -> bool:
    """Index arithmetic only: repeated in every kernel that reads it rather than stored."""
    if isinstance(node.op, Creation):
        return True
    return isinstance(node.op, Movement) and len(node.inputs) == 1


def is_reduction(node: Node) -> bool:
    """One element reads many: worth computing once."""
    return node.op.element is not None and node.name in REDUCTIONS


REDUCTIONS = frozenset(
    "sum prod amax argmax cumsum max_pool argmax_pool fold matmul conv conv_transpose conv_weight".split()
)


class Group:
    """Nodes that become one kernel; `outputs` are those read outside, the root first."""

    def __init__(self, root: Node):
        self.root = root
        self.members: set[Node] = {root}
        self.outputs: list[Node] = [root]
        self.center: Node | None = root if root.name == "contract" else None
        self.row: frozenset[Var] | None = None  # loops that the reductions depend on
        self.kind = "opaque"
        if root.name in SCATTER:
            self.kind = "scatter"
        elif root.name == "contract":
            self.kind = "contract"
        elif root.op.element is not None:
            self.kind = "map"
        if is_reduction(root):
            self.row = frozenset(domain_of(root.type.shape)[0])

    def operands(self) -> list[Node]:
        """What the members read from outside, in a stable order."""
        seen = dict.fromkeys(x for n in self.ordered() for x in n.inputs if x not in self.members)
        return list(seen)

    def ordered(self) -> list[Node]:
        from ..graph import toposort

        return [n for n in toposort(self.outputs) if n in self.members]


class Fusion:
    """The state of one run of the pass."""

    def __init__(self, graph: Graph):
        self.graph = graph
        self.users = graph.users()
        self.results = set(graph.outputs)
        self.groups: list[Group] = []
        self.homes: dict[Node, list[Group]] = {}  # groups a node is a member of
        self.owner: dict[Node, Group] = {}  # the group whose kernel stores it

    def run(self) -> list[Group]:
        for node in reversed(self.graph.nodes):
            self._place(node)
        return self.groups

    def _place(self, node: Node) -> None:
        readers = self._reader_groups(node)
        if is_view(node):
            self._place_view(node, readers)
            return
        is_result = node in self.results
        if node.op.element is None or node.name == "scan":
            self._start(node)
            return
        if len(readers) == 1 and not is_result and self._join(node, readers[0], stored=False):
            return
        for group in sorted(readers, key=_extent, reverse=True):
            if self._is_free_of_cycles(node, group) and self._join(node, group, stored=True):
                return
        self._start(node)

    def _reader_groups(self, node: Node) -> list[Group]:
        return list(dict.fromkeys(g for u in self.users[node] for g in self.homes[u]))

    def _place_view(self, node: Node, readers: list[Group]) -> None:
        stored = node in self.results
        for group in readers:
            if self._reads_memory(node, group) or len(group.members) >= MAX_NODES:
                stored = True
            else:
                self._add(node, group)
        if stored or not readers:
            self._start(node)

    def _reads_memory(self, node: Node, group: Group) -> bool:
        """Whether a member of the group must find this operand stored in memory."""
        if group.kind == "opaque":
            return True
        return group.center is not None and node in group.center.inputs

    def _start(self, node: Node) -> None:
        group = Group(node)
        self.groups.append(group)
        self.owner[node] = group
        self.homes.setdefault(node, []).append(group)

    def _add(self, node: Node, group: Group) -> None:
        group.members.add(node)
        self.homes.setdefault(node, []).append(group)

    def _join(self, node: Node, group: Group, stored: bool) -> bool:
        """Try to compute `node` inside `group`; with `stored` as a further result of its kernel."""
        if self._reads_memory(node, group) or len(group.members) >= MAX_NODES:
            return False
        if group.kind == "scatter" and (stored or is_reduction(node) or node.name == "contract"):
            return False
        if len(group.operands()) + len(group.outputs) + len(node.inputs) > MAX_BUFFERS:
            return False
        if node.name == "contract":
            if not self._can_be_center(node, group, stored):
                return False
            group.center, group.kind = node, "contract"
        elif stored and node.type.size == 1 and not is_reduction(node):
            return False  # a shared number: a large kernel should not wait for, or carry, it
        elif is_reduction(node) or stored:
            place = self._position(node, group)
            if place is None:
                return False
            if is_reduction(node):
                if group.center is not None or group.row not in (None, place):
                    return False
                group.row = place
            elif group.center is not None and place != frozenset(_domain(group)):
                return False
        self._add(node, group)
        if stored:
            group.outputs.append(node)
            self.owner[node] = group
        return True

    def _can_be_center(self, node: Node, group: Group, stored: bool) -> bool:
        if group.center is not None or group.row is not None or group.kind != "map":
            return False
        if any(node in u.inputs and u.name == "contract" for u in group.members):
            return False
        place = self._position(node, group)
        everything = frozenset(_domain(group))
        whole = all(o.type.size == group.root.type.size for o in group.outputs)
        return whole and place == everything

    def _position(self, node: Node, group: Group) -> frozenset[Var] | None:
        """The loops over which the group reads `node`, if it reads each element once there."""
        trial = trial_lowering(group)
        if trial is None:
            return None
        seen = trial.accesses.get(node, {})
        if len(seen) != 1:
            return None
        (idx,) = seen
        if not is_full_position(idx, node.type.shape):
            return None
        place = frozenset(i.terms[0][0] for i in idx if i.terms)
        return place if place <= frozenset(_domain(group)) else None

    def _is_free_of_cycles(self, node: Node, group: Group) -> bool:
        """Storing `node` in `group` makes its other readers depend on the group's kernel."""
        stack = [g for g in self._reader_groups(node) if g is not group]
        seen = set(map(id, stack))
        while stack:
            current = stack.pop()
            for out in current.outputs:
                for following in self._reader_groups(out):
                    if following is group:
                        return False
                    if id(following) not in seen:
                        seen.add(id(following))
                        stack.append(following)
        return True


def _extent(group: Group) -> int:
    return group.root.type.size if group.kind != "opaque" else -1


def _domain(group: Group) -> tuple[Var, ...]:
    return domain_of(group.root.type.shape)[0]


def trial_lowering(group: Group) -> Lowering | None:
    """The group's scalar code with everything outside as memory; None if it has no such code."""
    outside = [x for n in group.members for x in n.inputs if x not in group.members]
    leaves = {x: Buffer("t", 0, x.type) for x in outside if isinstance(x.type, TensorType)}
    domain, idx = domain_of(group.root.type.shape)
    lowering = Lowering(leaves, domain, group.center)
    try:
        if group.kind == "scatter":
            return None
        lowering.at(group.root, idx)
    except NotFusible:
        return None
    return lowering


def fuse(graph: Graph) -> Graph:
    """The graph with one `fused` node per kernel."""
    groups = Fusion(graph).run()
    new: dict[Node, Node] = {n: n for n in graph.inputs}
    for group in schedule_groups(groups, graph):
        _emit_group(group, new)
    return graph.with_outputs(tuple(new[x] for x in graph.outputs))


def schedule_groups(groups: list[Group], graph: Graph) -> list[Group]:
    """Groups in an order in which operands come first (the original order of their roots)."""
    owner = {out: g for g in groups for out in g.outputs}
    order: list[Group] = []
    state: dict[int, bool] = {}
    stack = [g for g in groups]  # found from the outputs backwards: the first pushed is done last
    while stack:
        group = stack[-1]
        if state.get(id(group)) is not None:
            stack.pop()
            if not state[id(group)]:
                state[id(group)] = True
                order.append(group)
            continue
        state[id(group)] = False
        needed = (owner[x] for x in group.operands() if x in owner)
        stack.extend(g for g in needed if id(g) not in state)
    return order


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
    """A lone reshape: the same memory under another shape."""
    return len(group.members) == 1 and group.root.name == "reshape"


def _body(group: Group, operands: Iterable[Node]) -> Graph:
    inner: dict[Node, Node] = {}
    names = {}
    for i, x in enumerate(operands):
        inner[x] = input_node(f"x{i}", x.type, x.loc)
        names[x] = inner[x]
    for n in group.ordered():
        inner[n] = Node(n.op, tuple(inner[x] for x in n.inputs), n.attrs, n.type, n.loc)
    return Graph(group.root.name, list(names.values()), [inner[o] for o in group.outputs])


def _loc(group: Group):
    located = [n.loc for n in group.ordered() if n.loc.scope or n.loc.line]
    return located[-1] if located else group.root.loc
