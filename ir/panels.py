"""A matrix kept in panels of columns: the kernel of a product writes its results right there.

    p = permute(reshape(x, (rows, n / w, w)), (1, 0, 2))   ->   p[j // w, i, j % w] = x[i, j]

Products read such a tensor by rows and by columns without jumps. What is in it is computed over the
loops of the matrix; only the place of the store is another one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from math import prod

from .collapse import substitute
from .graph import Graph, Node
from .index import Index, Var, linear
from .loops import Kernel, Store
from .lower import LOWERINGS, NotFusible, domain_of, positions
from .op import Elementwise, Movement, Reduction

CHAIN = 64  # nodes between a product and its panels that are looked at


def panels_of(node: Node) -> Node | None:
    """The matrix [.., n] that `node` holds as panels [n / w, rows, w]; None if it is none."""
    if node.name != "permute" or node.attrs["dims"] != (1, 0, 2):
        return None
    (cut,) = node.inputs
    if cut.name != "reshape":
        return None
    (matrix,) = cut.inputs
    rows, panels, width = cut.shape
    if min(rows, panels, width) < 2 or len(matrix.shape) < 2:
        return None
    same = matrix.shape[-1] == panels * width and prod(matrix.shape[:-1]) == rows
    return matrix if same else None


def written_in_panels(node: Node, users: Mapping[Node, Sequence[Node]]) -> Node | None:
    """The matrix whose panels `node` is, if a product makes it and no one else reads it."""
    matrix = panels_of(node)
    if matrix is None or users[matrix] != [node.inputs[0]] or users[node.inputs[0]] != [node]:
        return None
    return matrix if comes_from_product(matrix) or comes_from_rows(matrix) else None


def comes_from_rows(matrix: Node) -> bool:
    """Whether `matrix` is a function of rows of its own length and of sums over them, as the
    result of a layer norm is."""
    seen = {matrix: None}  # the nearest come first; what is far is stored somewhere between
    found, axes = False, (len(matrix.shape) - 1,)
    for node in islice(_growing(seen), CHAIN):
        if isinstance(node.op, Reduction):
            if node.inputs[0].shape != matrix.shape or node.attrs["axes"] != axes:
                return False
            found = True
        elif isinstance(node.op, (Elementwise, Movement)):
            seen.update(dict.fromkeys(node.inputs))
    return found and isinstance(matrix.op, Elementwise)


def _growing(nodes: dict[Node, None]) -> Iterator[Node]:
    """The keys in order, also those that are added meanwhile."""
    done = 0
    while done < len(nodes):
        fresh = list(nodes)[done:]
        done += len(fresh)
        yield from fresh


def comes_from_product(matrix: Node) -> bool:
    """Whether elementwise nodes alone lie between a contraction of the same shape and `matrix`."""
    stack, seen, found = [matrix], {matrix}, False
    while stack:
        node = stack.pop()
        if isinstance(node.op, Reduction) or len(seen) > CHAIN:
            return False
        found = found or (node.name == "contract" and node.shape == matrix.shape)
        if isinstance(node.op, (Elementwise, Movement)):
            following = [x for x in node.inputs if x not in seen]
            stack += following
            seen.update(following)
    return found


def product_of(node: Node) -> Node | None:
    """The one contraction of the same shape that elementwise nodes alone lead to from `node`."""
    found: dict[Node, None] = {}
    stack, seen = [node], {node}
    while stack:
        x = stack.pop()
        if x.name == "contract" and x.shape == node.shape:
            found[x] = None
        if isinstance(x.op, Elementwise):
            following = [i for i in x.inputs if i not in seen and i.shape == node.shape]
            stack += following
            seen.update(following)
        if len(seen) > CHAIN or len(found) > 1:
            return None
    return next(iter(found), None)


def is_in_panels(body: Graph, kind: str) -> bool:
    """Whether the loops of a group are those of a matrix whose panels are its first result.

    A group that got no product has the panels' own loops, if all its results can be had there.
    """
    panels, *others = body.outputs
    if kind not in ("map", "contract") or panels_of(panels) is None:
        return False
    if kind == "contract" or not others:
        return kind == "contract"
    try:
        positions(body, *domain_of(panels.shape))
    except NotFusible:
        return True
    return False


def lower_panels(body: Graph, kind: str, name: str) -> Kernel:
    """The kernel of a group whose first result is kept in panels."""
    panels, *others = body.outputs
    matrix = panels_of(panels)
    assert matrix is not None
    kernel = LOWERINGS[kind](Graph(body.name, body.inputs, [matrix, *others]), name)
    width = panels.shape[-1]
    if kind == "map":
        kernel = _with_columns_cut(kernel, matrix.shape[-1], width)
    first, *rest = kernel.stores
    out = replace(first.buffer, type=panels.type)
    _, idx = domain_of(matrix.shape)
    row, column = linear(idx[:-1], matrix.shape[:-1]), idx[-1]
    if kind == "map":
        column = _column(kernel.domain)
    there = linear((column // width, row, column % width), panels.shape)
    buffers = tuple(out if b is first.buffer else b for b in kernel.buffers)
    return replace(kernel, buffers=buffers, stores=(Store(out, there, first.value), *rest))


def _with_columns_cut(kernel: Kernel, columns: int, width: int) -> Kernel:
    """The loop over columns as one over panels and one inside: each writes side by side."""
    *rows, column = kernel.domain
    domain = (*rows, Var("panel", columns // width), Var("column", width))
    stores = substitute(kernel.stores, {column: _column(domain)})
    return replace(kernel, domain=domain, stores=stores)


def _column(domain: tuple[Var, ...]) -> Index:
    outside, inside = domain[-2:]
    return Index.of(outside) * inside.extent + Index.of(inside)
