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
        fixed += len(before)
        body, operands, consts = read_operands(body, operands, attrs["carries"], fixed)
        for step in kernels():
            body = step(body)
        attrs.update(body=body, consts=consts)
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


def read_operands(
    body: Graph, operands: Nodes, carries: int, fixed: int
) -> tuple[Graph, Nodes, int]:
    """The body and the operands of a scan without those that no turn reads, and how many consts
    are left: a weight that is read packed needs no plain copy."""
    read = {x for node in body.nodes for x in node.inputs} | set(body.outputs)
    kept = [i for i, x in enumerate(body.inputs) if i < carries or x in read]
    inputs = [body.inputs[i] for i in kept]
    body = Graph(body.name, inputs, body.outputs, body.output_names)
    return body, tuple(operands[i] for i in kept), sum(carries <= i < fixed for i in kept)


def packed_for_kernels(graph: Graph) -> Callable[[Node], bool]:
    """Views that a contraction or a loop reads are copies in the layout that it wants: worth
    preparing once."""
    nodes = graph.nodes
    read = {x for n in nodes if n.name in CENTERS for x in n.inputs}
    read |= {_memory_of(x) for n in nodes if n.name == "scan" for x in n.inputs}
    return lambda view: view in read


def _memory_of(x: Node) -> Node:
    """The node in whose memory `x` lies."""
    while is_alias(x):
        x = x.inputs[0]
    return x
