"""The kernel of `quadrant_sums`: one pass, which reads and writes all four quadrants at once."""

from __future__ import annotations

from .graph import Node
from .index import Index, linear
from .kernel_builder import KernelBuilder
from .loops import Buffer, Expr, Kernel, Store
from .lower import domain_of
from .ops.quadrants import sums_of


def lower_quadrant_sums(node: Node, name: str) -> Kernel:
    """Loops over one quadrant; the sums go where the quadrants lie."""
    shape, rows, columns = node.shape, node.attrs["rows"], node.attrs["columns"]
    source, out = Buffer("x0", 0, node.inputs[0].type), Buffer("y0", 1, node.type)
    halves = tuple(n // 2 if axis in (rows, columns) else n for axis, n in enumerate(shape))
    domain, idx = domain_of(halves)
    k = KernelBuilder(domain)

    def place(i: int, j: int) -> tuple[Index, ...]:
        moved = {rows: i * halves[rows], columns: j * halves[columns]}
        return tuple(at + moved.get(axis, 0) for axis, at in enumerate(idx))

    places = [place(i, j) for i in (0, 1) for j in (0, 1)]
    quadrants: list[Expr] = [k.load(source, at) for at in places]
    sums = sums_of(quadrants, k.add, k.sub, node.attrs["right"])
    stores = tuple(
        Store(out, linear(at, shape), value) for at, value in zip(places, sums, strict=True)
    )
    return Kernel(name, "map", (source, out), 1, domain, stores)
