"""Where the gradients of q, k and v are padded and added up to that of one merged projection.

    add(add(pad(dq), pad(dk)), pad(dv)) = the gradient of x, where q, k and v are slices of x

Then they are written into their parts of it, and neither the sum nor the zeros are computed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nncomp.ir.graph import Node
from nncomp.ir.index import Index, linear, unravel

from ..walks import Walk, at, loops


class Joined:
    """The sum `root` of the padded `parts` (reshaped or not), which fill it."""

    def __init__(self, root: Node, parts: Sequence[Node], pads: Sequence[Node]):
        self.root = root
        self.pads = dict(zip(parts, pads, strict=True))

    def offset(self, part: Node, position: Sequence[Index]) -> Index:
        """Where the element of `part` at a position is in `root`."""
        pad = self.pads[part]
        inside = unravel(linear(tuple(position), part.shape), pad.inputs[0].shape)
        places = (i + low for i, low in zip(inside, pad.attrs["low"], strict=True))
        return linear(tuple(places), self.root.shape)

    def is_regular(self, part: Node) -> bool:
        """Whether the part has one stride per axis, 1 along the last."""
        axes = loops("i", part.shape)
        walk = Walk(self.root, self.offset(part, at(axes)))
        return walk.is_affine and (not axes or walk.stride(axes[-1]) == 1)


def joined(
    parts: Sequence[Node], users: Mapping[Node, list[Node]], results: frozenset[Node]
) -> Joined | None:
    """The sum that the padded parts fill without a gap; None if something else reads them."""

    def reader(node: Node) -> Node | None:
        return users[node][0] if len(users[node]) == 1 and node not in results else None

    pads = []
    for part in parts:
        node = reader(part)
        while node is not None and node.name == "reshape":
            node = reader(node)
        if node is None or node.name != "pad":
            return None
        pads.append(node)
    if not _fill(pads):
        return None
    summands = dict.fromkeys(pads)
    while len(summands) > 1:
        readers = [reader(n) for n in summands]
        pair = next((r for r in readers if r and r.name == "add" and readers.count(r) == 2), None)
        if pair is None:
            return None
        summands = {n: None for n in summands if n not in pair.inputs} | {pair: None}
    (root,) = summands
    found = Joined(root, parts, pads)
    return found if all(map(found.is_regular, parts)) else None


def _fill(pads: Sequence[Node]) -> bool:
    """Whether the padded operands tile the result along one axis, with zeros around them."""
    shape = pads[0].shape
    padded = [[a for a in range(len(shape)) if p.inputs[0].shape[a] != shape[a]] for p in pads]
    if any(p.shape != shape or p.attrs["value"] != 0 or any(p.attrs["interior"]) for p in pads):
        return False
    if any(axes != padded[0] or len(axes) != 1 for axes in padded):
        return False
    (axis,) = padded[0]
    end = 0
    for pad in sorted(pads, key=lambda p: p.attrs["low"][axis]):
        if pad.attrs["low"][axis] != end:
            return False
        end += pad.inputs[0].shape[axis]
    return end == shape[axis]
