"""The bodies of loops (`scan`): lowered like any graph, their constant part before the loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from nncomp.ir.graph import Graph, Node, inline, rebuild
from nncomp.ir.lower import CENTERS
from nncomp.ir.passes import split_prepare
from nncomp.ir.passes.order import is_alias

Pass = Callable[[Graph], Graph]
Nodes = tuple[Node, ...]


def lower_bodies(
    graph: Graph,
    pipeline: Callable[[tuple[str, ...]], Sequence[Pass]],
    kernels: Callable[[], Sequence[Pass]],
    opened: Callable[[Node, Nodes], tuple[Graph, Nodes]] | None = None,
) -> Graph:
    """Run all passes on the bodies of scans; what does not change from turn to turn (packed
    recurrent weights) is computed before the loop.

    `pipeline` gives the passes for a graph with these constant inputs, `kernels` those from nodes
    to kernels; `opened` may give another body and operands to begin with.
    """

    def visit(node: Node, operands: Nodes) -> Node | None:
        if node.name != "scan":
            return None
        attrs = dict(node.attrs)
        body = attrs["body"]
        if opened is not None:
            body, operands = opened(node, operands)
        fixed = attrs["carries"] + attrs["consts"]
        for step in pipeline(tuple(body.input_names[attrs["carries"] : fixed])):
            body = step(body)
        body, before = loop_invariants(body, attrs["carries"], fixed, operands)
        operands = (*operands[:fixed], *before, *operands[fixed:])
        for step in kernels():
            body = step(body)
        attrs.update(body=body, consts=attrs["consts"] + len(before))
        return Node(node.op, operands, attrs, node.type, node.loc)

    return rebuild(graph, visit)


def loop_invariants(
    body: Graph, carries: int, fixed: int, operands: Sequence[Node]
) -> tuple[Graph, Sequence[Node]]:
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
