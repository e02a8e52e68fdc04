"""A kernel over the rows of a matrix that also adds up its columns, block of rows by block.

    for b in blocks, i in rows of a block, c in columns:
      y0[b, i, c] = ...            results over all elements, made of sums of the row maybe
      y1[b, c]   += ...            a first step of the sums of columns: one row of them per block

The body's further results that are `sum(.., axes=(1,))` of [blocks, rows, columns..] are the sums.
The blocks are fixed by shapes, so the sums do not depend on how threads share them.
"""

from __future__ import annotations

from math import prod

from .collapse import merge, merge_reductions, substitute
from .cost import scalar_cost
from .graph import Graph, Node
from .index import Index, Var, linear
from .loops import ArgReduce, Call, Kernel, Load, Reduce, Rows, Store, roots_of, walk
from .lower import Lowering, NotFusible, domain_of, make_buffers, positions

COSTLY = 15  # instructions that are not repeated for an element of a row


def is_block_sum(node: Node, size: int) -> bool:
    """Whether a node is the sums of blocks of rows of something with `size` elements."""
    if node.name != "sum" or node.attrs["axes"] != (1,):
        return False
    (x,) = node.inputs
    return len(x.shape) > 2 and x.type.size == size


def lower_rows(body: Graph, name: str) -> Kernel:
    """The kernel of such a body; NotFusible where its loops are not rows and columns."""
    primary = body.outputs[0]
    sums = [n for n in body.outputs[1:] if is_block_sum(n, primary.type.size)]
    if not sums or len({n.inputs[0].shape for n in sums}) != 1:
        raise NotFusible("no sums of columns, or sums over different rows")
    blocks, rows, *columns = sums[0].inputs[0].shape
    leaves, outs = make_buffers(body)
    domain, idx = domain_of(primary.type.shape)
    lowering = Lowering(leaves, domain)
    whole = linear(idx, primary.type.shape)
    results = Graph(body.name, body.inputs, [n for n in body.outputs if n not in sums])
    places = dict(zip(results.outputs, positions(results, domain, idx), strict=True))
    stores = []
    for out, node in zip(outs, body.outputs, strict=True):
        if node in places:
            offset = linear(places[node], node.type.shape)
            stores.append(Store(out, offset, lowering.at(node, places[node])))
        else:
            stores.append(Store(out, whole, _term(lowering, node.inputs[0], primary, idx)))
    row, column, done = _two_loops(primary.type.shape, domain, tuple(stores), blocks * rows)
    _check(done, row, column)
    b, i = Var("b", blocks), Var("i", rows)
    done = substitute(done, {row: Index.of(b) * rows + Index.of(i)})
    slots = {out.slot for out, n in zip(outs, body.outputs, strict=True) if n not in places}
    place = Index.of(b) * prod(columns) + Index.of(column)
    final = tuple(
        Store(s.buffer, place, s.value) if s.buffer.slot in slots else s for s in done
    )
    buffers = (*leaves.values(), *outs)
    extra = Rows(frozenset(slots))
    return Kernel(name, "rows", buffers, len(outs), (b, i, column), final, extra)


def _term(lowering: Lowering, x: Node, primary: Node, idx):
    """What is added up, at a position of the primary result."""
    if x.name == "reshape" and x.inputs[0].shape == primary.shape:
        return lowering.at(x.inputs[0], idx)
    return lowering.at(x, lowering.k.reshape_index(idx, primary.shape, x.shape))


def _two_loops(shape, domain, stores, rows: int) -> tuple[Var, Var, tuple[Store, ...]]:
    """One loop over the rows, one over the columns, and the stores over these."""
    axes = next((k for k in range(len(shape)) if prod(shape[:k]) == rows), None)
    if axes is None:
        raise NotFusible(f"{list(shape)} has no first axes with {rows} elements")
    outer = [v for v in domain if int(v.name[1:]) < axes]
    inner = [v for v in domain if v not in outer]
    outer, stores = merge(outer, stores)
    inner, stores = merge(inner, stores)
    if len(outer) != 1 or len(inner) != 1:
        raise NotFusible("rows or columns do not lie one behind the other")
    return outer[0], inner[0], merge_reductions(stores)


def _check(stores: tuple[Store, ...], row: Var, column: Var) -> None:
    """NotFusible where a row would not be walked along memory, or much would be repeated."""
    for x in walk(roots_of(stores)):
        if isinstance(x, ArgReduce):
            raise NotFusible("a search in a row")
        if isinstance(x, Reduce):
            cost = sum(scalar_cost(y.name) for y in walk([x.body]) if isinstance(y, Call))
            if column in x.vars or (x.vars and row not in x.vars) or cost >= COSTLY:
                raise NotFusible("a reduction that is no plain one of a row")
        if isinstance(x, Load) and column in x.offset.vars:
            if x.offset.coefficient(column) != 1 or not x.offset.is_affine_in(column):
                raise NotFusible("neighbours in a row that are none in memory")
    for s in stores:
        if column in s.offset.vars and s.offset.coefficient(column) != 1:
            raise NotFusible("results that are no neighbours in memory")
