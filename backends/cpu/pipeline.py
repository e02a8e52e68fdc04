"""The CPU's list of passes: the common ones, then layout, then kernels."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from nncomp.ir.graph import Graph, Node, inline, rebuild
from nncomp.ir.lower import CENTERS
from nncomp.ir.passes import PIPELINE, cse, simplify, split_prepare
from nncomp.ir.passes.fuse import fuse
from nncomp.ir.passes.join_sums import join_sums
from nncomp.ir.passes.order import is_alias
from nncomp.ir.passes.plan import plan_program
from nncomp.ir.passes.recompute import fit_memory
from nncomp.ir.passes.save_less import save_less
from nncomp.ir.passes.sink_permutes import sink_permutes
from nncomp.ir.passes.split_cumsum import split_cumsum
from nncomp.ir.passes.split_reductions import split_reductions

from .layout import lower_contractions
from .layout_attention import fuse_attention
from .target import Target

Pass = Callable[[Graph], Graph]


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
        return lower_bodies(graph, target)

    return [*PIPELINE, scan_bodies, attention, choose_layout, sink_permutes, simplify, cse]


def kernel_pipeline() -> list[Pass]:
    """From single nodes to kernels."""

    def fuse_joined(graph: Graph) -> Graph:
        return join_sums(fuse(graph))

    return [save_less, split_cumsum, split_reductions, fuse_joined]


def within(limit: int, passes: list[Pass]) -> list[Pass]:
    """The kernel pipeline for a program whose arena has at most `limit` bytes (0: any number)."""
    if not limit:
        return passes
    *others, last = passes

    def recompute(graph: Graph) -> Graph:
        return fit_memory(graph, limit, lambda g: plan_program(last(g)).arena)

    return [*others, recompute, last]


def lower_bodies(graph: Graph, target: Target) -> Graph:
    """Run the whole pipeline on the bodies of scans; what does not change from turn to turn
    (packed recurrent weights) is computed before the loop."""

    def visit(node: Node, operands: tuple[Node, ...]) -> Node | None:
        if node.name != "scan":
            return None
        body, attrs = node.attrs["body"], dict(node.attrs)
        fixed = attrs["carries"] + attrs["consts"]
        for step in cpu_pipeline(target, tuple(body.input_names[attrs["carries"] : fixed])):
            body = step(body)
        body, before = loop_invariants(body, attrs["carries"], fixed, operands)
        operands = (*operands[:fixed], *before, *operands[fixed:])
        for step in kernel_pipeline():
            body = step(body)
        attrs.update(body=body, consts=attrs["consts"] + len(before))
        return Node(node.op, operands, attrs, node.type, node.loc)

    return rebuild(graph, visit)


def loop_invariants(body: Graph, carries: int, fixed: int, operands):
    """The body with what depends on its consts alone as further consts, and nodes for those."""
    names = body.input_names[carries:fixed]
    prepare, main = split_prepare(body, names, packed_for_kernels(body))
    if not prepare.outputs:
        return body, ()
    by_name = dict(zip(names, operands[carries:fixed], strict=True))
    before = inline(prepare, [by_name[n] for n in prepare.input_names])
    extra = main.inputs[len(body.inputs) :]
    inputs = (*body.inputs[:fixed], *extra, *body.inputs[fixed:])
    return Graph(body.name, inputs, main.outputs, main.output_names), before


def packed_for_kernels(graph: Graph) -> Callable[[Node], bool]:
    """Views that a contraction or a loop reads are copies in the layout that it wants: worth
    preparing once."""
    nodes = graph.nodes
    read = {x for n in nodes if n.name in CENTERS for x in n.inputs}
    read |= {x for n in nodes if n.name == "scan" for x in n.inputs if not is_alias(x)}
    return lambda view: view in read
