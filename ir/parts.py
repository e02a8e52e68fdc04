"""A contraction whose columns are read in equal parts, as the gates of a recurrent cell are.

    gates = contract(h, w)                        : f32[32,2048]
    y = sigmoid(gates[:, :512]) * tanh(gates[:, 512:1024]) + ...    : f32[32,512]

Its kernel has the loops of one part: it computes the sums of all parts of a tile, then what is made
of them, so the contraction's result is never stored. GLU and its like are such, too.
"""

from __future__ import annotations

from collections.abc import Sequence

from .graph import Node
from .index import Index, Var
from .lower import is_full_position

MOST = 8  # parts: the sums of all of a tile are to stay in the first-level cache


def is_in_parts(node: Node, seen: Sequence[tuple[Index, ...]], domain: Sequence[Var]) -> bool:
    """Whether a contraction read at the positions `seen` can be computed part by part.

    Each part must be read, at the loops `domain` and with their last one as column; and panels of
    the right operand must not hold columns of two parts.
    """
    if node.name != "contract" or len(node.inputs) != 2 or not 2 <= len(seen) <= MOST:
        return False
    *rows, columns = node.shape
    outer, width = seen[0][:-1], columns // len(seen)
    if not domain or domain[-1].extent != width or width * len(seen) != columns:
        return False
    column = Index.of(domain[-1])
    if set(seen) != {(*outer, column + number * width) for number in range(len(seen))}:
        return False
    if not is_full_position(outer, tuple(rows)) or width % (node.attrs["panel"] or 1):
        return False
    return {i.terms[0][0] for i in outer if i.terms} == set(domain[:-1])
