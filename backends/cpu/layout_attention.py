"""Which attention becomes one node on the CPU: that for which there is a plan."""

from __future__ import annotations

from typing import Any

from nncomp.ir.graph import Graph

from ..attention import fuse_attention_where
from .attention_plan import make_attention_plan, make_gradient_plan
from .target import Target


def fuse_attention(graph: Graph, target: Target) -> Graph:
    """`graph` with an `attention` node for every softmax(scores + mask) @ values, and nodes for
    their gradients."""

    def fits(attrs: dict[str, Any]) -> bool:
        return make_attention_plan(attrs, target).fits

    def has_plan(attrs: dict[str, Any]) -> bool:
        return make_gradient_plan(attrs, target).fits

    return fuse_attention_where(graph, fits, has_plan)
