"""argsort on a GPU: a bitonic network (K. E. Batcher, 1968) of one block per row.

The form in which every comparator puts the smaller one first: a merge begins with a mirrored
comparison, so that rows of any length can be sorted as if followed by largest elements, which never
move. Elements are ordered by value, then by position: the result is that of a stable sort.
"""

from __future__ import annotations

from math import prod

from nncomp.ir.loops import Kernel

from ..llvm import Value
from ..memory import load_one
from .element_kernel import parameters
from .emitter import PtxEmitter
from .expressions import GpuExpressions
from .kernel import Code, Facts, Launch

THREADS = 512


class SortKernel(GpuExpressions):
    """Writes one sorting kernel; the positions are exchanged in the result itself."""

    def __init__(self, e: PtxEmitter, kernel: Kernel, facts: Facts):
        super().__init__(e, kernel)
        self.facts = facts
        self.source, self.out = kernel.buffers[:2]
        shape, axis = self.source.type.shape, kernel.extra.axis
        self.length, self.step = shape[axis], prod(shape[axis + 1 :])
        self.rows = prod(shape) // self.length
        self.stages = (self.length - 1).bit_length()

    def write(self) -> Code:
        e = self.e
        row = e.as_index(e.special("ctaid.x"))
        outer = e.mul(e.quotient(row, self.step), self.length * self.step)
        self.start = e.add(outer, e.remainder(row, self.step), "start")
        self.thread = e.as_index(e.special("tid.x"))
        threads = min(THREADS, max(32, 1 << self.stages - 1))
        with e.loop(self.thread, e.index(self.length), threads, hint="at") as loop:
            e.store(self._wide(loop.index), self._place(loop.index), 8)
        e.barrier()
        with e.loop(1, self.stages + 1, hint="stage") as stage:
            with e.loop(e.index(0), stage.index, hint="turn") as turn:
                self._exchanges(stage.index, turn.index, threads)
                e.barrier()
        text = e.kernel(self.kernel.name, parameters(self.kernel, self.facts), threads)
        return Code(text, (Launch(self.kernel.name, (self.rows, 1, 1), (threads, 1, 1)),))

    def _exchanges(self, stage: Value, turn: Value, threads: int) -> None:
        """All comparators of one turn of a stage, at distance 2**(stage - 1 - turn)."""
        e = self.e
        one = e.index(1)
        bits = e.binary("sub", e.binary("sub", stage, one), turn, "bits")
        distance = e.binary("shl", one, bits, "distance")
        mirrored = e.binary("icmp eq", turn, e.index(0), "mirrored")
        pairs = e.index(1 << self.stages - 1)
        with e.loop(self.thread, pairs, threads, hint="pair") as loop:
            group = e.binary("lshr", loop.index, bits, "group")
            rest = e.binary("and", loop.index, e.binary("sub", distance, one), "rest")
            base = e.mul(e.binary("shl", group, bits), 2, "base")
            low = e.add(base, rest, "low")
            across = e.binary("sub", e.binary("sub", e.mul(distance, 2), one), rest)
            high = e.select(mirrored, e.add(base, across), e.add(low, distance), "high")
            with e.when(e.below(high, self.length)):
                self._exchange(self._place(low), self._place(high))

    def _exchange(self, low: Value, high: Value) -> None:
        e = self.e
        first, second = (e.load("i64", place, 8) for place in (low, high))
        with e.when(self._before(second, first)):
            e.store(second, low, 8)
            e.store(first, high, 8)

    def _before(self, i: Value, j: Value) -> Value:
        """Whether element i of the row comes before element j."""
        e, dtype = self.e, self.source.type.dtype
        x, y = (load_one(e, dtype, self._element(at)) for at in (i, j))
        a, b = (y, x) if self.kernel.extra.descending else (x, y)
        less, more = self._less(a, b), self._less(b, a)
        tied = e.binary("xor", e.binary("or", less, more), e.const("i1", True))
        return e.binary("or", less, e.binary("and", tied, e.binary("icmp slt", i, j)))

    def _less(self, a: Value, b: Value) -> Value:
        e, kind = self.e, self.source.type.dtype.kind
        if kind != "f":
            return e.binary("icmp slt" if kind == "i" else "icmp ult", a, b)
        last = e.binary("and", e.binary("fcmp ord", a, a), e.binary("fcmp uno", b, b))
        return e.binary("or", e.binary("fcmp olt", a, b), last)

    # -- addresses -------------------------------------------------------------------------------

    def _place(self, at: Value) -> Value:
        """Where position `at` of the row's result lies."""
        offset = self.e.add(self.start, self.e.mul(at, self.step), "offset")
        return self.e.element("i64", self.pointers[self.out.slot], offset)

    def _element(self, at: Value) -> Value:
        """Where element `at` (int64) of the row lies."""
        inside = self.e.mul(self._sized(at, False), self.step)
        offset = self.e.add(self.start, inside, "offset")
        return self._address(self.source, offset)

    def _wide(self, value: Value) -> Value:
        return value if value.type == "i64" else self.e.convert("zext", value, "i64")

