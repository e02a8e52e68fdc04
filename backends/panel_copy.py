"""Copies of a matrix into panels of its columns, by blocks of rows.

    y[p, i, j] = x[i, p * w + j]      for rows i of a block: for panels p: for rows of the block

Panel by panel, each turn would read a short piece of another row, one page further on, which
hardware does not fetch ahead. In blocks, rows are read from end to end and panels written in long
pieces.
"""

from __future__ import annotations

from dataclasses import dataclass

from nncomp.ir.index import Var
from nncomp.ir.loops import Kernel, Load, Store

from .arg_reductions import ArgExpressions
from .expressions import Isa, Lanes
from .llvm import Emitter, Value
from .map_kernel import store_value

ROWS = 8  # of a block: of 4 to 16, all more or less as good; 32 are slower than none
LEAST = 4  # panels that are worth it
LONGEST = 512  # bytes of a row in a panel: longer ones are as good panel by panel


@dataclass(frozen=True)
class CopySchedule:
    """The loops over panels, over rows, and inside of a row of a panel, in vectors of `lanes`."""

    panel: Var
    row: Var
    column: Var
    lanes: int
    store: Store

    @property
    def units(self) -> int:
        """Blocks of rows."""
        return -(-self.row.extent // ROWS)


def make_copy_schedule(kernel: Kernel, width: int) -> CopySchedule | None:
    """How to copy in blocks; None for a kernel that is no such copy."""
    if len(kernel.stores) != 1 or len(kernel.domain) != 3:
        return None
    (store,) = kernel.stores
    load = store.value
    same = isinstance(load, Load) and load.dtype == store.buffer.type.dtype
    if not same or load.guard is not None:
        return None
    panel, row, column = kernel.domain
    columns, rows = column.extent, row.extent
    if columns % width or columns * load.dtype.itemsize > LONGEST:
        return None
    if panel.extent < LEAST or rows < ROWS * LEAST:
        return None
    offsets = load.offset, store.offset
    if not all(x.is_affine_in(v) for x in offsets for v in kernel.domain):
        return None
    steps = [[x.coefficient(v) for v in kernel.domain] for x in offsets]
    (along, down, one), there = steps
    if (along, one) != (columns, 1) or down < panel.extent * columns:
        return None
    if there != [rows * columns, columns, 1]:
        return None
    return CopySchedule(panel, row, column, width, store)


class PanelCopyKernel(ArgExpressions):
    """Writes such a copy."""

    def __init__(self, e: Emitter, kernel: Kernel, schedule: CopySchedule, isa: Isa):
        super().__init__(e, kernel, isa)
        self.schedule = schedule

    def write(self) -> None:
        """The loops over blocks (units), panels, rows of the block and vectors."""
        e, s = self.e, self.schedule
        with e.loop(Value("%begin", "i64"), Value("%end", "i64"), hint="block") as block:
            first = e.binary("mul", block.index, e.const("i64", ROWS), "first")
            last = e.binary("add", first, e.const("i64", ROWS), "last")
            last = e.call("i64", "llvm.umin.i64", last, e.const("i64", s.row.extent), hint="last")
            with e.loop(0, s.panel.extent, hint="panel") as panel:
                with e.loop(first, last, hint="row") as row:
                    self.enter({s.panel: panel.index, s.row: row.index})
                    self._copy_row()
                    self.leave()

    def _copy_row(self) -> None:
        s = self.schedule
        for at in range(0, s.column.extent, s.lanes):
            self.enter(lanes=Lanes(s.column, s.lanes, Value(str(at), "i64"), None))
            store_value(self, s.store, self.value(s.store.value))
            self.leave()
