"""Map kernels whose rows are computed by groups of threads: softmax, norms, sums.

All reductions of a row are shared by its group, which then writes the elements of the row. Where
every thread has few elements the loops over a row are written out, so that what was read for a
reduction is still in registers when the results need it: one pass over memory.

    rows     a row's threads are neighbours: shuffles combine a warp, shared memory the warps
    columns  a row's threads are 32 apart, for 32 neighbouring rows: shared memory, by halving
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import contextmanager
from math import prod

from nncomp.ir.index import Var
from nncomp.ir.loops import ArgReduce, Expr, Kernel, Reduce, Store, roots_of, walk

from ..expressions import Lanes
from ..llvm import Value, vector_type
from .element_kernel import MOST_BLOCKS, parameters, row_variables
from .emitter import WARP, PtxEmitter
from .expressions import GpuExpressions
from .kernel import Code, Facts, Launch
from .lanes_choice import lanes_for
from .schedule import COLUMNS, GpuSchedule

LEAST = 128  # threads of a block
UNROLL = 8  # elements of a row, or vectors of them, that a thread keeps in registers
SHARED = 16 << 10  # bytes of shared memory in use at once, while reductions need no more
SIZES = {"i8": 1, "i16": 2, "i32": 4, "i64": 8, "float": 4, "double": 8}
MOST_TEXT = 96  # expressions times turns that are written out
Combine = Callable[[list[Value], list[Value]], list[Value]]


class GroupKernel(GpuExpressions):
    """Writes one kernel with a group of threads per row."""

    def __init__(self, e: PtxEmitter, kernel: Kernel, schedule: GpuSchedule, facts: Facts):
        super().__init__(e, kernel)
        self.schedule, self.facts = schedule, facts
        self.group = schedule.group
        self.is_columns = schedule.kind == "columns"
        self.together = False  # whether the whole group is here, so that it can share work
        self._busy: list[tuple[tuple[str, int], Value]] = []  # arrays in shared memory, by type
        self._free: list[tuple[tuple[str, int], Value]] = []

    # -- the rows --------------------------------------------------------------------------------

    def write(self) -> Code:
        e, rows = self.e, self.schedule.count
        threads = self.group * COLUMNS if self.is_columns else max(self.group, LEAST)
        at_once = threads // self.group  # rows of a block
        if not self.is_columns and rows < at_once:
            at_once = -(-rows * self.group // WARP) * WARP // self.group or 1
            threads = at_once * self.group
        blocks = min(-(-rows // at_once), MOST_BLOCKS)
        thread = e.as_index(e.special("tid.x"))
        first = e.mul(e.as_index(e.special("ctaid.x")), at_once, "first")
        self._place(thread, at_once)
        self._at_once = at_once
        self.together = True
        self.hoist(roots_of(self.schedule.stores))
        if blocks * at_once >= rows:
            self._row(first, rows, False)
        else:
            with e.loop(first, e.index(rows), blocks * at_once, hint="first") as loop:
                self._row(loop.index, rows, True)
        text = e.kernel(self.kernel.name, parameters(self.kernel, self.facts), threads)
        return Code(text, (Launch(self.kernel.name, (blocks, 1, 1), (threads, 1, 1)),))

    def _place(self, thread: Value, at_once: int) -> None:
        """`member`: number of the thread in its group; `slot`: number of the group in the block."""
        e = self.e
        if self.is_columns:
            self.slot, self.member = e.remainder(thread, COLUMNS), e.quotient(thread, COLUMNS)
        elif at_once == 1:
            self.slot, self.member = e.index(0), thread
        else:
            self.slot, self.member = e.quotient(thread, self.group), e.remainder(thread, self.group)

    def _row(self, first: Value, rows: int, again: bool) -> None:
        e = self.e
        row = e.add(first, self.slot, "row") if self._at_once > 1 else first
        self.valid: Value | None = None
        whole_warps = self.group >= WARP and not self.is_columns
        if rows % self._at_once and whole_warps:  # a warp without a row has nothing to do
            with e.when(e.below(row, rows)):
                self._elements(row)
            return
        if rows % self._at_once:  # all lanes of a warp take part in its shuffles
            self.valid = e.below(row, rows)
            row = e.select(self.valid, row, e.index(rows - 1), "row")
        self._elements(row)
        if again and (self.group > WARP or self.is_columns):
            e.barrier()  # the next row uses the same shared memory

    def _elements(self, row: Value) -> None:
        """What one group does for its row."""
        e = self.e
        self.enter(row_variables(e, self.schedule.rows, row))
        self.together = True
        self.hoist(roots_of(self.schedule.stores))
        self.together = False
        by_loops: dict[tuple[Var, ...], list[Store]] = {}
        for s in self.schedule.stores:
            inner = tuple(v for v in self.schedule.loops if v in s.vars)
            by_loops.setdefault(inner, []).append(s)
        for loops, stores in by_loops.items():
            self._write(loops, stores)
        self.leave()
        self.together = True

    def _write(self, loops: tuple[Var, ...], stores: list[Store]) -> None:
        """Write the elements of a row that lie along `loops`."""
        e = self.e
        allowed = self.valid
        if not loops and self.group > 1:
            first = e.binary("icmp eq", self.member, e.index(0), "first")
            allowed = first if allowed is None else e.binary("and", first, allowed)
        with _maybe(e, allowed):
            if not loops:
                self.enter()  # what is computed here is known here only
                for s in stores:
                    self.store(s)
                self.leave()
                return
            count = lanes_for(loops[-1], stores) if self.facts.aligned else 1

            def element(carry: list[Value]) -> list[Value]:
                self.hoist(roots_of(stores))
                for s in stores:
                    self.store(s)
                return []

            self._sweep(loops, count, [], element, roots_of(stores), guarded=True)

    # -- the elements of a row -------------------------------------------------------------------

    def _sweep(
        self, loops: Sequence[Var], count: int, carry: list[Value],
        body: Callable[[list[Value]], list[Value]], roots: Sequence[Expr], guarded: bool = False,
    ) -> list[Value]:  # fmt: skip
        """`body(carry)` for the thread's own part of the elements along `loops`, `count` at once.

        Beyond the last element `body` is skipped where `guarded`, else run for the last one again
        and its result dropped.
        """
        e, units = self.e, prod(v.extent for v in loops) // count
        turns = -(-units // self.group)
        if turns > UNROLL or turns * len(walk(list(roots))) > MOST_TEXT * UNROLL:
            with e.loop(self.member, e.index(units), self.group, carry, "at") as loop:
                loop.next(*self._at(loops, count, loop.index, body, loop.carry))
            return loop.result
        for turn in range(turns):
            unit = e.add(self.member, turn * self.group, "unit") if turn else self.member
            if (turn + 1) * self.group <= units:
                carry = self._at(loops, count, unit, body, carry)
                continue
            inside = e.below(unit, units)
            unit = e.select(inside, unit, e.index(units - 1), "unit")  # alike: read once
            if guarded:
                with e.when(inside):
                    self._at(loops, count, unit, body, carry)
                continue
            made = self._at(loops, count, unit, body, carry)
            carry = [e.select(inside, a, b) for a, b in zip(made, carry, strict=True)]
        return carry

    def _at(self, loops, count: int, unit: Value, body, carry: list[Value]) -> list[Value]:
        *outer, last = loops
        e = self.e
        if count == 1:
            self.enter(row_variables(e, tuple(loops), unit))
        else:
            short = Var(last.name, last.extent // count)
            values = row_variables(e, (*outer, short), unit)
            base = e.mul(values.pop(short), count, "base")
            self.enter(values, Lanes(last, count, base, None))
        made = body(carry)
        self.leave()
        return made

    # -- reductions ------------------------------------------------------------------------------

    def reduce(self, expr: Reduce) -> Value:
        if not self.together or self.group == 1:
            return super().reduce(expr)
        with self._apart():
            self.together = True
            self.hoist([expr.body])
            self.together = False
            count = self._width(expr.loops[-1], expr.body)
            start = self._identity(expr, count if count > 1 else 0)
            total = self._sweep(expr.loops, count, [start], self._fold([expr]), [expr.body])[0]
        if count > 1:
            total = self._across(expr, total)
        return self._combine([total], lambda a, b: [self.combine(expr, a[0], b[0])])[0]

    def arg_reduce(self, expr: ArgReduce) -> Value:
        if not self.together or self.group == 1:
            return super().arg_reduce(expr)
        with self._apart():
            self.together = True
            self.hoist([expr.body])
            self.together = False
            start = self._start(expr, 0, self.e.index(0))

            def better(carry: list[Value]) -> list[Value]:
                turn = self.scope.variable(expr.loop)
                return self._keep(expr, carry, [self.value(expr.body), turn])

            # a thread's first turn comes before those of later members where nothing is larger
            start[1] = self.e.index(expr.loop.extent)
            carry = self._sweep([expr.loop], 1, start, better, [expr.body])
        turn = self._combine(carry, lambda a, b: self._earlier(expr, a, b))[1]
        beyond = self.e.binary("icmp eq", turn, self.e.index(expr.loop.extent))
        turn = self.e.select(beyond, self.e.index(0), turn, "turn")
        return self._position(expr, self._int64(turn))

    def _earlier(self, expr: ArgReduce, a: list[Value], b: list[Value]) -> list[Value]:
        """The larger of two candidates, the first of equal ones."""
        e = self.e
        wins, loses = self._larger(expr, a[0], b[0]), self._larger(expr, b[0], a[0])
        tied = e.binary("xor", e.binary("or", wins, loses), e.const("i1", True))
        earlier = e.binary("and", tied, e.binary("icmp slt", b[1], a[1]))
        wins = e.binary("or", wins, earlier)
        return [e.select(wins, y, x) for x, y in zip(a, b, strict=True)]

    def _width(self, lane: Var, body: Expr) -> int:
        return lanes_for(lane, (), [body]) if self.facts.aligned else 1

    @contextmanager
    def _apart(self):
        """Inside, threads go their own ways: nothing may be shared there."""
        before, self.together = self.together, False
        try:
            yield
        finally:
            self.together = before

    def _combine(self, values: list[Value], combine: Combine) -> list[Value]:
        """The partial results of a group as one, which all its threads get, in a fixed order."""
        if self.is_columns:
            return self._by_halving(values, combine)
        mask = min(self.group, WARP) // 2
        while mask:
            values = combine(values, [self.e.shuffle_xor(v, mask) for v in values])
            mask //= 2
        return self._over_warps(values, combine) if self.group > WARP else values

    def _over_warps(self, values: list[Value], combine: Combine) -> list[Value]:
        """Each warp leaves its result in shared memory; every thread combines them all."""
        e, warps = self.e, self.group // WARP
        arrays = self._arrays(values, warps)
        lane, warp = e.remainder(self.member, WARP), e.quotient(self.member, WARP)
        with e.when(e.binary("icmp eq", lane, e.index(0))):
            for array, value in zip(arrays, values, strict=True):
                self._put(array, warp, value)
        e.barrier()
        total: list[Value] = []
        for k in range(warps):
            pairs = zip(arrays, values, strict=True)
            part = [self._get(array, e.index(k), v.type) for array, v in pairs]
            total = combine(total, part) if total else part
        return total

    def _by_halving(self, values: list[Value], combine: Combine) -> list[Value]:
        e, parts = self.e, self.group
        if parts == 1:
            return values
        arrays = self._arrays(values, parts * COLUMNS)
        mine = e.add(e.mul(self.member, COLUMNS), self.slot, "mine")
        for array, value in zip(arrays, values, strict=True):
            self._put(array, mine, value)
        e.barrier()
        while parts > 1:
            parts //= 2
            with e.when(e.below(self.member, parts)):
                other = e.add(mine, parts * COLUMNS, "other")
                a, b = (
                    [self._get(y, at, v.type) for y, v in zip(arrays, values, strict=True)]
                    for at in (mine, other)
                )
                for array, value in zip(arrays, combine(a, b), strict=True):
                    self._put(array, mine, value)
            e.barrier()
        return [self._get(y, self.slot, v.type) for y, v in zip(arrays, values, strict=True)]

    # -- shared memory ---------------------------------------------------------------------------

    def _arrays(self, values: list[Value], count: int) -> list[Value]:
        """An array of `count` elements for each value, that no other reduction is using."""
        used = sum(n * SIZES[held] for (held, n), _ in self._busy)
        if used + count * sum(SIZES[_held(v.type)] for v in values) > SHARED and self._busy:
            self.e.barrier()  # all have read the results that are there
            self._free, self._busy = [*self._free, *self._busy], []
        return [self._array((_held(v.type), count)) for v in values]

    def _array(self, kind: tuple[str, int]) -> Value:
        found = next((entry for entry in self._free if entry[0] == kind), None)
        if found is not None:
            self._free.remove(found)
        else:
            number = len(self._busy) + len(self._free)
            name = f"{self.kernel.name}_s{number}"
            found = kind, self.e.shared(name, f"[{kind[1]} x {kind[0]}]")
        self._busy.append(found)
        return found[1]

    def _put(self, array: Value, at: Value, value: Value) -> None:
        held = _held(value.type)
        value = value if held == value.type else self.e.convert("zext", value, held)
        self.e.store(value, self.e.element(held, array, at))

    def _get(self, array: Value, at: Value, type: str) -> Value:
        held = _held(type)
        value = self.e.load(held, self.e.element(held, array, at))
        return value if held == type else self.e.convert("trunc", value, type)


def _held(type: str) -> str:
    """How a value lies in shared memory."""
    return "i32" if type == "i1" else type


@contextmanager
def _maybe(e: PtxEmitter, condition: Value | None):
    if condition is None:
        yield
    else:
        with e.when(condition):
            yield


__all__ = ["GroupKernel", "vector_type"]
