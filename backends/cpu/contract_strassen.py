"""One level of Strassen's method inside a contraction kernel: seven products instead of eight.

Each register tile of a quadrant runs the loops over k seven times, on quadrants of the operands
and on their sums (`quadrant_sums`), and keeps the sums of products in the first-level cache. From
there come the results of all four quadrants, each of which goes through the epilogue as any other
result does. After Huang, Smith, Henry, van de Geijn, "Strassen's Algorithm Reloaded" (SC 2016,
section 4), with the sums of S. Winograd (1971).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from nncomp.ir.ops.quadrants import sums_of

from ..llvm import Emitter, Value, vector_type
from ..reductions import prefix_mask
from .contract import SIZES, Contraction, Dim, Plan, Run
from .contract_index import Index, add, mul, value

# (operand, quadrant) of a and of b for each product: operand 1 is the one with the sums
LEFT = ((0, 0), (0, 1), (1, 3), (0, 3), (1, 0), (1, 1), (1, 2))
RIGHT = ((0, 0), (0, 2), (0, 3), (1, 3), (1, 0), (1, 1), (1, 2))
PRODUCTS = len(LEFT)
Finish = Callable[[Emitter, list[Value], list[Value], list[Value], Value, Value | None], None]
Fetch = Callable[[Emitter, list[Value], list[Value], Value], None]
SumUp = Callable[[list[Value], list[Value], Value], tuple[Value, Value]]
Places = Callable[[], Iterator[tuple[list[Value], Value, Any]]]


def quadrant_of(spec: Contraction, half: int) -> Contraction:
    """One quadrant of a contraction whose second half of columns begins at column `half`."""
    *outer, last = spec.m
    first, *inner = spec.k
    return replace(
        spec,
        m=(*outer, Dim(last.extent // 2, last.a, last.b)),
        n=half,
        k=(Dim(first.extent // 2, first.a, first.b), *inner),
        products=PRODUCTS,
    )


class Quadrants:
    """Writes the tiles of a kernel: `plan` is of one quadrant, `columns` all columns there are.

    `a` and `b` are the addresses of the operands and of their sums. `sum_up(batch, m, n)` tells
    where a result in the first quadrant is stored, and where a sum of the results goes.
    """

    def __init__(
        self, e: Emitter, plan: Plan, columns: int, a: Sequence[Value], b: Sequence[Value],
        sum_up: SumUp | None = None,
    ) -> None:  # fmt: skip
        self.e, self.plan, spec = e, plan, plan.spec
        self.columns, self.sum_up = columns, sum_up
        self.rows, self.half, self.live = spec.m[-1].extent, spec.n, columns - spec.n
        self.type = vector_type(plan.scalar, plan.lanes)
        self.align = plan.lanes * SIZES[plan.scalar]
        places = max(r.live for r in plan.row_runs) * plan.inner
        self.places = places * max(-(-r.step // plan.lanes) for r in plan.column_runs)
        size = PRODUCTS * self.places
        self.scratch = e.emit("ptr", f"alloca [{size} x {self.type}], align 64", "products")
        self.table = e.emit("ptr", f"alloca [{2 * PRODUCTS} x ptr], align 64", "factors")
        down, deep = self.rows * spec.m[-1].a, spec.k[0].extent
        left = [i * down + j * deep * spec.k[0].a for i in (0, 1) for j in (0, 1)]
        wide = self.half // spec.panel * spec.panel_stride
        right = [i * deep * spec.k[0].b + j * wide for i in (0, 1) for j in (0, 1)]
        self._fill(0, spec.a_type, [(a[x], left[q]) for x, q in LEFT])
        self._fill(PRODUCTS, spec.b_type, [(b[x], right[q]) for x, q in RIGHT])

    def _fill(self, first: int, element: str, factors: list[tuple[Value, int]]) -> None:
        for number, (base, offset) in enumerate(factors, first):
            address = self.e.gep(element, base, offset) if offset else base
            self.e.store(address, self.e.gep("ptr", self.table, number), 8)

    def runs(self, runs: Sequence[Run]) -> Iterator[Run]:
        """The runs of column tiles; a tile that is cut off in the second half is one of its own."""
        for run in runs:
            whole = sum(run.start + (t + 1) * run.step <= self.live for t in range(run.count))
            if whole:
                yield run._replace(count=whole)
            for t in range(whole, run.count):
                yield Run(run.first + t, 1, run.start + t * run.step, run.step, run.live)

    def write(
        self, columns: Run, tile: Index, corner: Index, column: Index, batch: list[Value],
        multiply: Callable[..., list[Value]], places: Places, finish: Finish,
        fetch: Fetch | None,
    ) -> None:  # fmt: skip
        """A tile of each quadrant, at `corner` of a and `column` of b.

        `multiply(a, b, *ahead)` gives the sums of products from these addresses on, and `places()`
        their indices in the first quadrant, with an object that knows how far in the tile each is.
        """
        e = self.e
        if fetch is not None:
            with e.loop(0, 4, hint="quadrant") as loop:
                for m, n, _ in places():
                    row, at = self._moved(m, n, loop.index)
                    fetch(e, batch, row, at)
        with e.loop(0, PRODUCTS, hint="product") as loop:
            a = self._factor(loop.index, self.plan.spec.a_type, corner)
            later = e.binary("add", loop.index, value(PRODUCTS))
            b = self._factor(later, self.plan.spec.b_type, column)
            sums = multiply(a, b, self._ahead(b, tile, columns))
            for place, x in enumerate(sums):
                e.store(x, self._slot(loop.index, place), self.align)
        self._add(len(sums))
        self._finish_all(columns, batch, places, finish)
        if self.sum_up is not None:
            self._sum_up(batch, places)

    def _finish_all(self, columns: Run, batch: list[Value], places: Places, finish: Finish) -> None:
        """The epilogue of all four quadrants."""
        e, live = self.e, self.live - columns.start
        if live >= columns.live or columns.count > 1:
            with e.loop(0, 4, hint="quadrant") as loop:
                self._finish(loop.index, batch, places, finish, columns.live)
            return
        for j, some in enumerate((columns.live, live)):
            with e.loop(j, 4, 2, hint="quadrant") as loop:
                self._finish(loop.index, batch, places, finish, some)

    def _factor(self, number: Value, element: str, offset: Index) -> Value:
        base = self.e.load("ptr", self.e.gep("ptr", self.table, number), 8, "factor")
        return base if offset == 0 else self.e.gep(element, base, offset)

    def _ahead(self, b: Value, tile: Index, columns: Run) -> Value:
        """Where the share of row tile `tile` begins in what the next column tile reads of b."""
        spec = self.plan.spec
        following = columns.step // spec.panel * spec.panel_stride
        share = mul(self.e, tile, ahead_step(self.plan) * spec.depth)
        return self.e.gep("i8", self.e.gep(spec.b_type, b, following), share)

    def _slot(self, product: Value, place: Value | int) -> Value:
        first = self.e.binary("mul", product, value(self.places))
        return self.e.gep(self.type, self.scratch, add(self.e, first, place))

    def _add(self, count: int) -> None:
        """The results of the quadrants from the seven products, in the place of the first four."""
        e = self.e
        with e.loop(0, count, hint="vector") as loop:
            slots = [self._slot(value(t), loop.index) for t in range(PRODUCTS)]
            products = (e.load(self.type, slot, self.align, "p") for slot in slots)
            p1, p2, p3, p4, p5, p6, p7 = products
            u2 = e.binary("fadd", p1, p6)
            u3 = e.binary("fadd", u2, p7)
            c12 = e.binary("fadd", e.binary("fadd", u2, p5), p3)
            c11, c21 = e.binary("fadd", p1, p2), e.binary("fsub", u3, p4)
            results = c11, c12, c21, e.binary("fadd", u3, p5)
            for slot, x in zip(slots, results, strict=False):
                e.store(x, slot, self.align)

    def _finish(
        self, quadrant: Value, batch: list[Value], places: Places, finish: Finish, live: int
    ) -> None:
        """The epilogue of one quadrant of which `live` columns of the tile exist."""
        lanes = self.plan.lanes
        for place, (m, n, column) in enumerate(places()):
            left = min(live - column.at, lanes)
            if left <= 0:
                continue
            row, at = self._moved(m, n, quadrant)
            acc = self.e.load(self.type, self._slot(quadrant, place), self.align, "sum")
            mask = None if left == lanes else prefix_mask(left, lanes)
            finish(self.e, [acc], batch, row, at, mask)

    def _sum_up(self, batch: list[Value], places: Places) -> None:
        """The sums of the quadrants of what the epilogue has stored of this tile."""
        e, sum_up = self.e, self.sum_up
        assert sum_up is not None
        at = [i * self.rows * self.columns + j * self.half for i in (0, 1) for j in (0, 1)]

        def add(x: Value, y: Value) -> Value:
            return e.binary("fadd", x, y)

        def sub(x: Value, y: Value) -> Value:
            return e.binary("fsub", x, y)

        for m, n, _ in places():
            source, to = sum_up(batch, m, n)
            size, scalar = SIZES[self.plan.scalar], self.plan.scalar
            stored = [e.load(self.type, e.gep(scalar, source, i), size, "y") for i in at]
            for offset, x in zip(at, sums_of(stored, add, sub, False), strict=True):
                e.store(x, e.gep(scalar, to, offset), size)

    def _moved(self, m: list[Value], n: Value, quadrant: Value) -> tuple[list[Value], Value]:
        """A row and a column of the first quadrant in another one."""
        e = self.e
        i, j = e.binary("lshr", quadrant, value(1)), e.binary("and", quadrant, value(1))
        row = e.binary("add", m[-1], e.binary("mul", i, value(self.rows)), "row")
        return [*m[:-1], row], e.binary("add", n, e.binary("mul", j, value(self.half)), "column")


def ahead_step(plan: Plan) -> int:
    """Bytes of a panel to fetch ahead at each k, so that all row tiles together fetch a tile."""
    return -(-plan.spec.panel * SIZES[plan.spec.b_type] // max(plan.row_tiles, 1))


def fetch_next(e: Emitter, plan: Plan, address: Value, last: int) -> None:
    """Ask for a line of each panel of the next tile; `last` is a column of its last panel."""
    for panel in range(last // plan.spec.panel + 1):
        place = e.gep(plan.spec.b_type, address, panel * plan.spec.panel_stride)
        hints = (Value(str(k), "i32") for k in (0, 2, 1))  # for reading, second level, data
        e.call_void("llvm.prefetch.p0", place, *hints)
