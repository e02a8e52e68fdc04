"""Splits long sums of products with few results, so that all of a GPU has work.

before:
    graph f(a: f32[32,4096], b: f32[4096,32]) {
      matmul_0 = matmul(a, b)
      return matmul_0
    }
after (16 parts):
    graph f(a: f32[32,4096], b: f32[4096,32]) {
      reshape_0 = reshape(a, shape=(32,16,256))
      permute_0 = permute(reshape_0, dims=(1,0,2))
      reshape_1 = reshape(b, shape=(16,256,32))
      matmul_0 = matmul(permute_0, reshape_1)
      sum_0 = sum(matmul_0, axes=(0,))
      return sum_0
    }

The parts are added in a fixed order, so results are the same from run to run. Convolutions are
split by groups: of input channels, of output channels for the gradient of the input, of the images
for that of the weight. Parts of 16-bit products are float32.

Needs: gradients taken. Establishes: nothing. Left alone: sums that no number near the wanted one
divides.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from nncomp.ir.graph import Graph, Node, rebuild
from nncomp.ir.ops import (
    cast,
    conv,
    conv_transpose,
    conv_weight,
    matmul,
    permute,
    reshape,
)
from nncomp.ir.ops import sum as sum_
from nncomp.ir.types import float32

from .plan import FEW, SMS

TILE = 64  # rows and columns of the tiles that results are counted in
SHORTEST = 256  # terms of a part
WARP = 32


def split_products(graph: Graph) -> Graph:
    """The graph with long products of few results as sums of parts."""

    def visit(node: Node, operands: tuple[Node, ...]) -> Node | None:
        split = SPLITS.get(node.name)
        if split is None or node.dtype.kind != "f" or not node.type.size:
            return None
        return split(node, operands)

    return rebuild(graph, visit)


def parts_of(blocks: int, terms: int, length: int) -> int:
    """Into how many parts to cut an axis of `length`, one of those that `terms` products run over.

    1 where there are blocks enough or the sums are short.
    """
    wanted = min(SMS // max(blocks, 1), terms // SHORTEST, length)
    return next((n for n in range(wanted, 1, -1) if length % n == 0), 1)


def _tiles(*extents: int) -> int:
    return prod(-(-n // TILE) for n in extents)


def _matmul(node: Node, operands: tuple[Node, ...]) -> Node | None:
    a, b = operands
    *batch, rows, terms = a.shape
    columns, lead = b.shape[-1], len(batch)
    blocks = prod(batch) * _tiles(rows, columns)
    if min(rows, columns) <= FEW:  # a column of b per thread, or a dot product per warp
        if b.name == "permute" or columns <= FEW:
            return None
        blocks = prod(batch) * rows * -(-columns // WARP)
    parts = parts_of(blocks, terms, terms)
    if parts == 1:
        return None
    cut = reshape(a, shape=(*batch, rows, parts, terms // parts))
    left = permute(cut, dims=(*range(lead), lead + 1, lead, lead + 2))
    right = reshape(b, shape=(*batch, parts, terms // parts, columns))
    return _added(matmul, node, left, right, axis=lead)


def _conv(node: Node, operands: tuple[Node, ...]) -> Node | None:
    """Parts of the input's channels as groups."""
    x, w = operands
    count, channels, *kernel = w.shape
    if node.attrs["groups"] != 1:
        return None
    blocks = _tiles(count, prod(node.shape) // count)
    parts = parts_of(blocks, channels * prod(kernel), channels)
    if parts == 1:
        return None
    cut = reshape(w, shape=(count, parts, channels // parts, *kernel))
    weight = permute(cut, dims=(1, 0, *range(2, len(cut.shape))))
    weight = reshape(weight, shape=(parts * count, channels // parts, *kernel))
    attrs = {**node.attrs, "groups": parts}
    shape = (node.shape[0], parts, *node.shape[1:])
    return _added(conv, node, x, weight, axis=1, shape=shape, **attrs)


def _conv_transpose(node: Node, operands: tuple[Node, ...]) -> Node | None:
    """Parts of the output's channels as groups."""
    g, w = operands
    count, channels, *kernel = w.shape
    if node.attrs["groups"] != 1:
        return None
    blocks = _tiles(channels, prod(node.shape) // channels)
    parts = parts_of(blocks, count * prod(kernel), count)
    if parts == 1:
        return None
    attrs = {**node.attrs, "groups": parts}
    shape = (node.shape[0], parts, *node.shape[1:])
    return _added(conv_transpose, node, g, w, axis=1, shape=shape, **attrs)


def _conv_weight(node: Node, operands: tuple[Node, ...]) -> Node | None:
    """Parts of the images as groups of channels."""
    x, g = operands
    images, places = x.shape[0], prod(g.shape[2:])
    groups = node.attrs["groups"]
    blocks = groups * _tiles(node.shape[0] // groups, prod(node.shape[1:]))
    parts = parts_of(blocks, images * places, images)
    if parts == 1:
        return None
    left, right = (_as_channels(y, parts) for y in operands)
    attrs = {**node.attrs, "groups": groups * parts}
    return _added(conv_weight, node, left, right, axis=0, shape=(parts, *node.shape), **attrs)


def _as_channels(x: Node, parts: int) -> Node:
    """[N, C, ...] -> [N / parts, parts * C, ...]."""
    images, channels, *rest = x.shape
    cut = reshape(x, shape=(parts, images // parts, channels, *rest))
    turned = permute(cut, dims=(1, 0, *range(2, len(cut.shape))))
    return reshape(turned, shape=(images // parts, parts * channels, *rest))


def _added(op: Callable, node: Node, *operands: Node, axis: int, shape=None, **attrs) -> Node:
    """The sum over `axis` of what `op` gives, brought to `shape` before."""
    narrow = node.dtype
    if narrow.itemsize == 2:
        operands = tuple(cast(x, dtype=float32) for x in operands)
    result = op(*operands, **attrs)
    total = sum_(result if shape is None else reshape(result, shape=shape), axes=(axis,))
    return total if total.dtype is narrow else cast(total, dtype=narrow)


SPLITS = {
    "matmul": _matmul,
    "conv": _conv,
    "conv_transpose": _conv_transpose,
    "conv_weight": _conv_weight,
}
