"""The CPU's list of passes: the common ones, then layout, then kernels."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from nncomp.ir.graph import Graph, Node, rebuild
from nncomp.ir.passes import PIPELINE, cse, simplify
from nncomp.ir.passes.fuse import fuse
from nncomp.ir.passes.sink_permutes import sink_permutes

from .layout import lower_contractions
from .target import Target

Pass = Callable[[Graph], Graph]


@lru_cache(maxsize=8)
def cpu_pipeline(target: Target) -> list[Pass]:
    """Graph passes before the split into what is prepared once and what runs per call."""

    def choose_layout(graph: Graph) -> Graph:
        return lower_contractions(graph, target)

    def scan_bodies(graph: Graph) -> Graph:
        return lower_bodies(graph, target)

    return [*PIPELINE, scan_bodies, choose_layout, sink_permutes, simplify, cse]


def kernel_pipeline() -> list[Pass]:
    """From single nodes to kernels."""
    return [fuse]


def lower_bodies(graph: Graph, target: Target) -> Graph:
    """Run the whole pipeline on the bodies of scans."""

    def visit(node: Node, operands):
        if node.name != "scan":
            return None
        body = node.attrs["body"]
        for step in (*cpu_pipeline(target), *kernel_pipeline()):
            body = step(body)
        return Node(node.op, operands, {**node.attrs, "body": body}, node.type, node.loc)

    return rebuild(graph, visit)
