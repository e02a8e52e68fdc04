"""How much a kernel has to do: floating-point operations and bytes, whatever algorithm runs.

FLOPs are counted from graph nodes: 2 per multiply-add; a convolution counts as the direct sum with
every tap of every window, also where Winograd or a border saves some, and a product as the plain
sum, also where Strassen's method takes an eighth less; one per element for any other
arithmetic on floats, `exp` and `tanh` included; none for moving, comparing, choosing and integers.
Bytes are the least that must move: what is read of each operand once, each result once.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

from .graph import Graph, Node
from .loops import Buffer, Contract, Kernel, Load, Scatter, roots_of, walk
from .op import Comparison, Creation, Movement
from .pieces import Piece, concat_pieces, piece_body
from .types import TensorType

FREE = frozenset(("input", "get", "where", "cast", "detach", "bounded", "take", "index_put"))
READS_PER_ELEMENT = ("sum", "prod", "amax", "argmax", "cumsum", "fold", "argsort")


def _per_result(depth: Callable[[Node], int]) -> Callable[[Node], int]:
    """Two operations for each result element and term of its sum."""
    return lambda node: 2 * node.type.size * depth(node)


def _attention_flops(*, batch, rows, keys, depth, width, **_) -> int:
    """Both products, and five operations for each score: scale, maximum, exp, sum, share."""
    scores = prod(e for e, *_ in batch) * rows[0] * keys[0]
    return scores * (2 * (depth[0] + width) + 5)


def _attention_grad_flops(*, batch, rows, keys, depth, width, **_) -> int:
    """Scores once more, four products of gradients, and ten operations for each score."""
    scores = prod(e for e, *_ in batch) * rows[0] * keys[0]
    return scores * (2 * (3 * depth[0] + 2 * width) + 10)


RULES: dict[str, Callable[[Node], int]] = {
    "matmul": _per_result(lambda n: n.inputs[0].shape[-1]),
    "conv": _per_result(lambda n: prod(n.inputs[1].shape[1:])),
    "conv_transpose": lambda n: 2 * n.inputs[0].type.size * prod(n.inputs[1].shape[1:]),
    "conv_weight": lambda n: 2 * n.inputs[1].type.size * prod(n.shape[1:]),
    "contract": _per_result(
        lambda n: prod(e for e, *_ in n.attrs["k"]) * (2 if n.attrs.get("paired") else 1)
    ),
    "max_pool": lambda n: n.type.size * prod(n.attrs["kernel"]),
    "argmax_pool": lambda n: n.type.size * prod(n.attrs["kernel"]),
    "depthwise": _per_result(lambda n: prod(n.inputs[1].shape[:-2])),
    "group_conv": _per_result(lambda n: prod(n.inputs[1].shape[:-1])),
    "window_conv": _per_result(lambda n: prod(n.inputs[1].shape[:-1])),
    "window_max": lambda n: n.type.size * prod(n.attrs["kernel"]),
    "winograd": _per_result(lambda n: 9 * n.inputs[0].shape[-1]),
    "winograd_line": _per_result(
        lambda n: 3 * n.attrs["columns"] * n.inputs[1].shape[2]
    ),
    "attention": lambda n: _attention_flops(**n.attrs),
    "attention_grad": lambda n: _attention_grad_flops(**n.attrs),
    "index_add": lambda n: n.inputs[2].type.size,
    "index_reduce": lambda n: n.inputs[2].type.size,
    "fused": lambda n: graph_flops(n.attrs["body"]),
    "call": lambda n: graph_flops(n.attrs["body"]),
    "scan": lambda n: n.attrs["length"] * graph_flops(n.attrs["body"]),
    **dict.fromkeys(READS_PER_ELEMENT, lambda n: n.inputs[0].type.size),
}


def node_flops(node: Node) -> int:
    """Floating-point operations of a node; an op without a rule counts one per result element."""
    types = [x.type for x in (node, *node.inputs) if isinstance(x.type, TensorType)]
    if not any(t.dtype.is_floating_point for t in types) and node.name not in ("call", "scan"):
        if node.name != "fused":
            return 0
    if node.name in RULES:
        return RULES[node.name](node)
    if node.name in FREE or isinstance(node.op, (Comparison, Creation, Movement)):
        return 0
    results = [node.type] if isinstance(node.type, TensorType) else node.type
    return sum(t.size for t in results if t.dtype.is_floating_point)


def graph_flops(graph: Graph) -> int:
    """The sum over all nodes of a graph."""
    return sum(map(node_flops, graph.nodes))


def kernel_flops(node: Node | None, number: int = 0) -> int:
    """FLOPs of call `number` of the kernel calls that compute `node` (None: a copy).

    The calls of a long concat share the work; otherwise the first one does it all, and others fill
    the border around its result.
    """
    if node is None:
        return 0
    pieces = pieces_of(node)
    if not pieces:
        return node_flops(node) if number == 0 else 0
    body, piece = node.attrs["body"], pieces[number]
    part = piece_body(body, piece)
    if part is not body:
        return graph_flops(part)
    length = body.outputs[0].shape[piece.axis]
    return graph_flops(body) * (piece.stop - piece.start) // length


def pieces_of(node: Node) -> list[Piece]:
    """The parts of the result that calls of their own compute; empty where one call does."""
    is_map = node.name == "fused" and node.attrs["kind"] == "map"
    return concat_pieces(node.attrs["body"]) if is_map else []


def traffic(kernel: Kernel) -> tuple[int, ...]:
    """Bytes that one call must read or write of each of the kernel's buffers.

    An operand that is read in part, such as the rows of an embedding, counts with that part; memory
    that a kernel only works in does not count.
    """
    moved = dict.fromkeys((b.slot for b in kernel.buffers), 0)
    for x in walk(_roots(kernel)):
        if isinstance(x, Load):
            moved[x.buffer.slot] += prod(v.extent for v in x.vars) * x.dtype.itemsize
    for buffer, elements in _operands(kernel.extra):
        moved[buffer.slot] += elements * buffer.type.dtype.itemsize
    stored = {s.buffer.slot for s in kernel.stores}
    if stored and not isinstance(kernel.extra, Scatter):
        for s in kernel.stores:
            reach = prod(v.extent for v in kernel.domain if v in s.vars)
            moved[s.buffer.slot] += reach * s.buffer.type.dtype.itemsize
    inputs = len(kernel.buffers) - kernel.outputs
    sizes = []
    for position, b in enumerate(kernel.buffers):
        is_workspace = position >= inputs and stored and b.slot not in stored
        size = min(moved[b.slot] or b.type.nbytes, b.type.nbytes)
        sizes.append(0 if is_workspace else size)
    return tuple(sizes)


def _roots(kernel: Kernel) -> list:
    roots = roots_of(kernel.stores)
    if isinstance(kernel.extra, Scatter):
        roots += [kernel.extra.index, kernel.extra.source]
    return roots


def _operands(extra: Any):
    """(buffer, elements read) of the operands at the center of a kernel."""
    if not isinstance(extra, Contract):
        operands = (getattr(extra, "a", None), getattr(extra, "b", None))
        yield from ((x, x.type.size) for x in operands if isinstance(x, Buffer))
        return
    g = extra.geometry
    shared, terms = (*g["batch"], *g["k"]), 2 if g.get("paired") else 1
    yield extra.a, prod(e for e, s, *_ in (*shared, *g["m"]) if s) * terms
    yield extra.b, prod(e for e, _, s in shared if s) * g["n"] * terms
    yield from ((x, x.type.size) for x in extra.sums)
