"""bfloat16 products two terms at a time, for machines that add two products in one instruction.

The right operand is packed in panels whose rows hold two neighbouring terms of the sum for each
column: [lead.., panels, k.. / 2, panel, 2]. The left operand has such pairs where it lies, if its
terms are neighbours in memory; a transposed one is copied. Each instruction adds a pair of products
to a float32 sum, so it does twice the work of a multiply-add. It takes numbers below 2**-126 as 0.
"""

from __future__ import annotations

from math import prod
from typing import Any

from nncomp.ir.graph import Node
from nncomp.ir.index import Index, Quotient, Remainder, Var
from nncomp.ir.ops import permute, reshape
from nncomp.ir.types import bfloat16

from .target import Target

ROWS = 16  # below which packing the right operand costs more than it saves


def pair_loop(product: Any, target: Target) -> Var | None:
    """The loop of a Product to take in pairs; None where that is impossible or not worth it."""
    if not target.bf16_pairs or not product.left.dtype is product.right.dtype is bfloat16:
        return None
    if product.rows < ROWS and not product.prepared:
        return None
    for loop in reversed(product.k):
        others = [v for v in (*product.batch, *product.m, *product.k) if v != loop]
        even = loop.extent % 2 == 0 and all(product.a.stride(v) % 2 == 0 for v in others)
        if even and product.a.stride(loop) == 1 and _axis_of(product, loop) is not None:
            return loop
    return None


def turned_pairs(product: Any, target: Target) -> tuple[Node, Index] | None:
    """A transposed left operand [k.., m] as [m / panel, k.. / 2, panel, 2], and where it is read.

    None for another left operand, and where the copy costs more than pairs save. The last loop of
    the sum is cut in two.
    """
    if not target.bf16_pairs or not product.left.dtype is product.right.dtype is bfloat16:
        return None
    m, k = [v for v in product.m if v.extent > 1], product.k
    if product.batch or len(m) != 1 or product.a.stride(m[0]) != 1 or product.a.offset.const:
        return None
    rows, depth = m[0].extent, prod(v.extent for v in k)
    strides = [rows * prod(v.extent for v in k[i + 1 :]) for i in range(len(k))]
    is_whole = product.a.node.type.size == rows * depth
    if not is_whole or strides != [product.a.stride(v) for v in k]:
        return None
    small = min(rows, product.n.extent) < 2 * ROWS or depth < 2 * ROWS
    if small or k[-1].extent % 2 or _axis_of(product, k[-1]) is None:
        return None
    panel = next((n for n in (32, 16) if rows % n == 0), rows) if len(product.m) == 1 else rows
    source = reshape(product.a.node, shape=(depth // 2, 2, rows // panel, panel))
    product.cut(k[-1], 2)
    if panel < rows:
        product.cut(m[0], panel)
    outside, inside = product.m[-2:] if panel < rows else (None, m[0])
    place = Index.of(inside) * 2 + (Index.of(outside) * (depth * panel) if outside else Index())
    for v in product.k[:-1]:
        place = place + Index.of(v) * (product.a.stride(v) // rows * panel)
    return permute(source, dims=(2, 0, 3, 1)), place + Index.of(product.k[-1])


def _axis_of(product: Any, loop: Var) -> int | None:
    """The axis of the right operand that the loop walks, if pairs along it can lie together."""
    found = [i for i, place in enumerate(product.right_at) if loop in place.vars]
    last = len(product.right_at) - 1
    if len(found) != 1 or not product.lead <= found[0] < last:
        return None
    place, extent = product.right_at[found[0]], product.right.shape[found[0]]
    plain = all(isinstance(atom, Var) for atom, _ in place.terms)
    even = all(c % 2 == 0 for atom, c in place.terms if atom != loop) and place.const % 2 == 0
    return found[0] if plain and even and place.coefficient(loop) == 1 and not extent % 2 else None


def pack_pairs(product: Any, loop: Var, panel: int, padded: Any) -> tuple[Node, tuple[Index, ...]]:
    """(packed right operand, the position of its first column) with `loop` cut into pairs."""
    axis = _axis_of(product, loop)
    assert axis is not None
    product.cut(loop, 2)
    inside = next(v for v in product.k if v.name == f"{loop.name}i")
    product.k.remove(inside)
    source, place, lead = product.right, list(product.right_at), product.lead
    shape, rank = source.shape, len(source.shape)
    panels = -(-shape[-1] // panel)
    source = padded(source, panels * panel - shape[-1])
    halves = (*shape[:axis], shape[axis] // 2, 2, *shape[axis + 1 : -1])
    source = reshape(source, shape=(*halves, panels, panel))
    terms = [i if i <= axis else i + 1 for i in range(lead, rank - 1)]
    packed = permute(source, dims=(*range(lead), rank, *terms, rank + 1, axis + 1))
    half, second = place[axis] // 2, place[axis] % 2
    for index in (half, second):
        assert not any(isinstance(atom, (Quotient, Remainder)) for atom, _ in index.terms)
    place[axis] = half
    return packed, (*place[:lead], Index(), *place[lead:-1], Index(), second)
