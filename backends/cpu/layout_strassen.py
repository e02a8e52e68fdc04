"""Products with prepared weights by one level of Strassen's method: their `contract` gets sums.

before:
    contract_0 = contract(x, w, m=((128,768),), n=768, k=((768,1,32),), ...)
after:
    quadrant_sums_0 = quadrant_sums(x, rows=0, columns=1, right=False)
    quadrant_sums_1 = quadrant_sums(w, rows=1, columns=0, right=True)
    contract_0 = contract(x, w, quadrant_sums_0, quadrant_sums_1, ..., half=384)

The kernel then multiplies quadrants seven times instead of eight (`contract_strassen`). The sums of
a weight are computed once for many calls, those of x once for all products that read it. The
rounding error grows with the largest elements of both operands instead of with each sum of products
(Higham, Accuracy and Stability of Numerical Algorithms, section 23.2): an inf or nan in one row of
x may also show in the row half the rows further on.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

from nncomp.ir.debug import debug
from nncomp.ir.graph import Graph, Node, build_node
from nncomp.ir.ops import quadrant_sums, reshape

from ..walks import shaped
from .row_sizes import alike_rows

ROWS, DEPTH, COLUMNS = 64, 256, 256  # what is smaller gains less than its sums cost
LARGEST = 64 << 20  # bytes of a weight whose sums, as many again, are kept without being asked for
WORK = 1 << 26  # multiplications from which on another meeting of all threads does not matter


class Choice:
    """Which products of a graph are computed in quadrants, and which rows of theirs are partners.

    `prepared` are the nodes that are computed once for many calls, `constant` names the parameters.
    """

    def __init__(self, graph: Graph, constant: Iterable[str], prepared: set[Node]) -> None:
        self.prepared, self.forced = prepared, debug.strassen
        self.alike = alike_rows(graph, constant) if self.forced is None else set()

    def rows(self, node: Node) -> int:
        """Rows in whose halves partners lie, if a @ b is to be in quadrants; 0 if it is not.

        By itself only where partners belong to one sample and are alike: then no row loses digits
        to a larger one, and no sample is changed by others.
        """
        a, b = node.inputs
        if self.forced is False or not self._is_worth(a, b):
            return 0
        if self.forced:
            return a.shape[-2]
        return rows_of_sample(a) if a in self.alike and b.type.nbytes <= LARGEST else 0

    def _is_worth(self, a: Node, b: Node) -> bool:
        if not a.dtype.name == b.dtype.name == "float32" or len(b.shape) != 2:
            return False
        if b not in self.prepared or a in self.prepared:
            return False
        rows, depth, columns = prod(a.shape[:-1]), *b.shape
        is_large = rows >= ROWS and depth >= DEPTH and columns >= COLUMNS
        return is_large and rows * depth * columns >= WORK


def rows_of_sample(a: Node) -> int:
    """The length of the axis before the last one of a tensor of three axes or more, which `a` may
    have been before it was reshaped to a matrix; 0 where there is none."""
    if len(a.shape) > 2:
        return a.shape[-2]
    rows = a.shape[0]
    while a.name == "reshape":
        a = a.inputs[0]
        for end in range(2, len(a.shape)):
            if prod(a.shape[:end]) == rows:
                return a.shape[end - 1]
    return 0


def in_quadrants(node: Node, rows: int) -> Node | None:
    """A `contract` with what is needed to compute it in quadrants; partners lie `rows` / 2 apart.

    None where the operands do not lie so that both they and the result have quadrants.
    """
    attrs = dict(node.attrs)
    a, b = node.inputs
    if attrs["batch"] or not attrs["panel"] or attrs.get("paired"):
        return None
    if attrs["a_offset"] or attrs["b_offset"]:
        return None
    *outer, (extent, step) = attrs["m"]
    if extent > rows and extent % rows == 0 and (not outer or attrs.get("merged")):
        outer, extent = [*outer, (extent // rows, step * rows)], rows
        attrs["merged"] = True
    attrs["m"] = (*outer, (extent, step))
    (deep, *_), *_ = attrs["k"]
    if rows % extent or extent % 2 or deep % 2:
        return None
    left, right = _left_sums(a, attrs), _right_sums(b, attrs)
    if left is None or right is None:
        return None
    attrs["half"] = right.shape[0] // 2 * attrs["panel"]
    if attrs["half"] >= attrs["n"]:
        return None
    sums = shaped(left, a.shape), shaped(right, b.shape)
    return build_node(node.op, (a, b, *sums), attrs, node.loc)


def _left_sums(a: Node, attrs: dict) -> Node | None:
    """The sums of the left operand, which must hold its rows and terms without gaps."""
    rows, terms = attrs["m"][-1][:2], attrs["k"][0][:2]
    walks = [(e, s) for e, s, *_ in (*attrs["m"], *attrs["k"]) if e != 1]
    axes = sorted(walks, key=lambda walk: -walk[1])
    reach = 1
    for extent, step in reversed(axes):
        if step != reach:
            return None
        reach *= extent
    if reach != a.type.size:
        return None
    numbers = [i for i, n in enumerate(a.shape) if n != 1]
    if [a.shape[i] for i in numbers] != [e for e, _ in axes]:
        a, numbers = reshape(a, shape=tuple(e for e, _ in axes)), list(range(len(axes)))
    where = {"rows": numbers[axes.index(rows)], "columns": numbers[axes.index(terms)]}
    return quadrant_sums(a, **where, right=False)


def _right_sums(b: Node, attrs: dict) -> Node | None:
    """The sums of the right operand, panels [panels, terms, columns]."""
    (extent, _, step), *_ = attrs["k"]
    panel, stride = attrs["panel"], attrs["panel_stride"]
    panels = b.type.size // stride
    if extent * step != stride or panels % 2 or panels * stride != b.type.size:
        return None
    whole = shaped(b, (panels, stride // panel, panel))
    return quadrant_sums(whole, rows=1, columns=0, right=True)
