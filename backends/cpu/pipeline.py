"""The CPU's list of passes: the common ones, then layout, then kernels."""

from __future__ import annotations

from functools import lru_cache, partial

from nncomp.ir.graph import Graph
from nncomp.ir.passes import PIPELINE, cse, share_sums, simplify
from nncomp.ir.passes.factor_gradients import factor_gradients
from nncomp.ir.passes.fuse import fuse
from nncomp.ir.passes.join_columns import join_columns
from nncomp.ir.passes.join_reductions import join_reductions
from nncomp.ir.passes.join_sums import join_sums
from nncomp.ir.passes.plan import plan_program
from nncomp.ir.passes.recompute import fit_memory
from nncomp.ir.passes.save_less import save_less
from nncomp.ir.passes.shift_histories import shift_histories
from nncomp.ir.passes.sink_permutes import sink_permutes
from nncomp.ir.passes.split_cumsum import split_cumsum
from nncomp.ir.passes.split_reductions import split_reductions
from nncomp.ir.passes.take_in_order import take_in_order

from ..loop_bodies import Pass, lower_bodies
from .layout import lower_contractions
from .layout_attention import fuse_attention
from .layout_panels import keep_panels
from .target import Target


@lru_cache(maxsize=64)
def cpu_pipeline(target: Target, constant: tuple[str, ...] = ()) -> list[Pass]:
    """Graph passes before the split into what is prepared once and what runs per call.

    `constant` names the inputs that stay the same over many calls.
    """

    def choose_layout(graph: Graph) -> Graph:
        return lower_contractions(graph, target, constant)

    def attention(graph: Graph) -> Graph:
        return fuse_attention(graph, target)

    def scan_bodies(graph: Graph) -> Graph:
        return lower_bodies(graph, partial(cpu_pipeline, target), kernel_pipeline)

    return [
        *PIPELINE,
        take_in_order,
        scan_bodies,
        shift_histories,
        attention,
        choose_layout,
        sink_permutes,
        simplify,
        cse,
        keep_panels,
    ]


def kernel_pipeline() -> list[Pass]:
    """From single nodes to kernels."""
    return [
        share_sums,
        factor_gradients,
        save_less,
        split_cumsum,
        split_reductions,
        fuse,
        join_reductions,
        join_columns,
        join_sums,
    ]


def within(limit: int, passes: list[Pass]) -> list[Pass]:
    """The kernel pipeline for a program whose arena has at most `limit` bytes (0: any number)."""
    if not limit:
        return passes
    begin = passes.index(fuse)

    def arena(graph: Graph) -> int:
        for step in passes[begin:]:
            graph = step(graph)
        return plan_program(graph).arena

    def recompute(graph: Graph) -> Graph:
        return fit_memory(graph, limit, arena)

    return [*passes[:begin], recompute, *passes[begin:]]
