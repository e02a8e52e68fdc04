"""Where the gradients of q, k and v are put together to that of one merged projection.

    concat(dq, dk, dv) = the gradient of x, where q, k and v are slices of x

Then they are written into their parts of it, and the concat is not computed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nncomp.ir.graph import Node
from nncomp.ir.index import Index, linear, unravel

from ..walks import Walk, at, loops


class Joined:
    """The concat `root`, whose operands are the `parts` (reshaped or not)."""

    def __init__(self, root: Node, parts: Sequence[Node], operands: Sequence[Node]):
        self.root, self.axis = root, root.attrs["axis"]
        self.operands = dict(zip(parts, operands, strict=True))

    def offset(self, part: Node, position: Sequence[Index]) -> Index:
        """Where the element of `part` at a position is in `root`."""
        operand = self.operands[part]
        place = list(unravel(linear(tuple(position), part.shape), operand.shape))
        before = self.root.inputs[: self.root.inputs.index(operand)]
        place[self.axis] = place[self.axis] + sum(x.shape[self.axis] for x in before)
        return linear(tuple(place), self.root.shape)

    def is_regular(self, part: Node) -> bool:
        """Whether the part has one stride per axis, 1 along the last."""
        axes = loops("i", part.shape)
        walk = Walk(self.root, self.offset(part, at(axes)))
        return walk.is_affine and (not axes or walk.stride(axes[-1]) == 1)


def joined(
    parts: Sequence[Node], users: Mapping[Node, list[Node]], results: frozenset[Node]
) -> Joined | None:
    """The concat that the parts fill; None if there is another operand, or another reader."""

    def reader(node: Node) -> Node | None:
        return users[node][0] if len(users[node]) == 1 and node not in results else None

    operands, roots = [], set()
    for part in parts:
        node, following = part, reader(part)
        while following is not None and following.name == "reshape":
            node, following = following, reader(following)
        operands.append(node)
        roots.add(following)
    root = roots.pop()
    if roots or root is None or root.name != "concat" or {*root.inputs} != {*operands}:
        return None
    if len(root.inputs) != len(operands):
        return None
    found = Joined(root, parts, operands)
    return found if all(map(found.is_regular, parts)) else None
