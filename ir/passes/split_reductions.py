"""Cuts long reductions with few results in two, so that threads can share them.

before:
    graph f(x: f32[4096,64]) {
      sum_0 = sum(x, axes=(0,))
      return sum_0
    }
after:
    graph f(x: f32[4096,64]) {
      reshape_0 = reshape(x, shape=(16,256,64))
      sum_0 = sum(reshape_0, axes=(1,))
      sum_1 = sum(sum_0, axes=(0,))
      return sum_1
    }

The cut depends on shapes alone, so results do not depend on the number of threads.
Needs: simplify has run (it would join the two again). Establishes: nothing.
"""

from __future__ import annotations

from ..graph import Graph, Node, rebuild
from ..op import Reduction
from ..ops import add, cast, maximum, mul, reshape, slice
from ..types import float32

PARTS = 16
LARGE = 1 << 17  # elements from which on it is worth it
MANY = 64  # rows from which on sums of columns are cut
COUNTS = (PARTS, *range(PARTS + 1, 33), *range(PARTS - 1, 7, -1))  # of parts, the best one first
COLUMNS = 256  # columns of one unit of work where the last axis stays
COMBINE = {"sum": add, "prod": mul, "amax": maximum}


def split_reductions(graph: Graph) -> Graph:
    """The graph with long reductions to few results done in `PARTS` parts."""

    def visit(node: Node, operands: tuple[Node, ...]) -> Node | None:
        if not isinstance(node.op, Reduction) or not _is_long(node):
            return None
        (x,) = operands
        if _sums_columns(node):
            return _split_rows(node, x)
        return split_in_parts(node, x, _axis(node), PARTS)

    return rebuild(graph, visit)


def _is_long(node: Node) -> bool:
    (x,) = node.inputs
    if x.type.size < LARGE or not node.type.size:
        return False
    kept = [n for i, n in enumerate(x.shape) if i not in node.attrs["axes"] and n > 1]
    if _sums_columns(node):
        return True
    columns = kept and x.shape[-1] > 1 and len(x.shape) - 1 not in node.attrs["axes"]
    units = -(-node.type.size // COLUMNS) if columns else node.type.size
    return units < 4 and _axis(node) is not None


def _sums_columns(node: Node) -> bool:
    """Whether a node is a sum over the first axes, of many rows: another kernel that walks the same
    rows may do most of it (see join_columns.py)."""
    axes = sorted(node.attrs["axes"])
    if node.name != "sum" or axes != list(range(len(axes))) or not node.shape:
        return False
    return node.type.size > 1 and node.inputs[0].type.size // node.type.size >= MANY


def _split_rows(node: Node, x: Node) -> Node:
    """A sum of many rows in parts of equal length where their number allows it."""
    rows = x.type.size // node.type.size
    if len(node.attrs["axes"]) > 1:
        x = reshape(x, shape=(rows, *node.shape))
    count = next((n for n in COUNTS if rows % n == 0), PARTS)
    whole = node.op(x, axes=(0,))
    return split_in_parts(whole, x, 0, count)


def _axis(node: Node) -> int | None:
    """The axis to cut: the first reduced one that is long enough."""
    (x,) = node.inputs
    long = [a for a in node.attrs["axes"] if x.shape[a] >= PARTS]
    return long[0] if long else None


def split_in_parts(node: Node, x: Node, axis: int, count: int) -> Node:
    """The reduction `node` of x, with its reduced `axis` done in `count` parts."""
    if x.dtype.kind == "f" and x.dtype.itemsize == 2:  # the parts keep what a sum in float32 keeps
        return cast(_split_wide(node, cast(x, dtype=float32), axis, count), dtype=x.dtype)
    return _split_wide(node, x, axis, count)


def _split_wide(node: Node, x: Node, axis: int, count: int) -> Node:
    axes = node.attrs["axes"]
    rest = x.shape[axis] % count
    whole = x.shape[axis] - rest
    main = _rows(x, axis, 0, whole) if rest else x
    main = reshape(main, shape=(*x.shape[:axis], count, whole // count, *x.shape[axis + 1 :]))
    later = tuple(a if a < axis else a + 1 for a in axes)
    parts = node.op(main, axes=later)  # the axis of the parts stays, where `axis` was
    place = axis - sum(1 for a in axes if a < axis)
    total = node.op(parts, axes=(place,))
    if rest:
        left = node.op(_rows(x, axis, whole, x.shape[axis]), axes=axes)
        total = COMBINE[node.name](total, left)
    return total


def _rows(x: Node, axis: int, begin: int, end: int) -> Node:
    start = tuple(begin if i == axis else 0 for i in range(len(x.shape)))
    stop = tuple(end if i == axis else n for i, n in enumerate(x.shape))
    return slice(x, start=start, stop=stop, step=(1,) * len(stop))
