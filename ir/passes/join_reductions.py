"""Sums over the same axes of the same memory are made by one kernel.

    fused_0 = fused(g) { sum(g) } : (f32[16,64],)            fused_0 = fused(g, x) {
    fused_1 = fused(g, x) { sum(mul(g, x)) } : (f32[16,64],)   sum_0 = sum(g)
                                                     ->      sum_1 = sum(mul(g, x)) }
                                                             : (f32[16,64], f32[16,64])

Neither is computed from the other, so fusion does not find them. What both read is read once: the
gradients of a batch norm's weight and bias, and what its own gradient needs, are one pass.

Needs: fuse. Establishes: nothing.
"""

from __future__ import annotations

from ..graph import Graph, Node
from ..op import Reduction
from .groups import MAX_BUFFERS, MAX_NODES
from .merge_kernels import Bundle, Merging, stored_of

MOST = 4  # sums in one kernel: each holds vectors in registers
LARGE = 1 << 16  # bytes that are worth reading once


def join_reductions(graph: Graph) -> Graph:
    """The fused graph with such kernels joined; itself if there are none."""
    merging = Merging(graph)
    alike: dict[tuple, list[Bundle]] = {}
    is_changed = False
    for node in graph.nodes:
        loops = _loops(node)
        if loops is None:
            continue
        others = alike.setdefault(loops, [])
        mine = merging.bundle(node)
        found = next((b for b in others if _is_better(b, mine) and merging.may_join(b, mine)), None)
        if found is None:
            others.append(mine)
        else:
            merging.join(found, mine)
            is_changed = True
    return merging.result() if is_changed else graph


def _loops(node: Node) -> tuple | None:
    """What the loops of a kernel that only makes one sum run over; None for another kernel."""
    if node.name != "fused" or node.attrs["kind"] != "map" or len(node.type) != 1:
        return None
    (root,) = node.attrs["body"].outputs
    if not isinstance(root.op, Reduction) or root.dtype.itemsize < 4:
        return None
    reductions = [n for n in node.attrs["body"].nodes if isinstance(n.op, Reduction)]
    return (root.inputs[0].shape, root.attrs["axes"], root.dtype) if len(reductions) == 1 else None


def _is_better(a: Bundle, b: Bundle) -> bool:
    """Whether two bundles read something large in common and are not too much for one kernel."""
    if len(a.members) + len(b.members) > MOST:
        return False
    shared = {x for x in _operands(a) & _operands(b) if x.type.nbytes >= LARGE}
    nodes = sum(len(n.attrs["body"].nodes) for n in (*a.members, *b.members))
    buffers = len(_operands(a) | _operands(b)) + len(a.members) + len(b.members)
    return bool(shared) and nodes <= MAX_NODES and buffers <= MAX_BUFFERS


def _operands(bundle: Bundle) -> set[Node]:
    return {stored_of(x) for n in bundle.members for x in n.inputs}
