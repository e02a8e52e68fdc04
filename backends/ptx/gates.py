"""Products with few rows whose columns are read in parts, as in a recurrent cell: one kernel.

before:
    graph f(h: f32[1,64], w: f32[64,128], x: f32[1,128]) {
      matmul_0 = matmul(h, w)
      add_0 = add(matmul_0, x)
      slice_0 = slice(add_0, start=(0,0), stop=(1,64), step=(1,1))
      slice_1 = slice(add_0, start=(0,64), stop=(1,128), step=(1,1))
      sigmoid_0 = sigmoid(slice_0)
      mul_0 = mul(sigmoid_0, slice_1)
      return mul_0
    }
after:
    each slice is add(sum(mul(h, columns of w)), columns of x): sums that fusion joins in the kernel
    of mul_0, where a group of threads computes all of them for one element of the result

So a turn of a loop over an LSTM's cell is one launch. A second pass keeps weights that are read
transposed as they lie, since neighbours in memory are then the terms of one sum.

Needs: simplify has run (it would join the slices). Establishes: nothing.
"""

from __future__ import annotations

from typing import NamedTuple

from nncomp.ir.graph import Graph, Node, build_node, inline, input_node, rebuild
from nncomp.ir.op import Elementwise
from nncomp.ir.ops import expand, mul, permute, reshape, slice
from nncomp.ir.ops import sum as sum_

ROWS = 4  # of a product that is cut: more rows are worth a kernel that reuses the weights


class Chain(NamedTuple):
    """A product and the elementwise nodes on top of it; `turns` says by which operand each goes on.
    """

    nodes: tuple[Node, ...]
    turns: tuple[int, ...]


def cut_gates(graph: Graph) -> Graph:
    """The graph with few-row products that are read in slices as sums for each slice."""
    users, results = graph.users(), frozenset(graph.outputs)
    chains: dict[Node, Chain] = {}
    for node in graph.nodes:
        chain = _chain_of(node, users, results)
        if chain is not None:
            chains.update((s, chain) for s in users[chain.nodes[-1]])
    if not chains:
        return graph

    def visit(node: Node, operands: tuple[Node, ...]) -> Node | None:
        chain = chains.get(node)
        return None if chain is None else _cut(operands[0], chain, len(chain.turns), node)

    return rebuild(graph, visit)


def _chain_of(node: Node, users, results) -> Chain | None:
    """The chain on top of a product, if slices of its columns are all that is read of it."""
    if node.name != "matmul" or node.dtype.kind != "f" or len(node.shape) != 2:
        return None
    if node.shape[0] > ROWS or any(len(x.shape) != 2 for x in node.inputs) or node in results:
        return None
    nodes, turns = [node], []
    while len(users[nodes[-1]]) == 1:
        (user,) = users[nodes[-1]]
        same = isinstance(user.op, Elementwise) and user.shape == node.shape
        if not same or user.dtype is not node.dtype or user in results:
            break
        if user.inputs.count(nodes[-1]) != 1:
            return None
        turns.append(user.inputs.index(nodes[-1]))
        nodes.append(user)
    readers = users[nodes[-1]]
    if len(readers) < 2 or not all(_is_columns(u) for u in readers):
        return None
    return Chain(tuple(nodes), tuple(turns))


def _is_columns(node: Node) -> bool:
    """Whether a node is some neighbouring columns of its operand."""
    if node.name != "slice" or any(s != 1 for s in node.attrs["step"]):
        return False
    (x,) = node.inputs
    return node.attrs["start"][0] == 0 and node.attrs["stop"][0] == x.shape[0]


def _cut(node: Node, chain: Chain, depth: int, columns: Node) -> Node:
    """The columns that the slice `columns` takes of `node`, element `depth` of the chain."""
    if depth == 0:
        a, b = node.inputs
        return _dots(a, b, columns)
    turn = chain.turns[depth - 1]
    operands = tuple(
        _cut(x, chain, depth - 1, columns) if i == turn else _like(columns, x)
        for i, x in enumerate(node.inputs)
    )
    return build_node(node.op, operands, node.attrs, node.loc)


def _like(columns: Node, x: Node) -> Node:
    return slice(x, **columns.attrs)


def _dots(a: Node, b: Node, columns: Node) -> Node:
    """Some columns of a @ b as sums of products, in float32 at least."""
    (rows, depth), first, last = a.shape, columns.attrs["start"][1], columns.attrs["stop"][1]
    part = slice(b, start=(0, first), stop=(depth, last), step=(1, 1))
    shape = (rows, last - first, depth)
    left = expand(reshape(a, shape=(rows, 1, depth)), shape=shape)
    right = reshape(permute(part, dims=(1, 0)), shape=(1, last - first, depth))
    return sum_(mul(left, expand(right, shape=shape)), axes=(2,))


# -- transposed weights of loops -------------------------------------------------------------------


def transposes_inside(node: Node, operands: tuple[Node, ...]) -> tuple[Graph, tuple[Node, ...]]:
    """Body and operands of a scan, with constants that are transposes transposed in the body."""
    body, attrs = node.attrs["body"], node.attrs
    constants = range(attrs["carries"], attrs["carries"] + attrs["consts"])
    moved = {i: operands[i] for i in constants if _is_transpose(operands[i])}
    if not moved:
        return body, operands
    inputs, given = [], []
    for i, old in enumerate(body.inputs):
        type = moved[i].inputs[0].type if i in moved else old.type
        new = input_node(old.attrs["name"], type, old.loc)
        inputs.append(new)
        given.append(permute(new, dims=moved[i].attrs["dims"]) if i in moved else new)
    outputs = inline(body, given)
    changed = tuple(moved[i].inputs[0] if i in moved else x for i, x in enumerate(operands))
    return Graph(body.name, inputs, outputs, body.output_names), changed


def _is_transpose(x: Node) -> bool:
    return x.name == "permute" and x.attrs["dims"] == (1, 0)
