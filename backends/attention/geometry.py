"""The loops of one attention and where in memory its operands are read.

Views of the operands are looked through; loops over heads and batch are cut where that lets an
operand be read in place.
"""

from __future__ import annotations

import numpy as np
from nncomp.ir.graph import Graph, Node, toposort
from nncomp.ir.index import Index, Var
from nncomp.ir.interpret import interpret
from nncomp.ir.ops import bitwise_xor
from nncomp.ir.rewrite import full_node
from nncomp.ir.types import bool_

from ..walks import Walk, at, cut_of, look_through, loops, stored
from .pattern import Found

FEWEST = 8  # queries, below which most lanes would idle
LARGEST = 1 << 22  # elements of a constant mask that is worth looking at


class Operand:
    """A node, the position at which it is read, and where that is in what it is a view of."""

    def __init__(self, node: Node, position, through: bool = True):
        self.node, self.position = node, tuple(position)
        self.walk: Walk = (look_through if through else stored)(node, self.position)

    def substitute(self, new: dict[Var, Index]) -> None:
        self.position = tuple(i.substitute(new) for i in self.position)
        self.walk = self.walk.substitute(new)

    def store(self) -> None:
        """Read the node itself, not what it is a view of."""
        self.walk = stored(self.node, self.position)


class Geometry:
    """The loops of one attention and how its operands are walked."""

    def __init__(self, found: Found, node: Node, new: dict[Node, Node]):
        rows, depth = found.q.shape[-2:]
        keys, width = found.v.shape[-2:]
        self.batch = loops("b", node.shape[:-2])
        self.row, self.key = Var("m", rows), Var("n", keys)
        self.depth, self.width = Var("k", depth), Var("w", width)
        row, key, deep, wide = ([v] for v in (self.row, self.key, self.depth, self.width))
        self.operands = [
            Operand(new[found.q], at(self.batch, row, deep)),
            Operand(new[found.k], at(self.batch, deep, key)),
            Operand(new[found.v], at(self.batch, key, wide)),
        ]
        if found.mask is not None:
            self.operands.append(Operand(new[found.mask], at(self.batch, row, key)))
        self.drop, self.drawn = found.drop, []  # of random words only the places count
        if found.drop is not None:
            self.drawn = [Operand(found.drop.bits, at(self.batch, row, key), through=False)]
        self.others = self.more(new)
        for operand in self.operands + self.others[:1]:
            self._settle(operand)
        self._need_neighbours()

    def more(self, new: dict[Node, Node]) -> list[Operand]:
        """What else runs over the same loops; the first is read as the operands are."""
        return []

    def _settle(self, operand: Operand) -> None:
        """Cut loops over heads and batch until the operand can be read in place, or store it."""
        while not operand.walk.is_affine:
            found = cut_of(operand.walk.offset)
            if found is None or found[0] not in self.batch:
                operand.store()
                return
            loop, inner = found
            outside = Var(f"{loop.name}o", loop.extent // inner)
            inside = Var(f"{loop.name}i", inner)
            for x in self.operands + self.others + self.drawn:
                x.substitute({loop: Index.of(outside) * inner + Index.of(inside)})
            place = self.batch.index(loop)
            self.batch[place : place + 1] = [outside, inside]

    def _need_neighbours(self) -> None:
        """q, v and a mask that differs from row to row are read along their last axis."""
        q, _, v, *mask = self.operands
        others = self.neighbours()
        for x, loop in ((q, self.depth), (v, self.width), *((x, self.key) for x in mask), *others):
            near = loop.extent == 1 or x.walk.stride(loop) == 1
            if not near and not (x in mask and x.walk.stride(self.row) == 0):
                x.store()

    def neighbours(self) -> list[tuple[Operand, Var]]:
        """Further operands and the loops along which they must be contiguous."""
        return []

    def mask_is_causal(self, hides: bool, shapes: dict[tuple, bool]) -> bool:
        """Whether the mask is a constant that lets each row see the keys up to its own number."""
        base, offset = self.operands[3].walk
        rows, keys = self.row.extent, self.key.extent
        if base.type.size != rows * keys or base.type.size > LARGEST:
            return False
        if offset != Index.of(self.row) * keys + Index.of(self.key):
            return False
        if any(n.op is None or n.name == "random_bits" for n in toposort([base])):
            return False
        if (base, hides) not in shapes:
            (value,) = interpret(Graph("mask", (), (base,)))
            seen = np.tri(rows, keys, dtype=bool)
            wanted = seen != hides if value.dtype == np.bool_ else np.where(seen, 0, -np.inf)
            shapes[base, hides] = np.array_equal(value.reshape(rows, keys), wanted)
        return shapes[base, hides]

    def invert_mask(self) -> None:
        base, offset = self.operands[3].walk
        opposite = bitwise_xor(base, full_node(True, base.type))
        self.operands[3].walk = Walk(opposite, offset)

    def attributes(self) -> dict:
        q, k, v, mask = (*(x.walk for x in self.operands), None)[:4]

        def stride(walk: Walk | None, loop: Var) -> int:
            return walk.stride(loop) if walk else 0

        return dict(
            batch=tuple((b.extent, *(stride(x, b) for x in (q, k, v, mask))) for b in self.batch),
            rows=(self.row.extent, stride(q, self.row), stride(mask, self.row)),
            keys=(self.key.extent, *(stride(x, self.key) for x in (k, v, mask))),
            depth=(self.depth.extent, stride(k, self.depth)),
            width=self.width.extent,
            starts=tuple(x.offset.const if x else 0 for x in (q, k, v, mask)),
        )

    def of_dropout(self) -> dict:
        """The attribute `drop`, if there is dropout."""
        if self.drop is None:
            return {}
        (words,) = self.drawn
        strides = (words.walk.stride(loop) for loop in (self.row, *self.batch))
        return {"drop": (self.drop.least, self.drop.gain, *strides)}

    def keys_of_dropout(self, new: dict[Node, Node]) -> list[Node]:
        """The last operand, if there is dropout."""
        return [new[self.drop.key]] if self.drop else []


def settled(geometry: Geometry, found: Found, node: Node, shapes: dict) -> dict | None:
    """The attributes of an `attention` node; None for few queries and masks of other types.

    A causal mask is dropped from the operands, one that hides is turned round. `shapes` remembers
    which masks are causal.
    """
    mask = found.mask
    if node.shape[-2] < FEWEST or (mask is not None and mask.dtype not in (bool_, node.dtype)):
        return None
    causal = mask is not None and geometry.mask_is_causal(found.hides, shapes)
    if causal:
        geometry.operands.pop()
    elif found.hides:
        geometry.invert_mask()
    attrs = geometry.attributes() | dict(scale=found.scale, causal=causal, safe=found.safe)
    return attrs | geometry.of_dropout()
