"""Long reductions to few results, cut so that every part of a GPU has some of them.

    sum_0 = sum(x, axes=(0,)) : f32[64] of f32[65536,64]
      ->  128 partial sums of f32[128,512,64], then the sum of those

A second kernel combines the parts in a fixed order: there are no atomics, so the result is the same
at every run. The cut depends on shapes alone.
"""

from __future__ import annotations

from nncomp.ir.graph import Graph, Node, rebuild
from nncomp.ir.op import Reduction
from nncomp.ir.passes.split_reductions import split_in_parts

from .schedule import COLUMNS

BLOCKS = 256  # blocks of threads that keep a GPU busy
LEAST = 1024  # terms of a part
LARGE = 1 << 15  # elements from which on a second kernel is worth it


def split_for_blocks(graph: Graph) -> Graph:
    """The graph with long reductions to few results done in parts."""

    def visit(node: Node, operands: tuple[Node, ...]) -> Node | None:
        if not isinstance(node.op, Reduction) or not node.type.size:
            return None
        axis, parts = _cut(node)
        return split_in_parts(node, operands[0], axis, parts) if parts > 1 else None

    return rebuild(graph, visit)


def _cut(node: Node) -> tuple[int, int]:
    """The axis to cut and the number of parts; 1 part to leave it."""
    (x,), axes = node.inputs, node.attrs["axes"]
    if x.type.size < LARGE or not axes:
        return 0, 1
    axis = max(axes, key=lambda a: x.shape[a])
    by_columns = x.shape[-1] > 1 and len(x.shape) - 1 not in axes
    blocks = -(-node.type.size // COLUMNS) if by_columns else node.type.size
    terms = x.type.size // node.type.size
    most = min(BLOCKS // blocks, terms // LEAST, x.shape[axis])
    return axis, 1 << max(most, 1).bit_length() - 1
