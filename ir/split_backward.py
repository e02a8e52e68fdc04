"""Cuts a joint forward + backward graph in two, with what must be kept in between.

    joint(x, w, grad_0) -> (y, dw)    becomes    forward(x, w) -> (y, kept...)
                                                 backward(kept..., x, w, grad_0) -> (dw)

Views and constants are recomputed in the backward graph rather than kept, and so are elementwise
values where that is worth it: what is kept is a minimum cut by bytes and repeated instructions, as
in passes/save_less.py. Inputs are passed again, except those the forward graph overwrites (running
statistics), whose old value is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .cost import node_cost
from .graph import Graph, Node, input_node, toposort
from .op import Creation, Movement
from .passes.cut import ENDLESS, minimum_cut
from .passes.save_less import BYTE, can_repeat
from .types import TensorType


class Split(NamedTuple):
    """The two graphs; `kept` results of forward come after its `primal` ones.

    `passed` names the inputs of the joint graph that backward takes again, after the kept values
    and before the cotangents; `cotangents` are the numbers of those that it reads.
    """

    forward: Graph
    backward: Graph
    primal: int
    kept: int
    passed: tuple[str, ...]
    cotangents: tuple[int, ...]


def split_backward(joint: Graph, primal: int, cotangents: int) -> Split:
    """Split a graph of `grad.joint` with `primal` forward outputs and `cotangents` last inputs."""
    split = len(joint.inputs) - cotangents
    seeds = joint.inputs[split:]
    late = _reached(joint, set(seeds))
    updated = {name for name in joint.output_names if name}
    gradients = joint.outputs[primal:]
    kept, passed = _needed(joint, late, gradients, set(seeds), updated)
    forward_outputs = (*joint.outputs[:primal], *kept)
    names = (*joint.output_names[:primal], *("" for _ in kept))
    forward = Graph(joint.name, joint.inputs[:split], forward_outputs, names)
    stand_ins = {n: input_node(f"kept_{i}", n.type, n.loc) for i, n in enumerate(kept)}
    reached = set(toposort(gradients))
    read = [s for s in seeds if s in reached]
    backward = _rebased(joint, stand_ins, passed, read, gradients)
    numbers = tuple(i for i, s in enumerate(seeds) if s in reached)
    passed_names = tuple(n.attrs["name"] for n in passed)
    return Split(forward, backward, primal, len(kept), passed_names, numbers)


def _reached(joint: Graph, seeds: set[Node]) -> set[Node]:
    """Nodes that depend on a cotangent."""
    late = set(seeds)
    for node in joint.nodes:
        if any(x in late for x in node.inputs):
            late.add(node)
    return late


def _is_cheap(node: Node) -> bool:
    return isinstance(node.op, Creation) or (
        isinstance(node.op, Movement) and len(node.inputs) == 1 and node.name != "pad"
    )


def _needed(joint: Graph, late, gradients, seeds, updated) -> tuple[list[Node], list[Node]]:
    """(values to keep, inputs to pass again) for computing the gradients."""
    read = _read_late(late, gradients, seeds)
    capacity: dict[Node, int] = {}
    edges: list[tuple[Node, Node]] = []
    stack = list(read)
    while stack:
        node = stack.pop()
        if node in capacity:
            continue
        capacity[node] = _cost(node, updated)
        if _repeats(node):
            edges += [(x, node) for x in dict.fromkeys(node.inputs)]
            stack += node.inputs
    sources = [n for n in capacity if not (_repeats(n) and n.inputs)]
    price = {n: 0 if _is_cheap(n) else node_cost(n) * n.type.size for n in capacity if _repeats(n)}
    again = minimum_cut(capacity, edges, sources, read, price)
    front = {n for n in read if n not in again} | {a for a, b in edges if b in again} - again
    order = {n: i for i, n in enumerate((*joint.inputs, *joint.nodes))}
    kept = sorted(front, key=order.__getitem__)
    passed = [n for n in kept if n.op is None and n.attrs["name"] not in updated]
    return [n for n in kept if n not in passed and not _is_constant(n)], passed


def _read_late(late, gradients, seeds) -> list[Node]:
    """What does not depend on a cotangent, but is read by something that does."""
    read: dict[Node, None] = {}
    seen: set[Node] = set()
    stack = list(gradients)
    while stack:
        node = stack.pop()
        if node in seen or node in seeds:
            continue
        seen.add(node)
        if node in late:
            stack += node.inputs
        else:
            read[node] = None
    return list(read)


def _is_constant(node: Node) -> bool:
    return isinstance(node.op, Creation) and not node.inputs


def _repeats(node: Node) -> bool:
    """Whether the backward graph may compute `node` again."""
    return node.op is not None and (_is_cheap(node) or can_repeat(node))


def _cost(node: Node, updated: set[str]) -> int:
    """What keeping `node` costs, in instructions."""
    if node.op is None and node.attrs["name"] not in updated:
        return 0
    if _is_cheap(node):
        return 0 if _is_constant(node) else ENDLESS
    types = [node.type] if isinstance(node.type, TensorType) else node.type
    return BYTE * sum(t.nbytes for t in types)


def _rebased(joint: Graph, stand_ins, passed, seeds: Sequence[Node], gradients) -> Graph:
    """The backward graph, over stand-ins for the kept values."""
    new: dict[Node, Node] = {**stand_ins, **{n: n for n in (*passed, *seeds)}}
    for node in joint.nodes:
        if node not in new and all(x in new for x in node.inputs):
            operands = tuple(new[x] for x in node.inputs)
            new[node] = Node(node.op, operands, node.attrs, node.type, node.loc)
    inputs = (*stand_ins.values(), *passed, *seeds)
    return Graph(f"{joint.name}_backward", inputs, tuple(new[g] for g in gradients))
