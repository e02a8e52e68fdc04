"""Finds attention as it is traced and makes one `attention` node of it.

before:
    graph f(q: f32[2,40,16], k: f32[2,40,16], v: f32[2,40,16]) {
      mul_0 = mul(q, 0.25)
      permute_0 = permute(k, dims=(0,2,1))
      matmul_0 = matmul(mul_0, permute_0)
      amax_0 = amax(matmul_0, axes=(2,))
      reshape_0 = reshape(amax_0, shape=(2,40,1))
      expand_0 = expand(reshape_0, shape=(2,40,40))
      sub_0 = sub(matmul_0, expand_0)
      exp_0 = exp(sub_0)
      sum_0 = sum(exp_0, axes=(2,))
      reshape_1 = reshape(sum_0, shape=(2,40,1))
      expand_1 = expand(reshape_1, shape=(2,40,40))
      div_0 = div(exp_0, expand_1)
      matmul_1 = matmul(div_0, v)
      return matmul_1
    }
after:
    graph f(q: f32[2,40,16], k: f32[2,40,16], v: f32[2,40,16]) {
      attention_0 = attention(q, k, v, batch=((2,640,640,640,0),), rows=(40,16,0),
        keys=(40,16,16,0), depth=(16,1), width=16, starts=(0,0,0,0), scale=0.25, causal=False,
        safe=False)
      return attention_0
    }

Views of the operands are looked through, so that the parts of a merged projection are read where
they lie. Constant masks are computed here, to see whether they are causal.

Needs: gradients taken. Establishes: nothing. Left alone: anything but float32, weights or scores
that something else reads too, few queries, and more keys than fit into scratch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from nncomp.ir.graph import Graph, Node, build_node, toposort, with_operands
from nncomp.ir.index import Index, Var
from nncomp.ir.interpret import interpret
from nncomp.ir.op import OPS
from nncomp.ir.ops import bitwise_xor
from nncomp.ir.rewrite import full_node
from nncomp.ir.types import bool_, float32

from .attention_pattern import Found, match_attention
from .attention_plan import make_attention_plan
from .layout_product import Walk, at, cut_of, look_through, loops, shaped, stored
from .target import Target

Fits = Callable[[dict[str, Any]], bool]
FEWEST = 8  # queries, below which most lanes would idle
LARGEST = 1 << 22  # elements of a constant mask that is worth looking at


def fuse_attention(graph: Graph, target: Target) -> Graph:
    """`graph` with an `attention` node for every softmax(scores + mask) @ values."""
    return fuse_attention_where(graph, lambda attrs: make_attention_plan(attrs, target).fits)


def fuse_attention_where(graph: Graph, fits: Fits) -> Graph:
    """The same for any machine: `fits` says of the attributes whether there is a kernel."""
    users, results = graph.users(), frozenset(graph.outputs)
    new: dict[Node, Node] = {n: n for n in graph.inputs}
    shapes: dict[tuple, bool] = {}
    for node in graph.nodes:
        found = match_attention(node, users, results)
        made = found and _lower(found, node, new, shapes, fits)
        new[node] = made or with_operands(node, tuple(new[x] for x in node.inputs))
    outputs = tuple(new[x] for x in graph.outputs)
    if all(a is b for a, b in zip(outputs, graph.outputs, strict=True)):
        return graph
    return graph.with_outputs(outputs)


def _lower(found: Found, node: Node, new, shapes: dict, fits: Fits) -> Node | None:
    """The attention node of the shape of `node`; None where there is no plan for it."""
    has_mask = found.mask is not None
    if node.shape[-2] < FEWEST or (has_mask and found.mask.dtype not in (bool_, float32)):
        return None
    geometry = _Geometry(found, node, new)
    causal = False
    if has_mask:
        causal = geometry.mask_is_causal(found.hides, shapes)
        if causal:
            geometry.operands.pop()
        elif found.hides:
            geometry.invert_mask()
    attrs = geometry.attributes() | dict(scale=found.scale, causal=causal, safe=found.safe)
    if not fits(attrs):
        return None
    operands = [x.walk.node for x in geometry.operands]
    return shaped(build_node(OPS["attention"], operands, attrs, node.loc), node.shape)


class _Operand:
    """A node, the position at which it is read, and where that is in what it is a view of."""

    def __init__(self, node: Node, position):
        self.node, self.position = node, tuple(position)
        self.walk: Walk = look_through(node, self.position)

    def substitute(self, new: dict[Var, Index]) -> None:
        self.position = tuple(i.substitute(new) for i in self.position)
        self.walk = self.walk.substitute(new)

    def store(self) -> None:
        """Read the node itself, not what it is a view of."""
        self.walk = stored(self.node, self.position)


class _Geometry:
    """The loops of one attention and how its operands are walked."""

    def __init__(self, found: Found, node: Node, new: dict[Node, Node]):
        rows, depth = found.q.shape[-2:]
        keys, width = found.v.shape[-2:]
        self.batch = loops("b", node.shape[:-2])
        self.row, self.key = Var("m", rows), Var("n", keys)
        self.depth, self.width = Var("k", depth), Var("w", width)
        row, key, deep, wide = ([v] for v in (self.row, self.key, self.depth, self.width))
        self.operands = [
            _Operand(new[found.q], at(self.batch, row, deep)),
            _Operand(new[found.k], at(self.batch, deep, key)),
            _Operand(new[found.v], at(self.batch, key, wide)),
        ]
        if found.mask is not None:
            self.operands.append(_Operand(new[found.mask], at(self.batch, row, key)))
        for operand in self.operands:
            self._settle(operand)
        self._need_neighbours()

    def _settle(self, operand: _Operand) -> None:
        """Cut loops over heads and batch until the operand can be read in place, or store it."""
        while not operand.walk.is_affine:
            found = cut_of(operand.walk.offset)
            if found is None or found[0] not in self.batch:
                operand.store()
                return
            loop, inner = found
            outside = Var(f"{loop.name}o", loop.extent // inner)
            inside = Var(f"{loop.name}i", inner)
            for x in self.operands:
                x.substitute({loop: Index.of(outside) * inner + Index.of(inside)})
            place = self.batch.index(loop)
            self.batch[place : place + 1] = [outside, inside]

    def _need_neighbours(self) -> None:
        """q, v and a mask that differs from row to row are read along their last axis."""
        q, _, v, *mask = self.operands
        for x, loop in ((q, self.depth), (v, self.width), *((x, self.key) for x in mask)):
            near = loop.extent == 1 or x.walk.stride(loop) == 1
            if not near and not (x in mask and x.walk.stride(self.row) == 0):
                x.store()

    def mask_is_causal(self, hides: bool, shapes: dict[tuple, bool]) -> bool:
        """Whether the mask is a constant that lets each row see the keys up to its own number."""
        base, offset = self.operands[3].walk
        rows, keys = self.row.extent, self.key.extent
        if base.type.size != rows * keys or base.type.size > LARGEST:
            return False
        if offset != Index.of(self.row) * keys + Index.of(self.key):
            return False
        if any(n.op is None or n.name == "random_bits" for n in toposort([base])):
            return False
        if (base, hides) not in shapes:
            (value,) = interpret(Graph("mask", (), (base,)))
            seen = np.tri(rows, keys, dtype=bool)
            wanted = seen != hides if value.dtype == np.bool_ else np.where(seen, 0, -np.inf)
            shapes[base, hides] = np.array_equal(value.reshape(rows, keys), wanted)
        return shapes[base, hides]

    def invert_mask(self) -> None:
        base, offset = self.operands[3].walk
        opposite = bitwise_xor(base, full_node(True, base.type))
        self.operands[3].walk = Walk(opposite, offset)

    def attributes(self) -> dict:
        q, k, v, mask = (*(x.walk for x in self.operands), None)[:4]

        def stride(walk: Walk | None, loop: Var) -> int:
            return walk.stride(loop) if walk else 0

        return dict(
            batch=tuple((b.extent, *(stride(x, b) for x in (q, k, v, mask))) for b in self.batch),
            rows=(self.row.extent, stride(q, self.row), stride(mask, self.row)),
            keys=(self.key.extent, *(stride(x, self.key) for x in (k, v, mask))),
            depth=(self.depth.extent, stride(k, self.depth)),
            width=self.width.extent,
            starts=tuple(x.offset.const if x else 0 for x in (q, k, v, mask)),
        )
