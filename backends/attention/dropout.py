"""Dropout of attention weights as it is traced: which elements stay, and what they grow by.

    u = cast((random_bits(key) >> 8) & (2^24 - 1)) * 2^-24
    where(p <= u, weights * gain, 0)

u has 24 bits and so has a float32: p <= u where the word of random bits, read as an unsigned
number, is at least ceil(p * 2^24) * 2^8. A kernel compares words and computes no u.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from nncomp.ir.graph import Node
from nncomp.ir.types import float32

BITS = 24  # of a uniform number
COUNTERS = 1 << 32  # what one word counts


@dataclass(frozen=True)
class Drop:
    """An element stays, times `gain`, where its word of `bits` is at least `least`."""

    kept: Node
    bits: Node
    least: int
    gain: float

    @property
    def key(self) -> Node:
        """The key that the bits are a function of."""
        return self.bits.inputs[0]


def match_dropout(node: Node) -> tuple[Drop, Node, list[Node]] | None:
    """The dropout that ends at `node`, what it is of, and the nodes between them."""
    inner: list[Node] = []
    node, after = _factor(node, inner)
    if node.name != "where" or number(node.inputs[2]) != 0.0:
        return None
    inner.append(node)
    kept = node.inputs[0]
    found = _words_that_stay(kept)
    node, before = _factor(node.inputs[1], inner)
    gain = before * after
    if found is None or kept.shape != node.shape or not math.isfinite(gain) or gain <= 0:
        return None
    return Drop(kept, *found, gain), node, inner


def undropped(node: Node, drop: Drop) -> tuple[Node, list[Node]] | None:
    """What `node` is the same dropout of, as its gradient is; and the nodes between."""
    found = match_dropout(node)
    if found is None or found[0].kept is not drop.kept or found[0].gain != drop.gain:
        return None
    return found[1], found[2]


def _factor(node: Node, inner: list[Node]) -> tuple[Node, float]:
    """What `node` is a constant multiple of, and the factor; multiples go to `inner`."""
    factor = 1.0
    while node.name == "mul":
        a, b = node.inputs
        x, other = (number(a), b) if number(b) is None else (number(b), a)
        if x is None:
            break
        inner.append(node)
        node, factor = other, factor * x
    return node, factor


def _words_that_stay(kept: Node) -> tuple[Node, int] | None:
    """(bits, least) if `kept` is p <= u."""
    if kept.name != "le":
        return None
    p, u = number(kept.inputs[0]), kept.inputs[1]
    if p is None or not 0 < p < 1 or u.dtype is not float32 or u.name != "mul":
        return None
    words = [x for x in u.inputs if number(x) is None]
    if len(words) != 1 or 2.0**-BITS not in map(number, u.inputs):
        return None
    bits = _chain(words[0], 32 - BITS)
    least = math.ceil(float(np.float32(p)) * 2**BITS) << (32 - BITS)
    if bits is None or not 0 < least < COUNTERS or bits.type.size > COUNTERS:
        return None
    return (bits, least) if bits.shape == kept.shape else None


def _chain(node: Node, count: int) -> Node | None:
    """The random bits of which `node` is the upper part as a float: without `count` bits."""
    if node.name != "cast" or node.inputs[0].name != "bitwise_and":
        return None
    shifted, mask = node.inputs[0].inputs
    if number(mask) != (1 << (32 - count)) - 1 or shifted.name != "shift_right":
        return None
    bits, by = shifted.inputs
    return bits if number(by) == count and bits.name == "random_bits" else None


def number(node: Node) -> float | int | None:
    """The number that a node is everywhere."""
    return node.attrs["value"] if node.name == "full" else None
