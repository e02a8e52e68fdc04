"""Code for kernels over blocks of rows with sums of columns (see ir/lower_rows.py).

    for unit b:  sums[b, :] = 0
      for i in rows of the block, a few at a time:
        sums over each of these rows
        for c in columns:  results of these rows;  sums[b, c] += what they add up to

Several rows at a time hide the latency of their sums and touch the sums of columns less often. The
order in which terms are added depends on shapes alone.
"""

from __future__ import annotations

from nncomp.ir.index import Var
from nncomp.ir.loops import Kernel, Load, Reduce, Store, roots_of, walk

from .arg_reductions import ArgExpressions
from .expressions import Isa, Lanes, Scope
from .llvm import Emitter, Value, vector_type
from .map_kernel import store_value
from .memory import load_lanes, store
from .reductions import lane_count, prefix_mask
from .scalar import compute_type, emit_scalar

NEAR = 32 << 10  # bytes of rows that stay in the first-level cache from their sums to the results
MOST = 4  # rows at a time
UNROLL = 2  # vectors per turn of the loop over columns


class RowsKernel(ArgExpressions):
    """Writes one such kernel."""

    def __init__(self, e: Emitter, kernel: Kernel, isa: Isa):
        super().__init__(e, kernel, isa)
        self.blocks, self.rows, self.column = kernel.domain
        self.sums = [s for s in kernel.stores if s.buffer.slot in kernel.extra.sums]
        self.stores = [s for s in kernel.stores if s.buffer.slot not in kernel.extra.sums]
        self.reductions = [x for x in walk(roots_of(kernel.stores)) if isinstance(x, Reduce)]
        largest = max(roots_of(kernel.stores), key=lambda v: len(walk([v])))
        self.count = lane_count(isa.width, largest, self.column.extent, UNROLL)
        self.turn = rows_at_a_time(kernel, self.column)

    @property
    def units(self) -> int:
        return self.blocks.extent

    def write(self) -> None:
        e = self.e
        begin, end = Value("%begin", "i64"), Value("%end", "i64")
        roots = roots_of((*self.stores, *self.sums))
        self.hoist(roots)
        with e.loop(begin, end, hint="unit") as unit:
            self.enter({self.blocks: unit.index})
            self._along(self._clear)
            self.hoist(roots)
            whole = self.rows.extent // self.turn * self.turn
            with e.loop(0, whole, self.turn, hint="row") as row:
                self._some(row.index, self.turn)
            if whole < self.rows.extent:
                with e.loop(whole, self.rows.extent, hint="row") as row:
                    self._some(row.index, 1)
            self.leave()

    def _some(self, first: Value, count: int) -> None:
        """A few rows: their sums and what else only depends on the row, then all columns."""
        outer, scopes = self.scope, []
        for k in range(count):
            number = self.e.binary("add", first, self.e.const("i64", k), "row") if k else first
            self.scope = Scope(outer, {self.rows: number})
            self.hoist(roots_of((*self.stores, *self.sums)))
            for s in self.stores:
                if self.column not in s.vars:
                    store_value(self, s, self.value(s.value))
            scopes.append(self.scope)
        self.scope = outer
        self._along(lambda: self._columns(scopes))

    def _along(self, body) -> None:
        """`body` for all columns, a vector at a time; the last ones under a mask."""
        extent, count = self.column.extent, self.count
        whole = extent // count * count
        if whole:
            with self.e.loop(0, whole, count, hint="column") as loop:
                self.enter(lanes=Lanes(self.column, count, loop.index, None))
                body()
                self.leave()
        if whole < extent:
            mask = prefix_mask(extent - whole, count)
            self.enter(lanes=Lanes(self.column, count, Value(str(whole), "i64"), mask))
            body()
            self.leave()

    def _clear(self) -> None:
        for s in self.sums:
            type = vector_type(compute_type(s.buffer.type.dtype.name), self.count)
            store_value(self, s, self.e.const(type, 0))

    def _columns(self, rows: list[Scope]) -> None:
        """Some columns of a few rows."""
        common = self.scope
        self.hoist(roots_of((*self.stores, *self.sums)))
        terms: list[list[Value]] = [[] for _ in self.sums]
        for row in rows:
            self.scope = Scope(common, dict(row.vars), dict(row.known), list(row.kept))
            for s in self.stores:
                if self.column in s.vars:
                    store_value(self, s, self.value(s.value))
            for found, s in zip(terms, self.sums, strict=True):
                found.append(self.vector(s.value))
        self.scope = common
        for found, s in zip(terms, self.sums, strict=True):
            self._add(s, found)

    def _add(self, s: Store, terms: list[Value]) -> None:
        """Add the terms of a few rows to the sums of their columns."""
        dtype, lanes = s.buffer.type.dtype, self.lanes
        assert lanes is not None
        while len(terms) > 1:
            rest = terms[2:]
            terms = [*rest, emit_scalar(self.e, "add", terms[:2], dtype.name, self.isa.fma)]
        place = self.place(s.buffer, s.offset)
        old = load_lanes(self.e, dtype, place, lanes.count, lanes.mask)
        total = emit_scalar(self.e, "add", [old, terms[0]], dtype.name, self.isa.fma)
        store(self.e, dtype, total, place, lanes.mask)


def rows_at_a_time(kernel: Kernel, column: Var) -> int:
    """How many rows of all that is read and written along rows stay near."""
    loads = {
        x.buffer.slot: x.dtype.itemsize for x in walk(roots_of(kernel.stores))
        if isinstance(x, Load) and column in x.offset.vars and len(x.offset.vars) > 1
    }  # fmt: skip
    row = column.extent * (sum(loads.values()) + 4 * (len(kernel.stores)))
    count = MOST
    while count > 1 and count * row > NEAR:
        count //= 2
    return min(count, kernel.domain[1].extent)
