"""Chooses the layout of every float matmul and convolution: they become `contract` nodes.

before:
    graph f(x: f32[8,32], w: f32[20,32]) {
      permute_0 = permute(w, dims=(1,0))
      matmul_0 = matmul(x, permute_0)
      return matmul_0
    }
after (with vectors of 8 lanes; one panel of 24 columns):
    graph f(x: f32[8,32], w: f32[20,32]) {
      permute_0 = permute(w, dims=(1,0))
      pad_0 = pad(permute_0, low=(0,0), high=(0,4), interior=(0,0), value=0)
      reshape_0 = reshape(pad_0, shape=(32,1,24))
      permute_1 = permute(reshape_0, dims=(1,0,2))
      contract_0 = contract(x, permute_1, batch=(), m=((8,32),), n=20, k=((32,1,24),), panel=24,
        panel_stride=768, a_offset=0, b_offset=0)
      return contract_0
    }

What a contraction is bad at keeps its op, whose own scalar code is then used: integers, empty
tensors, fewer than 4 columns per group, and few rows against a matrix that would have to be copied
first (there the plain dot products read it once). Convolutions are done first and their permutes
sunk, so that a matmul behind them sees in which order its operands are really stored.

Needs: gradients taken, calls inlined. Establishes: float contractions in the backend's form; no
copies of transposed, sliced or broadcast operands but panels. Bodies of loops are left alone: they
go through the pipeline as graphs of their own.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

from nncomp.ir.graph import Graph, Node, build_node, rebuild
from nncomp.ir.ops import cast
from nncomp.ir.passes.hoist import parameter_only
from nncomp.ir.passes.sink_permutes import sink_permutes
from nncomp.ir.types import float32

from ..scalar_types import FLOATS
from ..walks import at, loops, shaped, transposed
from .layout_conv import CONVS, lower_conv
from .layout_product import Product
from .layout_strassen import Choice, in_quadrants
from .layout_window import lower_window
from .layout_winograd import lower_winograd
from .layout_winograd_line import lower_long_kernel
from .layout_winograd_weight import lower_winograd_weight
from .target import Target

FEW = 4  # rows or columns that are too few for a register tile


def lower_contractions(graph: Graph, target: Target, constant: Iterable[str] = ()) -> Graph:
    """`graph` with its float contractions as `contract` nodes for the machine `target`.

    What only depends on the inputs named in `constant` is computed once for many calls.
    """

    known = parameter_only(graph, constant)

    def visit_conv(node: Node, operands: tuple[Node, ...]) -> Node | None:
        if not _is_candidate(node, (*CONVS, "max_pool")):
            return None
        if node.name == "max_pool":
            return lower_window(node, operands)
        winograd = _by_winograd(*_widened(node, operands, known), target)
        if winograd is not None:
            return winograd if winograd.dtype is node.dtype else cast(winograd, dtype=node.dtype)
        if node.name == "conv_weight":
            return lower_conv(node, operands, target)
        return lower_window(node, operands) or lower_conv(node, operands, target)

    graph = sink_permutes(_turned(rebuild(graph, visit_conv)))
    users, results = graph.users(), frozenset(graph.outputs)
    prepared = parameter_only(graph, constant)
    strassen = Choice(graph, constant, prepared)

    def visit_matmul(node: Node, operands: tuple[Node, ...]) -> Node | None:
        if not _is_candidate(node, ("matmul",)):
            return None
        readers = [] if node in results else users[node]
        known = tuple(x in prepared for x in node.inputs)
        return lower_matmul(node, operands, known, readers, target, strassen.rows(node))

    return rebuild(graph, visit_matmul)


def _widened(node: Node, operands: tuple[Node, ...], known: set[Node]) -> tuple:
    """(node, operands, known) with 16-bit operands as float32: their values, and sums rounded once.
    """
    if node.dtype.itemsize != 2:
        return node, operands, known
    wide = tuple(cast(x, dtype=float32) for x in operands)
    fixed = {new for old, new in zip(node.inputs, wide, strict=True) if old in known}
    return build_node(node.op, wide, node.attrs, node.loc), wide, {*known, *fixed}


def _by_winograd(node: Node, operands: tuple[Node, ...], known: set[Node], target: Target):
    if len(node.attrs["stride"]) == 1:
        return lower_long_kernel(node, operands, target, known)
    if node.name == "conv_weight":
        return lower_winograd_weight(node, operands)
    return lower_winograd(node, operands, target, known)


def _turned(graph: Graph) -> Graph:
    """Products that are only read transposed, such as gradients of weights, as b^T @ a^T.

    Before permutes sink: behind elementwise nodes they would no longer be met.
    """
    users, results = graph.users(), frozenset(graph.outputs)

    def visit(node: Node, operands: tuple[Node, ...]) -> Node | None:
        if not _is_candidate(node, ("matmul",)) or node in results:
            return None
        if not all(_is_transpose(u, len(node.shape)) for u in users[node]):
            return None
        a, b = operands
        return _transpose(build_node(node.op, (_transpose(b), _transpose(a)), {}, node.loc))

    return rebuild(graph, visit)


def _is_candidate(node: Node, names) -> bool:
    if node.name not in names or node.dtype.name not in FLOATS:
        return False
    return all(x.type.size for x in (node, *node.inputs))


def lower_matmul(
    node: Node, operands, prepared: tuple[bool, bool], readers: list[Node], target: Target,
    partners: int = 0,
) -> Node | None:  # fmt: skip
    """a @ b, or (b^T @ a^T)^T where that is what is read or the better shape; None to leave it.

    `prepared` tells of each operand whether it is computed once for many calls. With `partners` it
    is computed in quadrants, partners being half as many rows apart.
    """
    a, b = operands
    rows, depth, columns = *a.shape[-2:], b.shape[-1]
    if depth == 1:
        return None  # an outer product has nothing to sum
    product = _product(a, b, prepared[1])
    swapped = _product(_transpose(b), _transpose(a), prepared[0])
    swap = columns < FEW and swapped.copied == 0
    if readers and all(_is_transpose(u, len(node.shape)) for u in readers):
        swap = swap or swapped.copied <= product.copied + node.type.size
    if swap and rows >= FEW and (columns >= FEW or swapped.copied == 0):
        shape = (*node.shape[:-2], columns, rows)
        return _transpose(shaped(swapped.build(target, node.loc), shape))
    if columns < FEW or (product.rows < FEW and product.copied):
        return None
    _cut_rows_for(product, node, readers)
    product.even = partners > 0
    whole = product.build(target, node.loc)
    fast = in_quadrants(whole, partners) if partners else None
    return shaped(fast or whole, node.shape)


def _product(a: Node, b: Node, prepared: bool) -> Product:
    batch, m = loops("b", a.shape[:-2]), loops("m", a.shape[-2:-1])
    n, k = loops("n", b.shape[-1:]), loops("k", a.shape[-1:])
    lead = len(batch)
    return Product(
        a, at(batch, m, k), b, at(batch, k, n), lead=lead, batch=batch, m=m, n=n[0], k=k,
        prepared=prepared,
    )  # fmt: skip


def _cut_rows_for(product: Product, node: Node, readers: list[Node]) -> None:
    """Give the rows the axes that all readers reshape them to: so readers can join the kernel."""
    shapes = {u.shape if u.name == "reshape" else None for u in readers}
    if len(shapes) != 1 or len(product.m) != 1 or product.batch:
        return
    (shape,) = shapes
    if shape is None or shape[-1:] != node.shape[-1:] or len(shape) < 2:
        return
    axes = [n for n in shape[:-1] if n != 1]
    for i in range(1, len(axes)):
        product.cut(product.m[-1], prod(axes[i:]))


def _is_transpose(user: Node, rank: int) -> bool:
    return user.name == "permute" and user.attrs["dims"] == (*range(rank - 2), rank - 1, rank - 2)


def _transpose(x: Node) -> Node:
    rank = len(x.shape)
    return transposed(x, (*range(rank - 2), rank - 1, rank - 2))
