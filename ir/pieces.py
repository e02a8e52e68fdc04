"""A concat of many operands as one kernel per operand.

Selecting among many operands at every element costs as many reads as there are operands. With the
loops cut where one operand ends and the next begins, the choice is made here, once and for all:

    y = tanh(concat(a, b, ...))   ->   y[.., 0:8] = tanh(a);   y[.., 8:20] = tanh(b);   ...
"""

from __future__ import annotations

from dataclasses import replace
from itertools import accumulate
from math import prod
from typing import NamedTuple

from .graph import Graph, Node, toposort
from .index import linear
from .loops import Kernel, Store
from .lower import Lowering, Reads, domain_of, make_buffers
from .types import TensorType

FEW = 4  # a concat of so many operands is done by selecting


class Piece(NamedTuple):
    """Part `start`..`stop` along `axis` of the result; operand `number` of the concat fills it."""

    number: int
    axis: int
    start: int
    stop: int
    offset: int  # bytes from the beginning of the result to the part's first element


def is_long_concat(node: Node) -> bool:
    return node.name == "concat" and len(node.inputs) > FEW and node.type.size > 0


def concat_pieces(body: Graph) -> list[Piece]:
    """The pieces of the result of a group with a long concat in it; empty for other groups."""
    found = [n for n in body.nodes if is_long_concat(n)]
    if not found or len(body.outputs) > 1:
        return []
    (concat,), (root,) = found, body.outputs
    domain, idx = domain_of(root.type.shape)
    reads = Reads(domain)
    reads.at(root, idx)
    for node in reversed(body.nodes):
        reads.follow(node)
    (place,) = reads.positions(concat)
    along = concat.attrs["axis"]
    axis = idx.index(place[along])
    lengths = [x.shape[along] for x in concat.inputs]
    ends = list(accumulate(lengths))
    inner = root.type.nbytes // prod(root.shape[: axis + 1])
    return [
        Piece(number, axis, end - length, end, (end - length) * inner)
        for number, (length, end) in enumerate(zip(lengths, ends, strict=True))
        if length
    ]


def piece_body(body: Graph, piece: Piece) -> Graph:
    """What computes one piece. Where the concat is the last node that is the piece's operand."""
    (root,) = body.outputs
    if not is_long_concat(root):
        return body
    operand = root.inputs[piece.number]
    read = set(toposort([operand]))
    return Graph(body.name, [n for n in body.inputs if n in read], [operand])


def lower_piece(part: Graph, piece: Piece, whole: TensorType, name: str) -> Kernel:
    """The kernel of a `piece_body`; its result buffer begins at the piece, with whole's strides."""
    leaves, (out,) = make_buffers(part)
    (root,) = part.outputs
    shape, begin = list(root.type.shape), 0
    if shape[piece.axis] != piece.stop - piece.start:
        shape[piece.axis], begin = piece.stop - piece.start, piece.start
    domain, here = domain_of(tuple(shape))
    there = tuple(i + begin if k == piece.axis else i for k, i in enumerate(here))
    value = Lowering(leaves, domain).at(root, there)
    out = replace(out, type=whole)
    store = Store(out, linear(here, whole.shape), value)
    return Kernel(name, "map", (*leaves.values(), out), 1, domain, (store,))
