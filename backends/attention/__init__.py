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
Dropout of the weights is part of the node, which then reads the key of the random numbers.

Needs: gradients taken. Establishes: nothing. Left alone: anything but float32, weights or scores
that something else reads too, few queries, and more keys than fit into scratch.
"""

from __future__ import annotations

from nncomp.ir.graph import Graph, Node, build_node, with_operands
from nncomp.ir.op import OPS
from nncomp.ir.types import DType, float32

from ..walks import shaped
from .backward import match_gradients
from .geometry import Geometry, settled
from .gradient import Backward, Fits
from .pattern import Found, are_private, match_attention


def fuse_attention_where(
    graph: Graph, fits: Fits, has_plan: Fits, dtypes: tuple[DType, ...] = (float32,)
) -> Graph:
    """`graph` with an `attention` node for every softmax(scores + mask) @ values, and nodes for
    their gradients.

    `fits` says of the attributes whether there is a kernel for one of `dtypes`; `has_plan` the same
    of its gradients, which must be float32.
    """
    users, results = graph.users(), frozenset(graph.outputs)
    new: dict[Node, Node] = {n: n for n in graph.inputs}
    shapes: dict[tuple, bool] = {}
    backward: dict[Node, Backward] = {}
    for node in graph.nodes:
        made = backward[node].part(node, new) if node in backward else None
        found = match_attention(node, dtypes)
        if found and are_private(found.inner, [node], users, results):
            made = _lower(found, node, new, shapes, fits)
        elif found and node.dtype is float32 and (
            pulled := match_gradients(node, found, users, results)
        ):
            made = _lower(found, node, new, shapes, fits)
            both = Backward(found, pulled, node, shapes, has_plan)
            made = made if made and both.fits(made) else None
            backward |= dict.fromkeys(pulled.nodes if made else (), both)
        new[node] = made or with_operands(node, tuple(new[x] for x in node.inputs))
    outputs = tuple(new[x] for x in graph.outputs)
    if all(a is b for a, b in zip(outputs, graph.outputs, strict=True)):
        return graph
    return graph.with_outputs(outputs)


def _lower(found: Found, node: Node, new, shapes: dict, fits: Fits) -> Node | None:
    """The attention node of the shape of `node`; None where there is no plan for it."""
    geometry = Geometry(found, node, new)
    attrs = settled(geometry, found, node, shapes)
    if attrs is None or not fits(attrs):
        return None
    operands = [*(x.walk.node for x in geometry.operands), *geometry.keys_of_dropout(new)]
    return shaped(build_node(OPS["attention"], operands, attrs, node.loc), node.shape)
