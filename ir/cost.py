"""What scalar operations cost, in vector instructions of a typical CPU: a guide, not a promise.

Fusion asks whether computing something twice is cheaper than storing it; backends ask whether a
kernel is worth sharing between threads. Counted from the code that `backends` writes for floats.
"""

from __future__ import annotations

from .graph import Node
from .op import Creation, Movement

SCALAR_COST = dict(
    maximum=2, minimum=2, div=4, sqrt=6, tanh=22, erf=22, exp=23, expm1=24, sigmoid=30, log=32,
    log1p=33, atan2=35, remainder=50, floor_divide=60, cos=85, sin=85, pow=90, threefry=110,
)  # fmt: skip
CHEAP = 4  # up to here an operation costs less than reading what it would read again


def scalar_cost(name: str) -> int:
    """Instructions of one scalar operation, by its kernel-level name."""
    return SCALAR_COST.get(name, 1)


def node_cost(node: Node) -> int:
    """Instructions for one element of a node; of a reduction, for one element it reads."""
    if isinstance(node.op, Creation):
        return 1
    if isinstance(node.op, Movement):
        return 2 * len(node.inputs)
    return SCALAR_COST["threefry"] if node.name == "random_bits" else scalar_cost(node.name)
