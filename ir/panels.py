"""A matrix kept in panels of columns: the kernel of a product writes its results right there.

    p = permute(reshape(x, (rows, n / w, w)), (1, 0, 2))   ->   p[j // w, i, j % w] = x[i, j]

Products read such a tensor by rows and by columns without jumps. What is in it is computed over the
loops of the matrix; only the place of the store is another one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod

from .graph import Graph, Node
from .index import linear
from .loops import Kernel, Store
from .lower import LOWERINGS, domain_of
from .op import Elementwise

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
    return matrix if comes_from_product(matrix) else None


def comes_from_product(matrix: Node) -> bool:
    """Whether elementwise nodes alone lie between a contraction of the same shape and `matrix`."""
    stack, seen = [matrix], {matrix}
    while stack and len(seen) < CHAIN:
        node = stack.pop()
        if node.name == "contract":
            return True
        if isinstance(node.op, Elementwise):
            following = [x for x in node.inputs if x.shape == matrix.shape and x not in seen]
            stack += following
            seen.update(following)
    return False


def is_in_panels(body: Graph, kind: str) -> bool:
    """Whether the loops of a group are those of a matrix whose panels are its first result.

    A group without its product, whose further results lie like the panels, has the panels' loops.
    """
    matrix = panels_of(body.outputs[0])
    if matrix is None or kind not in ("map", "contract"):
        return False
    return kind == "contract" or any(x.shape == matrix.shape for x in body.outputs[1:])


def lower_panels(body: Graph, kind: str, name: str) -> Kernel:
    """The kernel of a group whose first result is kept in panels."""
    panels, *others = body.outputs
    matrix = panels_of(panels)
    assert matrix is not None
    kernel = LOWERINGS[kind](Graph(body.name, body.inputs, [matrix, *others]), name)
    first, *rest = kernel.stores
    out, width = replace(first.buffer, type=panels.type), panels.shape[-1]
    _, idx = domain_of(matrix.shape)
    row, column = linear(idx[:-1], matrix.shape[:-1]), idx[-1]
    there = linear((column // width, row, column % width), panels.shape)
    buffers = tuple(out if b is first.buffer else b for b in kernel.buffers)
    return replace(kernel, buffers=buffers, stores=(Store(out, there, first.value), *rest))
