"""Sums of the quadrants of an operand, as one level of Strassen's method multiplies them.

S. Winograd's form (1971) takes four sums of each operand and four of its quadrants as they are:

    left    s1 = x21 + x22    s2 = s1 - x11          right    t1 = x12 - x11    t2 = x22 - t1
            s3 = x11 - x21    s4 = x12 - s2                   t3 = x22 - x12    t4 = t2 - x21

Backends choose this op with the layout; it is no part of what a user's graph is traced to.
"""

from __future__ import annotations

import numpy as np

from ..op import Op, op, require


@op
class quadrant_sums(Op):
    """x -> its four sums where its quadrants lie, of the same shape: 1, 2 above and 3, 4 below.

    Axis `rows` is cut in the middle into upper and lower quadrants, axis `columns` into left and
    right ones; `right` tells which operand of the product x is.
    """

    differentiable = False

    def type(x, *, rows, columns, right):
        rank = len(x.shape)
        require(
            rows != columns and 0 <= min(rows, columns) and max(rows, columns) < rank,
            f"quadrant_sums: axes {rows} and {columns} are not two axes of {x}",
        )
        even = x.shape[rows] % 2 == x.shape[columns] % 2 == 0 and x.dtype.kind == "f"
        require(even, f"quadrant_sums: {x} has no quadrants along axes {rows} and {columns}")
        return x

    def eval(x, *, rows, columns, right):
        (a, b), (c, d) = (np.split(half, 2, columns) for half in np.split(x, 2, rows))
        upper, lower = np.split(np.array(sums_of((a, b, c, d), np.add, np.subtract, right)), 2)
        return np.concatenate([np.concatenate(list(s), columns) for s in (upper, lower)], rows)


def sums_of(quadrants, add, sub, right: bool) -> tuple:
    """The four sums of the quadrants (11, 12, 21, 22) of the left or the right operand."""
    x11, x12, x21, x22 = quadrants
    if right:
        t1 = sub(x12, x11)
        t2 = sub(x22, t1)
        return t1, t2, sub(x22, x12), sub(t2, x21)
    s1 = add(x21, x22)
    s2 = sub(s1, x11)
    return s1, s2, sub(x11, x21), sub(x12, s2)
