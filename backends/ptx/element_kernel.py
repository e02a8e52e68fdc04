"""Map kernels with a thread per element, or per 16 bytes of neighbouring elements."""

from __future__ import annotations

from nncomp.ir.index import Var
from nncomp.ir.loops import ArgReduce, Kernel, Reduce, roots_of, walk

from ..expressions import Lanes
from ..llvm import Value
from .emitter import PtxEmitter
from .expressions import GpuExpressions
from .kernel import Code, Facts, Launch
from .lanes_choice import lanes_for
from .schedule import GpuSchedule

THREADS = 256
MOST_BLOCKS = 132 * 16  # more than fill any GPU: threads then take several elements
LARGE = 1 << 19  # results from which on a thread may take several reductions


def parameters(kernel: Kernel, facts: Facts) -> list[str]:
    """The pointers a kernel's function takes."""
    first = len(kernel.buffers) - kernel.outputs
    words = []
    for number, b in enumerate(kernel.buffers):
        notes = "noalias " if facts.disjoint else ""
        notes += "readonly " if facts.disjoint and number < first else ""
        words.append(f"ptr {notes}%b{b.slot}")
    return words


def row_variables(e: PtxEmitter, rows: tuple[Var, ...], number: Value) -> dict[Var, Value]:
    """The loop variables of flattened loops at position `number`."""
    values: dict[Var, Value] = {}
    for k, var in enumerate(reversed(rows)):
        last = k == len(rows) - 1
        values[var] = number if last else e.remainder(number, var.extent, var.name)
        number = number if last else e.quotient(number, var.extent, "row")
    return values


class ElementKernel(GpuExpressions):
    """Writes one kernel whose threads need nothing from each other."""

    def __init__(self, e: PtxEmitter, kernel: Kernel, schedule: GpuSchedule, facts: Facts):
        super().__init__(e, kernel)
        self.schedule, self.facts = schedule, facts
        lane = schedule.rows[-1] if schedule.rows else None
        if lane is not None and facts.aligned and self._may_take_several():
            self.lanes_at_once = lanes_for(lane, schedule.stores)
        else:
            self.lanes_at_once = 1

    def _may_take_several(self) -> bool:
        reduces = any(
            isinstance(x, (Reduce, ArgReduce)) for x in walk(roots_of(self.schedule.stores))
        )
        return not reduces or self.schedule.count >= LARGE

    def write(self) -> Code:
        e, schedule = self.e, self.schedule
        units = schedule.count // self.lanes_at_once
        threads = min(THREADS, -(-units // 32) * 32)
        blocks = min(-(-units // threads), MOST_BLOCKS)
        block = e.mul(e.as_index(e.special("ctaid.x")), threads)
        first = e.add(block, e.as_index(e.special("tid.x")), "first")
        self.hoist(roots_of(schedule.stores))
        if blocks * threads >= units:
            if blocks * threads == units:
                self._unit(first)
            else:
                with e.when(e.below(first, units)):
                    self._unit(first)
        else:
            with e.loop(first, e.index(units), blocks * threads, hint="unit") as loop:
                self._unit(loop.index)
        text = e.kernel(self.kernel.name, parameters(self.kernel, self.facts), threads)
        return Code(text, (Launch(self.kernel.name, (blocks, 1, 1), (threads, 1, 1)),))

    def _unit(self, number: Value) -> None:
        """The elements of unit `number`."""
        rows, count = self.schedule.rows, self.lanes_at_once
        if count == 1:
            self.enter(row_variables(self.e, rows, number))
        else:
            *outer, lane = rows
            per_row = Var(lane.name, lane.extent // count)
            values = row_variables(self.e, (*outer, per_row), number)
            base = self.e.mul(values.pop(per_row), count, "base")
            self.enter(values, Lanes(lane, count, base, None))
        self.hoist(roots_of(self.schedule.stores))
        for s in self.schedule.stores:
            self.store(s)
        self.leave()
