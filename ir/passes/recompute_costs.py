"""What it takes to compute a value again: which operations, from which values that are there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..cost import node_cost
from ..graph import Node
from ..lower import CENTERS
from ..op import Creation, Elementwise, Movement
from ..types import TensorType
from ..work import node_flops
from .groups import SCATTER, is_reduction
from .lifetimes import Lifetimes, Stored
from .order import is_alias

LONGEST = 64  # operations of one region


class Region(NamedTuple):
    """The operations that compute a value again: `cost` instructions on single elements.

    They read `kept` values; of these, `extended` would be gone without them.
    """

    cost: float
    kept: set[Node]
    extended: list[Stored]


def is_there(lives: Lifetimes, node: Node, step: int, chosen: dict[Node, Any]) -> bool:
    """Whether a kernel at `step` reads the stored `node`; else it computes it again.

    What would be gone by then is kept if it is the result of a contraction.
    """
    stored = lives.stored.get(node)
    if stored is None:
        return False
    gone = chosen.get(node)
    if gone is not None and step > gone.last:
        return False
    return stored.dies >= step or stored.is_result or not is_cheap(node)


def region_of(
    lives: Lifetimes, values: Sequence[Stored], again: int, chosen: dict, stop: Node | None = None
) -> Region | None:
    """How to compute `values` at step `again`, from `stop` among others; None if impossible."""
    cost = 0.0
    kept: set[Node] = set()
    extended: dict[Stored, None] = {}
    seen: set[Node] = set()
    wanted = {v.node for v in values}
    stack = list(wanted)
    while stack:
        node = stack.pop()
        if node in seen or node.op is None or node is stop:
            continue
        seen.add(node)
        if node not in wanted and is_there(lives, node, again, chosen):
            kept.add(node)
            stored = lives.stored[node]
            if stored.dies < again and not stored.is_result:
                extended[stored] = None
            continue
        if not _can_repeat(node) or len(seen) > LONGEST:
            return None
        cost += repeat_cost(node)
        stack.extend(node.inputs)
    return Region(cost, kept, list(extended))


def is_cheap(node: Node) -> bool:
    """Elementwise operations and views of one value."""
    return isinstance(node.op, (Creation, Elementwise, Movement))


def _can_repeat(node: Node) -> bool:
    """Whether an operation gives the same bits wherever it is computed.

    Sums do not: their order depends on the kernel that they are part of. Contractions do.
    """
    if not isinstance(node.type, TensorType) or node.name in SCATTER:
        return False
    if is_alias(node) or node.name in CENTERS:
        return True
    return node.op.element is not None and not is_reduction(node)


def repeat_cost(node: Node) -> float:
    """Instructions on single elements."""
    if isinstance(node.op, Creation) or is_alias(node):
        return 0.0
    if isinstance(node.op, Movement):
        return float(node.type.size)
    if node.name in CENTERS:
        return node_flops(node) / 2
    size = max([node.type.size, *(x.type.size for x in node.inputs)])
    return float(node_cost(node) * size)
