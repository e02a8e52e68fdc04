"""The first and the last turn of a loop, which may have less to do than the others.

A carry that begins as zeros makes products with it zero in the first turn: its kernel has no sums
to compute there. What only goes into carries that nobody reads behind the loop is not computed in
the last turn, as the product for the gradient of a recurrent layer's first state.

A nan in a weight shows from the second turn on, and so does an inf: as what products with numbers
other than zero give.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ..frames import is_frame
from ..graph import Graph, Node, build_node, rebuild
from ..op import OPS
from ..panels import panels_of
from ..program import LoopStep, Place, Step, overlap
from .groups import center_depth
from .order import is_alias

WORTH = 1 << 18  # multiplications of a product that is worth a kernel without it


def is_zero(node: Node) -> bool:
    """Whether a node of a fused graph holds nothing but zeros."""
    while is_alias(node):
        node = node.inputs[0]
    if node.name == "get" and node.inputs[0].name == "fused":
        node = node.inputs[0].attrs["body"].outputs[node.attrs["index"]]
    while node.name in ("reshape", "expand", "slice", "permute"):
        node = node.inputs[0]
    return node.name == "full" and not node.attrs["value"]


def without_zero_products(body: Graph, zeros: Collection[Node]) -> Graph:
    """The body of a loop, of kernels, for a turn in which the inputs `zeros` are zero."""

    def visit(node: Node, operands: tuple[Node, ...]) -> Node | None:
        if node.name != "fused" or node.attrs["kind"] != "contract":
            return None
        inner = node.attrs["body"]
        center = next(x for x in inner.nodes if x.name == "contract")
        left, root = center.inputs[0], inner.outputs[0]
        if left not in inner.inputs or _memory_of(operands[inner.inputs.index(left)]) not in zeros:
            return None
        if center_depth(center) * center.type.size < WORTH or len(center.inputs) > 2:
            return None
        if is_frame(root) or panels_of(root) is not None or root is center:
            return None
        inner = _with_zero(inner, center)
        operands = tuple(
            x
            for x, old in zip(operands, node.attrs["body"].inputs, strict=True)
            if old in inner.inputs
        )
        return Node(node.op, operands, {"body": inner, "kind": "map"}, node.type, node.loc)

    return rebuild(body, visit)


def _memory_of(x: Node) -> Node:
    while is_alias(x):
        x = x.inputs[0]
    return x


def _with_zero(body: Graph, center: Node) -> Graph:
    """The body with zeros instead of the product, without the inputs that nothing reads then."""
    attrs = {"shape": center.shape, "value": 0.0, "dtype": center.dtype}
    zero = build_node(OPS["full"], (), attrs, center.loc)
    new = rebuild(body, lambda node, _: zero if node is center else None)
    read = {x for node in new.nodes for x in node.inputs} | set(new.outputs)
    return Graph(new.name, [x for x in new.inputs if x in read], new.outputs)


def needed_steps(
    steps: Sequence[Step | LoopStep], carries: Collection[int]
) -> list[Step | LoopStep]:
    """The steps of a turn after which, of the carries, only those numbered `carries` are read."""
    kept: list[Step | LoopStep] = []
    read: list[tuple[Place, int]] = []
    for step in reversed(steps):
        is_read = any(overlap(w, r) for w in step.writes for r in read)
        if is_read or isinstance(step, LoopStep) or any(_is_kept(w, carries) for w in step.writes):
            kept.append(step)
            read += step.reads
    return kept[::-1]


def _is_kept(written: tuple[Place, int], carries: Collection[int]) -> bool:
    place, _ = written
    return place.base == "result" or (place.base == "later" and place.index in carries)
