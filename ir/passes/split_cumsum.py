"""Cuts long running sums into blocks, since a kernel sums each prefix of a block anew.

before:
    graph f(x: f32[4,128]) {
      cumsum_0 = cumsum(x, axis=1)  : f32[4,128]
      return cumsum_0
    }
after:
    graph f(x: f32[4,128]) {
      reshape_0 = reshape(x, shape=(4,8,16))                                  : f32[4,8,16]
      cumsum_0 = cumsum(reshape_0, axis=2)                                    : f32[4,8,16]
      slice_0 = slice(cumsum_0, start=(0,0,15), stop=(4,8,16), step=(1,1,1))  : f32[4,8,1]
      reshape_1 = reshape(slice_0, shape=(4,8))                               : f32[4,8]
      slice_1 = slice(reshape_1, start=(0,0), stop=(4,7), step=(1,1))         : f32[4,7]
      cumsum_1 = cumsum(slice_1, axis=1)                                      : f32[4,7]
      pad_0 = pad(cumsum_1, low=(0,1), high=(0,0), interior=(0,0), value=0.0)  : f32[4,8]
      reshape_2 = reshape(pad_0, shape=(4,8,1))                               : f32[4,8,1]
      expand_0 = expand(reshape_2, shape=(4,8,16))                            : f32[4,8,16]
      add_0 = add(cumsum_0, expand_0)                                         : f32[4,8,16]
      reshape_3 = reshape(add_0, shape=(4,128))                               : f32[4,128]
      return reshape_3
    }

Blocks of blocks, if need be, so that an element costs some tens of additions at any length. The
cut depends on shapes alone, so results do not depend on the number of threads.
Needs: nothing. Establishes: no running sum is longer than SHORT.
"""

from __future__ import annotations

from ..graph import Graph, Node, rebuild
from ..ops import add, cast, cumsum, expand, pad, reshape, slice
from ..types import float32

BLOCK = 16
SHORT = 32  # a running sum up to this length is one kernel


def split_cumsum(graph: Graph) -> Graph:
    """The graph with running sums of more than `SHORT` elements done in blocks."""

    def visit(node: Node, operands: tuple[Node, ...]) -> Node | None:
        if node.name != "cumsum" or node.shape[node.attrs["axis"]] <= SHORT:
            return None
        x, axis = operands[0], node.attrs["axis"]
        if x.dtype.kind == "f" and x.dtype.itemsize == 2:  # the parts keep what float32 keeps
            return cast(_split(cast(x, dtype=float32), axis), dtype=x.dtype)
        return _split(x, axis)

    return rebuild(graph, visit)


def _split(x: Node, axis: int) -> Node:
    """Running sums inside of blocks, plus the running sum of the blocks before."""
    shape, n = x.shape, x.shape[axis]
    if n <= SHORT:
        return cumsum(x, axis=axis)
    count = -(-n // BLOCK)
    before, after = shape[:axis], shape[axis + 1 :]
    whole = _padded(x, axis, 0, count * BLOCK - n)
    inner = cumsum(reshape(whole, shape=(*before, count, BLOCK, *after)), axis=axis + 1)
    totals = _part(inner, axis + 1, BLOCK - 1, BLOCK)
    totals = _part(reshape(totals, shape=(*before, count, *after)), axis, 0, count - 1)
    earlier = _padded(_split(totals, axis), axis, 1, 0)
    earlier = reshape(earlier, shape=(*before, count, 1, *after))
    result = add(inner, expand(earlier, shape=inner.shape))
    return _part(reshape(result, shape=whole.shape), axis, 0, n)


def _padded(x: Node, axis: int, low: int, high: int) -> Node:
    if not (low or high):
        return x

    def at(value: int) -> tuple[int, ...]:
        return tuple(value if i == axis else 0 for i in range(len(x.shape)))

    zero = 0.0 if x.dtype.kind == "f" else 0
    return pad(x, low=at(low), high=at(high), interior=at(0), value=zero)


def _part(x: Node, axis: int, begin: int, end: int) -> Node:
    if (begin, end) == (0, x.shape[axis]):
        return x
    start = tuple(begin if i == axis else 0 for i in range(len(x.shape)))
    stop = tuple(end if i == axis else n for i, n in enumerate(x.shape))
    return slice(x, start=start, stop=stop, step=(1,) * len(stop))
