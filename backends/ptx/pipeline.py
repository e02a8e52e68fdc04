"""The list of passes for GPUs: the common ones, products, then kernels."""

from __future__ import annotations

from functools import lru_cache, partial

from nncomp.ir.graph import Graph
from nncomp.ir.passes import PIPELINE, cse, simplify
from nncomp.ir.passes.fuse import fuse
from nncomp.ir.passes.run import announce_passes
from nncomp.ir.passes.sink_permutes import sink_permutes
from nncomp.ir.passes.split_cumsum import split_cumsum

from ..loop_bodies import Pass, lower_bodies
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
        pipeline = partial(ptx_pipeline, target)
        return lower_bodies(graph, pipeline, kernel_pipeline, transposes_inside)

    def products(graph: Graph) -> Graph:
        return lower_products(graph, target)

    return [*PIPELINE, scan_bodies, products, sink_permutes, simplify, cse]


def kernel_pipeline() -> list[Pass]:
    """From single nodes to kernels."""
    return [split_cumsum, split_for_blocks, cut_gates, fuse_products]


def fuse_products(graph: Graph) -> Graph:
    """Fusion that gives every product a kernel of its own, with its epilogue."""
    return fuse(graph, alone=PRODUCTS)
