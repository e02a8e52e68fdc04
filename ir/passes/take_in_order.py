"""Rows are gathered in the order in which they are read: the index is permuted, not the rows.

before:
    graph f(table: f32[100,8], i: i64[3,4]) {
      take_0 = take(table, i, axis=0)
      permute_0 = permute(take_0, dims=(1,0,2))
      return permute_0
    }
after:
    graph f(table: f32[100,8], i: i64[3,4]) {
      permute_0 = permute(i, dims=(1,0))
      take_0 = take(table, permute_0, axis=0)
      return take_0
    }

So a sequence that comes batch first and is read time first, as recurrent layers do, lies in memory
as its products walk it. Only where nobody reads the rows in the old order.

Needs: nothing. Establishes: nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..graph import Graph, Node, build_node, rebuild
from ..op import OPS
from ..ops import permute


def take_in_order(graph: Graph) -> Graph:
    """`graph` with permutes of gathered rows moved to the index."""
    users, results = graph.users(), frozenset(graph.outputs)

    def visit(node: Node, operands: tuple[Node, ...]) -> Node | None:
        if node.name != "permute":
            return None
        old, (rows,) = node.inputs[0], operands
        if old.name != "take" or old in results or rows.name != "take":
            return None
        dims = _index_dims(old, node.attrs["dims"])
        same = all(u.name == "permute" and u.attrs == node.attrs for u in users[old])
        if dims is None or not same:
            return None
        table, index = rows.inputs
        return build_node(OPS["take"], (table, permute(index, dims=dims)), rows.attrs, rows.loc)

    return rebuild(graph, visit)


def _index_dims(take: Node, dims: Sequence[int]) -> tuple[int, ...] | None:
    """How a permute of gathered rows orders the axes of the index; None if it moves others."""
    first, rank = take.attrs["axis"], len(take.inputs[1].shape)
    inside = range(first, first + rank)
    if any(d != i and not (i in inside and d in inside) for i, d in enumerate(dims)):
        return None
    return tuple(dims[i] - first for i in inside)
