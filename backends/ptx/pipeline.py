"""The list of passes for GPUs: the common ones, products, then kernels."""

from __future__ import annotations

from functools import lru_cache

from nncomp.ir.graph import Graph, Node, rebuild
from nncomp.ir.passes import PIPELINE, cse, simplify
from nncomp.ir.passes.fuse import fuse
from nncomp.ir.passes.run import announce_passes
from nncomp.ir.passes.sink_permutes import sink_permutes
from nncomp.ir.passes.split_cumsum import split_cumsum

from ..cpu.pipeline import Pass, loop_invariants
from .gates import cut_gates, transposes_inside
from .gemm import PRODUCTS, lower_products
from .split import split_for_blocks
from .target import Target

announce_passes(
    "scan_bodies", "products", "sink_permutes", "split_cumsum", "split_for_blocks", "cut_gates",
    "fuse_products",
)


@lru_cache(maxsize=64)
def ptx_pipeline(target: Target, constant: tuple[str, ...] = ()) -> list[Pass]:
    """Graph passes before the split into what is prepared once and what runs per call.

    `constant` names the inputs that stay the same over many calls.
    """

    def scan_bodies(graph: Graph) -> Graph:
        return lower_bodies(graph, target)

    def products(graph: Graph) -> Graph:
        return lower_products(graph, target)

    return [*PIPELINE, scan_bodies, products, sink_permutes, simplify, cse]


def kernel_pipeline() -> list[Pass]:
    """From single nodes to kernels."""
    return [split_cumsum, split_for_blocks, cut_gates, fuse_products]


def fuse_products(graph: Graph) -> Graph:
    """Fusion that gives every product a kernel of its own, with its epilogue."""
    return fuse(graph, alone=PRODUCTS)


def lower_bodies(graph: Graph, target: Target) -> Graph:
    """Run the whole pipeline on the bodies of scans; what does not change from turn to turn is
    computed before the loop."""

    def visit(node: Node, operands: tuple[Node, ...]) -> Node | None:
        if node.name != "scan":
            return None
        attrs = dict(node.attrs)
        body, operands = transposes_inside(node, operands)
        fixed = attrs["carries"] + attrs["consts"]
        for step in ptx_pipeline(target, tuple(body.input_names[attrs["carries"] : fixed])):
            body = step(body)
        body, before = loop_invariants(body, attrs["carries"], fixed, operands)
        operands = (*operands[:fixed], *before, *operands[fixed:])
        for step in kernel_pipeline():
            body = step(body)
        attrs.update(body=body, consts=attrs["consts"] + len(before))
        return Node(node.op, operands, attrs, node.type, node.loc)

    return rebuild(graph, visit)
