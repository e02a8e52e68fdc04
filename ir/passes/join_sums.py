"""Sums of quadrants join the kernel of the contraction that computes what they are sums of.

    fused_0 = fused(x, w, kind="contract") : (f32[128,3072])      fused_0 = fused(x, w, ...) {
    quadrant_sums_0 = quadrant_sums(fused_0[0], ...)          ->    ... quadrant_sums_0 = ...
                                                                  } : (f32[128,3072], f32[128,3072])

A contraction in quadrants has all four of a tile at hand while they are in the first-level cache,
so the sums cost a few additions instead of a kernel and a meeting of all threads.

Needs: fuse. Establishes: nothing.
"""

from __future__ import annotations

from ..graph import Graph, Node, rebuild
from ..op import OPS
from ..ops import quadrant_sums, reshape


def join_sums(graph: Graph) -> Graph:
    """The fused graph with such sums as further results of the kernels before them."""
    wanted: dict[Node, Node] = {}  # by the fused node
    for node in graph.nodes:
        if node.name == "quadrant_sums" and (maker := _maker(node)) is not None:
            wanted.setdefault(maker, node)
    if not wanted:
        return graph
    numbers = {sums: len(maker.attrs["body"].outputs) for maker, sums in wanted.items()}
    made: dict[Node, Node] = {}

    def visit(node: Node, operands: tuple[Node, ...]) -> Node | None:
        if node in wanted:
            made[node] = _with_sums(node, operands, wanted[node])
            return made[node]
        if node in numbers:
            source = _maker(node)
            assert source is not None, "numbers holds what such a node makes"
            maker, index = made[source], numbers[node]
            return Node(OPS["get"], (maker,), {"index": index}, maker.type[index], node.loc)
        return None

    return rebuild(graph, visit)


def _maker(sums: Node) -> Node | None:
    """The kernel whose first result the sums are of, if its contraction has the same quadrants."""
    (x,) = sums.inputs
    while x.name == "reshape":
        x = x.inputs[0]
    if x.name != "get" or x.attrs["index"] or x.inputs[0].name != "fused":
        return None
    kernel = x.inputs[0]
    body = kernel.attrs["body"]
    if kernel.attrs["kind"] != "contract" or any(n.name in ("permute", "pad") for n in body.nodes):
        return None
    geometry = next(n for n in body.nodes if n.name == "contract").attrs
    rows, columns = geometry["m"][-1][0], geometry["n"]
    if sums.attrs["right"] or geometry.get("half", 0) * 2 != columns:
        return None
    rank = len(sums.shape)
    same = body.outputs[0].shape[-1] == columns and sums.shape[-2:] == (rows, columns)
    return kernel if same and sums.attrs["rows"] == rank - 2 else None


def _with_sums(kernel: Node, operands: tuple[Node, ...], sums: Node) -> Node:
    body: Graph = kernel.attrs["body"]
    (first, *_) = body.outputs
    if first.shape != sums.shape:
        first = reshape(first, shape=sums.shape)
    outputs = (*body.outputs, quadrant_sums(first, **sums.attrs))
    attrs = dict(kernel.attrs, body=Graph(body.name, body.inputs, outputs))
    return Node(kernel.op, operands, attrs, tuple(n.type for n in outputs), kernel.loc)
