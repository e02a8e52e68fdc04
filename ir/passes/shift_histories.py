"""Products with a carry's history become products with the results that it is made of.

before (forwards, 6 turns):
    H = scan(zeros, ..)[3]: the state before each turn         : f32[6,4,32]
    Y = scan(zeros, ..)[2]: the state after each turn          : f32[6,4,32]
    dw = matmul(permute(reshape(H, (24,32)), (1,0)), reshape(G, (24,128)))
after:
    dw = matmul(permute(reshape(Y[0:5], (20,32)), (1,0)), reshape(G[1:6], (20,128)))

H is Y one turn later, with zeros in the first turn. So the gradient of a recurrent weight has one
turn less to add up, and H need not be kept: results of loops that nobody reads are left out.

Needs: loops merged (cse). Establishes: every result of a loop is read.
"""

from __future__ import annotations

from typing import NamedTuple

from ..graph import Graph, Node, build_node, rebuild
from ..op import OPS
from ..ops import matmul, permute, reshape, slice


class _History(NamedTuple):
    """Y, and the turns of it and of what is multiplied with the carry's history."""

    after: Node
    turns: tuple[int, int]
    others: tuple[int, int]


def shift_histories(graph: Graph) -> Graph:
    """`graph` without products with zeros that a carry begins with, and without unread results."""
    return _without_unread(rebuild(graph, _visit))


def _visit(node: Node, operands: tuple[Node, ...]) -> Node | None:
    if node.name != "matmul" or len(node.shape) != 2:
        return None
    a, b = operands
    if a.name != "permute" or a.attrs["dims"] != (1, 0):
        return None
    left, right = a.inputs[0], b
    if left.name != "reshape" or right.name != "reshape":
        return None
    left, right = left.inputs[0], right.inputs[0]
    if len(left.shape) != 3 or len(right.shape) != 3 or left.shape[:2] != right.shape[:2]:
        return None
    if (found := _history_of(left)) is not None:
        left, right = _part(found.after, found.turns), _part(right, found.others)
    elif (found := _history_of(right)) is not None:
        left, right = _part(left, found.others), _part(found.after, found.turns)
    else:
        return None
    return matmul(permute(_matrix(left), dims=(1, 0)), _matrix(right))


def _history_of(x: Node) -> _History | None:
    """What `x` is made of, if it is the history of a carry that begins with zeros."""
    if x.name != "get" or x.inputs[0].name != "scan" or x.shape[0] < 2:
        return None
    scan, number = x.inputs[0], x.attrs["index"]
    body, carries = scan.attrs["body"], scan.attrs["carries"]
    before = body.outputs[number]
    if number < carries or before not in body.inputs[:carries]:
        return None
    carry = body.inputs.index(before)
    start = scan.inputs[carry]
    if start.name != "full" or start.attrs["value"]:
        return None
    same = [j for j in range(carries, len(body.outputs)) if body.outputs[j] is body.outputs[carry]]
    if not same:
        return None
    after = build_node(OPS["get"], (scan,), {"index": same[0]}, x.loc)
    length = x.shape[0]
    early, late = (0, length - 1), (1, length)
    return _History(after, late, early) if scan.attrs["reverse"] else _History(after, early, late)


def _part(x: Node, turns: tuple[int, int]) -> Node:
    start, stop = (turns[0], 0, 0), (turns[1], *x.shape[1:])
    return slice(x, start=start, stop=stop, step=(1, 1, 1))


def _matrix(x: Node) -> Node:
    return reshape(x, shape=(x.shape[0] * x.shape[1], x.shape[2]))


def _without_unread(graph: Graph) -> Graph:
    """Scans without stacked results that nobody reads."""
    read: dict[Node, set[int]] = {}
    for node in (*graph.nodes, *graph.outputs):
        if node.name == "get" and node.inputs[0].name == "scan":
            read.setdefault(node.inputs[0], set()).add(node.attrs["index"])
    numbers: dict[Node, list[int]] = {}
    for scan, used in read.items():
        count, carries = len(scan.type), scan.attrs["carries"]
        kept = [i for i in range(count) if i < carries or i in used]
        if len(kept) < count:
            numbers[scan] = kept
    if not numbers:
        return graph

    def visit(node: Node, operands: tuple[Node, ...]) -> Node | None:
        if node in numbers:
            body, types = node.attrs["body"], node.type
            outputs = [body.outputs[i] for i in numbers[node]]
            attrs = {**node.attrs, "body": Graph(body.name, body.inputs, outputs)}
            return Node(node.op, operands, attrs, tuple(types[i] for i in numbers[node]), node.loc)
        if node.name == "get" and node.inputs[0] in numbers:
            index = numbers[node.inputs[0]].index(node.attrs["index"])
            return Node(node.op, operands, {"index": index}, node.type, node.loc)
        return None

    return rebuild(graph, visit)
