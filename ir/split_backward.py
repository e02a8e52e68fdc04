"""Cuts a joint forward + backward graph in two, with what must be kept in between.

    joint(x, w, grad_0) -> (y, dw)    becomes    forward(x, w) -> (y, kept...)
                                                 backward(kept..., x, w, grad_0) -> (dw)

Views and constants are recomputed in the backward graph rather than kept; inputs are passed again,
except those the forward graph overwrites (running statistics), whose old value is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from .graph import Graph, Node, input_node, toposort
from .op import Creation, Movement


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
    kept: dict[Node, None] = {}
    passed: dict[Node, None] = {}
    seen: set[Node] = set()
    stack = list(gradients)
    while stack:
        node = stack.pop()
        if node in seen or node in seeds:
            continue
        seen.add(node)
        if node.op is None:
            (kept if node.attrs["name"] in updated else passed)[node] = None
        elif node in late or _is_cheap(node):
            stack.extend(node.inputs)
        else:
            kept[node] = None
    order = {n: i for i, n in enumerate((*joint.inputs, *joint.nodes))}
    return sorted(kept, key=order.__getitem__), sorted(passed, key=order.__getitem__)


def _rebased(joint: Graph, stand_ins, passed, seeds: Sequence[Node], gradients) -> Graph:
    """The backward graph, over stand-ins for the kept values."""
    new: dict[Node, Node] = {**stand_ins, **{n: n for n in (*passed, *seeds)}}
    for node in joint.nodes:
        if node not in new and all(x in new for x in node.inputs):
            operands = tuple(new[x] for x in node.inputs)
            new[node] = Node(node.op, operands, node.attrs, node.type, node.loc)
    inputs = (*stand_ins.values(), *passed, *seeds)
    return Graph(f"{joint.name}_backward", inputs, tuple(new[g] for g in gradients))
