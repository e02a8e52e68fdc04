"""In which order the nodes of a fused graph run, and which of them only rename memory."""

from __future__ import annotations

from ..graph import Graph, Node
from ..index import Index, linear


def is_alias(node: Node) -> bool:
    """Whether the result is (a contiguous part of) the memory of the operand."""
    return node.name in ("reshape", "again") or (node.name == "slice" and is_block(node))


def is_block(node: Node) -> bool:
    """Whether a slice is one run of memory: one element of the first axes, all of the last ones."""
    x, begun = node.inputs[0], False
    for n, whole, step in zip(node.shape, x.shape, node.attrs["step"], strict=True):
        if begun and n != whole:
            return False
        if n > 1:
            if step != 1:
                return False
            begun = True
    return node.type.size > 0


def slice_offset(node: Node) -> int:
    """Bytes from the operand's beginning to an alias of it."""
    if node.name != "slice":
        return 0
    x = node.inputs[0]
    start = tuple(Index((), n) for n in node.attrs["start"])
    return linear(start, x.shape).const * x.dtype.itemsize


def scheduled(graph: Graph) -> list[Node]:
    """The nodes, those of outputs that can be ready early in front: what they need dies early.

    In a training step the update of a late layer's weight then runs when its gradient is there, not
    when the gradients of all layers are.
    """
    depth: dict[Node, int] = {}
    for node in graph.nodes:
        depth[node] = 1 + max((depth.get(x, 0) for x in node.inputs), default=0)
    order: dict[Node, None] = {}
    stack = sorted(graph.outputs, key=lambda y: depth.get(y, 0))[::-1]  # the last one is next
    while stack:
        node = stack[-1]
        pending = [x for x in node.inputs if x.op is not None and x not in order]
        if pending and node not in order:
            stack += sorted(pending[::-1], key=lambda x: depth[x])  # the deepest comes first
            continue
        stack.pop()
        if node.op is not None:
            order[node] = None
    return list(order)


def with_updates_early(graph: Graph) -> list[Node]:
    """The nodes, but what only computes an update of an input after all readers of that input.

    Not later than that either: what an update reads can then be given free.
    """
    users = graph.users()
    targets = _targets(graph, users)
    by_name = {n.attrs["name"]: n for n in graph.inputs}
    waiting: dict[Node, int] = {}
    wakes: dict[Node, list[Node]] = {}
    for node, names in targets.items():
        readers = {u for name in names for u in _readers(by_name[name], users)}
        before = {*readers, *node.inputs} - {node}
        before = {n for n in before if n.op is not None}
        waiting[node] = len(before)
        for n in before:
            wakes.setdefault(n, []).append(node)
    order: list[Node] = []

    def run(node: Node) -> None:
        ready = [node]
        while ready:
            node = ready.pop()
            order.append(node)
            order.extend(users[node] if node in targets else ())
            for later in wakes.get(node, ()):
                waiting[later] -= 1
                if not waiting[later]:
                    ready.append(later)

    for node in scheduled(graph):
        if node not in targets and not (node.name == "get" and node.inputs[0] in targets):
            run(node)
    left = dict.fromkeys(targets)  # those without anything to wait for, or waiting for each other
    for node in order:
        left.pop(node, None)
    return [*order, *(n for node in left for n in (node, *users[node]))]


def _targets(graph: Graph, users: dict[Node, list[Node]]) -> dict[Node, list[str]]:
    """Kernels that compute nothing but updates of inputs, and the names of those inputs."""
    names: dict[Node, list[str]] = {}
    plain: set[Node] = set()
    for node, name in zip(graph.outputs, graph.output_names, strict=True):
        if name:
            names.setdefault(node, []).append(name)
        else:
            plain.add(node)
    found = {}
    for node in graph.nodes:
        gets = users[node]
        if node.name == "fused" and gets and all(g.name == "get" for g in gets):
            if all(g in names and g not in plain and not users[g] for g in gets):
                found[node] = [name for g in gets for name in names[g]]
    return found


def _readers(node: Node, users: dict[Node, list[Node]]) -> set[Node]:
    """What reads the memory of `node`, through aliases too."""
    found: set[Node] = set()
    stack = [node]
    while stack:
        for user in users[stack.pop()]:
            if is_alias(user):
                stack.append(user)
            else:
                found.add(user)
    return found
