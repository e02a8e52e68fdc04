"""Sums of columns join a kernel over the rows of the same memory.

    fused_0 = fused(g, x, r) { mul(g, .. sum(.., axes=(1,))) } : (f32[2048,384],)
    fused_1 = fused(g, x, r) { sum(reshape(..), axes=(1,)) }   : (f32[16,384],)
    ->
    fused_0 = fused(g, x, r, kind="rows") { .. } : (f32[2048,384], f32[16,384])

The gradient of a layer norm's operand goes through rows, those of its weight and bias, and of the
bias before it, are sums of columns of what that kernel reads or writes. One kernel does all: what
it has of a row in registers it adds to the sums of the row's block (lower_rows.py). The sums of the
blocks are added up by a second kernel, or the one that uses them, in a fixed order.

Needs: split_reductions, fuse. Establishes: nothing.
"""

from __future__ import annotations

from ..graph import Graph, Node
from ..lower import NotFusible
from ..lower_rows import is_block_sum, lower_rows
from .groups import MAX_BUFFERS, MAX_NODES
from .merge_kernels import Merging, memory_of, merged_body, stored_of

LARGE = 1 << 16  # bytes that are worth reading once
MOST = 6  # sums of columns in one kernel


def join_columns(graph: Graph) -> Graph:
    """The fused graph with such kernels joined; itself if there are none."""
    kernels = [n for n in graph.nodes if n.name == "fused" and n.attrs["kind"] == "map"]
    sums = {n: size for n in kernels if (size := _summed(n))}
    if not sums:
        return graph
    merging = Merging(graph)
    hosts: dict[int, list[Node]] = {}
    for node in kernels:
        if node not in sums:
            hosts.setdefault(node.type[0].size, []).append(node)
    is_changed = False
    for node, size in sums.items():
        is_changed |= _join_one(merging, node, hosts.get(size, ()))
    return merging.result() if is_changed else graph


def _join_one(merging: Merging, node: Node, hosts) -> bool:
    """Let the kernel of some sums of columns join the host that it has most in common with."""
    mine = merging.bundle(node)
    scored = [(_common(host, node), host) for host in hosts]
    best = sorted((s for s in scored if s[0] >= LARGE), key=lambda s: -s[0])
    for _, host in best:
        other = merging.bundle(host)
        members = [*other.members, node]
        if merging.may_join(other, mine) and _is_possible(members):
            merging.join(other, mine)
            other.kind = "rows"
            return True
    return False


def _summed(node: Node) -> int:
    """Of how many elements a kernel makes sums of blocks of rows, and nothing else; 0 if not."""
    outputs = node.attrs["body"].outputs
    size = outputs[0].inputs[0].type.size if outputs[0].name == "sum" else 0
    wide = all(n.dtype.kind == "f" and n.dtype.itemsize >= 4 for n in outputs)
    return size if wide and all(is_block_sum(n, size) for n in outputs) else 0


def _common(host: Node, node: Node) -> int:
    """Bytes that both read, or that one writes and the other reads."""
    theirs = {stored_of(x) for x in host.inputs}
    mine = {stored_of(x) for x in node.inputs}
    written = {x for x in mine if memory_of(x) is host}
    return sum(x.type.nbytes for x in (mine & theirs) | written)


def _is_possible(members: list[Node]) -> bool:
    operands, body, _ = merged_body(members)
    sums = sum(len(m.type) for m in members[1:])
    if sums > MOST or len(operands) + len(body.outputs) > MAX_BUFFERS:
        return False
    if len(body.nodes) > 2 * MAX_NODES or len({*body.outputs}) < len(body.outputs):
        return False
    try:
        lower_rows(body, "rows")
    except NotFusible:
        return False
    return True


