"""Products with prepared weights by one level of Strassen's method in Winograd's form.

Seven products of quadrants instead of eight, and additions in their place (S. Winograd, "On
multiplication of 2 x 2 matrices", 1971). The weight's four sums are computed once for many calls,
those of the left operand once for all products that read it; the sums of products join the
products' own kernels. The rounding error grows with the largest elements of both operands instead
of with each sum of products (Higham, Accuracy and Stability of Numerical Algorithms, section 23.2):
an inf or nan in one row of x may also show in the row half the rows further on.

Results stay in quadrants as long as elementwise nodes read them: bias, activation and shortcut are
computed by the products' kernels, and the next product takes its own quadrants from there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod

from nncomp.ir.debug import debug
from nncomp.ir.graph import Node, build_node
from nncomp.ir.op import Elementwise
from nncomp.ir.ops import concat, reshape, slice

ROWS, DEPTH, COLUMNS = 96, 512, 512  # what is smaller gains less than its additions cost
PANEL = 96  # columns of the quadrants: whole panels for vectors of any length up to 16 lanes
LEAST, LARGEST = 4 << 20, 16 << 20  # bytes of a weight; its sums take as many again

Quadrants = tuple[Node, Node, Node, Node]  # of the last two axes: 11, 12, 21, 22
Multiply = Callable[[Node, Node], Node]
Part = Callable[[Node, int, int], Node]


class Strassen:
    """Rewrites products while a graph is rebuilt; knows which new nodes exist in quadrants.

    `users` are the readers of each node of the old graph.
    """

    def __init__(self, users: Mapping[Node, Sequence[Node]]) -> None:
        self.users = users
        self.parts: dict[Node, Quadrants] = {}

    def matmul(self, node: Node, operands: tuple[Node, ...], multiply: Multiply) -> Node | None:
        """a @ b by seven products, made by `multiply`; None where the plain sum is better."""
        a, b = operands
        if not is_worth(a, b):
            return None
        packed = multiply(a, b)

        def part(x: Node, i: int, j: int) -> Node:
            return of_quadrant(multiply(x, quadrants(b)[2 * i + j]), packed, i, j)

        return self._whole(products(self.quadrants(a), quadrants(b), multiply, part))

    def quadrants(self, x: Node) -> Quadrants:
        """The quadrants of a node, those it was put together from if it was."""
        return self.parts[x] if x in self.parts else quadrants(x)

    def follow(self, node: Node, operands: tuple[Node, ...]) -> Node | None:
        """An elementwise node, or a reshape that adds ones, of quadrants; None for other nodes."""
        cut = [old for old, x in zip(node.inputs, operands, strict=True) if x in self.parts]
        if not cut or not all(_takes_quadrants(u) for old in cut for u in self.users[old]):
            return None
        if node.name == "reshape":
            return self._reshaped(node, operands[0])
        if not isinstance(node.op, Elementwise) or any(x.shape != node.shape for x in operands):
            return None
        each = zip(*(self.quadrants(x) for x in operands), strict=True)
        c11, c12, c21, c22 = (build_node(node.op, some, node.attrs, node.loc) for some in each)
        return self._whole((c11, c12, c21, c22))

    def _reshaped(self, node: Node, x: Node) -> Node | None:
        if len(node.shape) < 2 or node.shape[-2:] != x.shape[-2:]:
            return None
        lead = node.shape[:-2]
        parts = (reshape(p, shape=(*lead, *p.shape[-2:])) for p in self.parts[x])
        c11, c12, c21, c22 = parts
        return self._whole((c11, c12, c21, c22))

    def _whole(self, parts: Quadrants) -> Node:
        c11, c12, c21, c22 = parts
        last = len(c11.shape) - 1
        rows = concat(c11, c12, axis=last), concat(c21, c22, axis=last)
        whole = concat(*rows, axis=last - 1)
        self.parts[whole] = parts
        return whole


def _takes_quadrants(node: Node) -> bool:
    """Whether a reader does not need its operand as a whole, as far as its name tells."""
    return isinstance(node.op, Elementwise) or node.name in ("reshape", "matmul")


def is_worth(a: Node, b: Node) -> bool:
    """Whether a @ b, b prepared, is large enough in all directions and its quadrants are whole."""
    if not debug.strassen or a.dtype.name != "float32" or b.dtype.name != "float32":
        return False
    if len(b.shape) != 2 or not LEAST <= b.type.size * b.dtype.itemsize <= LARGEST:
        return False
    rows, depth, columns = prod(a.shape[:-1]), *b.shape
    if rows != a.shape[-2] or rows < ROWS or depth < DEPTH or columns < COLUMNS:
        return False
    return rows % 2 == 0 and depth % 32 == 0 and columns % (2 * PANEL) == 0


def of_quadrant(node: Node, whole: Node, i: int, j: int) -> Node:
    """The `contract` with a quadrant of a weight, reading that of the panels of the whole weight.

    Panels of quadrants would be 3/4 of the weight in another order: with those of all of it its
    plain copy can be given up.
    """
    old = whole.attrs
    if not node.name == whole.name == "contract" or node.attrs["panel"] != old["panel"]:
        return node
    if not old["panel"] or node.attrs["n"] % old["panel"]:
        return node  # the second half of the columns begins within a panel
    panels, depth = node.attrs["n"] // old["panel"], old["panel_stride"] // 2
    offset = old["b_offset"] + j * panels * old["panel_stride"] + i * depth
    attrs = {**node.attrs, "panel_stride": old["panel_stride"], "b_offset": offset}
    return build_node(node.op, (node.inputs[0], whole.inputs[1]), attrs, node.loc)


def products(a: Quadrants, b: Quadrants, multiply: Multiply, part: Part) -> Quadrants:
    """The quadrants of a @ b; `part(x, i, j)` multiplies by a quadrant of b."""
    a11, a12, a21, a22 = a
    b11, b12, b21, b22 = b
    t1, t3 = b12 - b11, b22 - b12
    t2 = b22 - t1
    t4 = t2 - b21
    s1, s3 = a21 + a22, a11 - a21
    s2 = s1 - a11
    s4 = a12 - s2
    p1 = part(a11, 0, 0)
    c11 = part(a12, 1, 0) + p1
    u2 = multiply(s2, t2) + p1
    u3 = multiply(s3, t3) + u2
    p5 = multiply(s1, t1)
    c22 = u3 + p5
    c12 = part(s4, 1, 1) + (u2 + p5)
    c21 = u3 - multiply(a22, t4)
    return c11, c12, c21, c22


def quadrants(x: Node) -> Quadrants:
    """The quadrants of the last two axes."""
    rows, columns = x.shape[-2:]
    lead, ones = x.shape[:-2], (1,) * len(x.shape)

    def part(i: int, j: int) -> Node:
        start = (*(0,) * len(lead), i * rows // 2, j * columns // 2)
        stop = (*lead, (i + 1) * rows // 2, (j + 1) * columns // 2)
        return slice(x, start=start, stop=stop, step=ones)

    return part(0, 0), part(0, 1), part(1, 0), part(1, 1)
