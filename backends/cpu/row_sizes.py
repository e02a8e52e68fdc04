"""Which tensors have rows of like size, whatever the data: those behind a normalization.

Strassen's method adds rows to each other, so the rounding errors of one grow with the size of the
other. That is harmless where a LayerNorm, an RMSNorm or a softmax has made rows alike and only
such operations follow as keep them so. Found on the graph alone, from the inputs on:

    x / sqrt(mean(x**2)), x / sum(x)                alike: a row-wise sum over the last axis
    alike @ parameter, alike + parameter            alike
    alike + alike, alike * alike, tanh(alike), ...  alike
    attention(q, k, v)                              as v: it takes means of its rows
    anything else that data decides                 not alike: embeddings, masks, exp, division
"""

from __future__ import annotations

from collections.abc import Iterable

from nncomp.ir.graph import Graph, Node
from nncomp.ir.op import Creation
from nncomp.ir.passes.hoist import parameter_only

BOUNDED = frozenset(
    "abs add cast cos detach erf le lt maximum minimum mul neg sigmoid sin sub tanh where".split()
)
VIEWS = frozenset(("concat", "expand", "reshape", "slice"))
THROUGH = frozenset(("reshape", "expand", "detach", "cast"))


def alike_rows(graph: Graph, constant: Iterable[str]) -> set[Node]:
    """The nodes whose rows along the last axis are of like size for any values of the inputs.

    Those named in `constant` are the parameters.
    """
    fixed = parameter_only(graph, constant)
    for node in graph.nodes:
        if fixed.issuperset(node.inputs):  # constants too
            fixed.add(node)
    alike: set[Node] = set()
    for node in graph.nodes:
        if node not in fixed and (_keeps(node, fixed, alike) or _normalizes(node)):
            alike.add(node)
    return alike


def _keeps(node: Node, fixed: set[Node], alike: set[Node]) -> bool:
    """Whether rows that were alike still are."""
    name, inputs = node.name, node.inputs
    if name == "matmul":
        return inputs[0] in alike and inputs[1] in fixed
    if name == "attention":
        return inputs[2] in alike
    if name == "permute":
        rank = len(node.shape)
        return inputs[0] in alike and node.attrs["dims"][-1] == rank - 1
    if name not in BOUNDED and name not in VIEWS:
        return False
    return any(x in alike for x in inputs) and all(x in alike or x in fixed for x in inputs)


def _normalizes(node: Node) -> bool:
    """x / s or x * (1 / s) where s is a sum of x's row, or the root of one of its squares."""
    if node.name not in ("mul", "div"):
        return False
    pairs = [node.inputs, node.inputs[::-1]] if node.name == "mul" else [node.inputs]
    return any(_measures(scale, x, node.name == "mul") for x, scale in pairs)


def _measures(scale: Node, x: Node, inverse: bool) -> bool:
    """Whether `scale` is the size of each row of x (if `inverse`: one over it)."""
    scale = _source(scale)
    if inverse:
        if scale.name != "div" or not _is_constant(scale.inputs[0]):
            return False
        scale = _source(scale.inputs[1])
    squared = scale.name == "sqrt"
    total = _source(scale.inputs[0]) if squared else scale
    while total.name in ("add", "mul", "div", "maximum") and _is_constant(total.inputs[1]):
        total = _source(total.inputs[0])  # a mean, with something against division by zero
    if total.name != "sum" or len(total.inputs[0].shape) - 1 not in total.attrs["axes"]:
        return False
    (term,) = total.inputs
    if squared:
        return term.name == "mul" and all(_same(f, x) for f in term.inputs)
    return term.name == "exp" and _same(term, x)


def _source(node: Node) -> Node:
    """What a node is a broadcast or reshaped copy of."""
    while node.name in THROUGH:
        node = node.inputs[0]
    return node


def _same(a: Node, b: Node) -> bool:
    """Whether two nodes have the same rows."""
    return _source(a) is _source(b)


def _is_constant(node: Node) -> bool:
    return isinstance(_source(node).op, Creation)
