"""The `run` function of a program: calls of kernels, shares of work, and barriers.

`run(context, tid, nthreads, barrier)` is called by every thread. The context is a table of
pointers: inputs, outputs, arena. A step's units are shared between the threads, or done by thread 0
when it is too small; barriers stand only where a step touches what another thread wrote or reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Protocol

from nncomp.ir.program import LoopStep, Place, Program, Step, overlap

from ..llvm import Emitter, Value, module_text

Item = Step | LoopStep
ARGUMENTS = (("context", "ptr"), ("tid", "i64"), ("nthreads", "i64"), ("barrier", "ptr"))


class Code(Protocol):
    """What `run` must know of a kernel's code."""

    @property
    def units(self) -> int:
        """Shares of work, numbered from 0."""
        ...

    @property
    def from_middle(self) -> bool:
        """Whether units can be done from the last one down, and threads share rows."""
        ...

    @property
    def is_shared(self) -> bool:
        """Whether threads share the units."""
        ...


class RunWriter:
    """Writes `run`."""

    def __init__(self, program: Program, codes: dict[str, Code]):
        self.e, self.program, self.codes = Emitter(), program, codes
        self.turns: dict[int, Value] = {}
        self.pointers: dict[tuple[str, int], Value] = {}
        # since the last barrier: steps done by all threads, by thread 0, and the latter's calls
        self.shared: list[Step] = []
        self.alone: list[Step] = []
        self.waiting: list[Item] = []

    def text(self, attributes: str) -> str:
        """The module of `run`."""
        return module_text([self.function("run")], [self.e], attributes)

    def text_in_parts(self, attributes: str, parts: Sequence[Sequence[Item]]) -> str:
        """The module of `part_0`, ... that do some of the steps each, and of `run`, which calls
        them; without parts that of `run` alone.
        """
        if not parts:
            return self.text(attributes)
        functions, emitters = [], [self.e]
        for number, steps in enumerate(parts):
            part = RunWriter(replace(self.program, steps=tuple(steps)), self.codes)
            functions.append(part.function(f"part_{number}"))
            emitters.append(part.e)
        arguments = [Value(f"%{name}", type) for name, type in ARGUMENTS]
        for number in range(len(parts)):
            if number:
                self.e.call_void("nncomp_barrier", arguments[3], arguments[2])
            self.e.call_void(f"part_{number}", *arguments)
            del self.e.declarations[f"part_{number}"]  # it is in this module
        self.e.do("ret void")
        return module_text([*functions, self.e.function(head("run"))], emitters, attributes)

    def function(self, name: str) -> str:
        """The function that goes through the steps."""
        table = Value("%context", "ptr")
        touched = {place for step in self.program.steps for place in _bases(step)}
        for slot in range(self.program.inputs + self.program.outputs + 1):
            key = self._slot_key(slot)
            if key in touched:
                address = self.e.gep("ptr", table, slot)
                self.pointers[key] = self.e.load("ptr", address, 8, "base")
        self._items(self.program.steps)
        self._flush()
        self.e.do("ret void")
        return self.e.function(head(name))

    def _slot_key(self, slot: int) -> tuple[str, int]:
        if slot < self.program.inputs:
            return ("in", slot)
        slot -= self.program.inputs
        return ("out", slot) if slot < self.program.outputs else ("arena", 0)

    # -- which threads do what -----------------------------------------------------------------

    def _items(self, items: Sequence[Item]) -> None:
        for item in items:
            if not self._is_shared(item):
                self._one_thread(item)
            elif isinstance(item, LoopStep):
                self._shared_loop(item)
            else:
                self._all_threads(item)

    def _is_shared(self, item: Item) -> bool:
        if isinstance(item, LoopStep):
            return any(map(self._is_shared, item.steps))
        code = self.codes[item.kernel.name]
        return code.is_shared or (code.units > 1 and self._completes_shared(item))

    def _completes_shared(self, step: Step) -> bool:
        """Whether the step writes more of a result that all threads are writing: no one waits."""
        return step.part_of > 0 and any(s.part_of == step.part_of for s in self.shared)

    def _one_thread(self, item: Item) -> None:
        steps = _steps_of(item)
        if any(_conflict(before, step) for before in self.shared for step in steps):
            self._barrier()
        self.alone.extend(steps)
        self.waiting.append(item)

    def _all_threads(self, step: Step) -> None:
        if any(_conflict(before, step) for before in (*self.shared, *self.alone)):
            self._barrier()
        self.shared.append(step)
        e, tid, n = self.e, Value("%tid", "i64"), Value("%nthreads", "i64")
        units = e.const("i64", self.codes[step.kernel.name].units)
        begin = e.binary("udiv", e.binary("mul", units, tid), n, "begin")
        following = e.binary("add", tid, e.const("i64", 1))
        end = e.binary("udiv", e.binary("mul", units, following), n, "end")
        if self.codes[step.kernel.name].from_middle:
            begin, end = self._from_middle(begin, end)
        self._call(step, *((end, begin) if step.backwards else (begin, end)))

    def _from_middle(self, begin: Value, end: Value) -> tuple[Value, Value]:
        """The first half of the threads walks down: CPUs fetch ahead of a walk, beyond its end
        too, and of two threads that go the same way one would fetch what the other one writes.
        """
        e = self.e
        half = e.binary("lshr", Value("%nthreads", "i64"), Value("1", "i64"), "half")
        lower = e.binary("icmp ult", Value("%tid", "i64"), half, "lower")
        return e.select(lower, end, begin), e.select(lower, begin, end)

    def _shared_loop(self, loop: LoopStep) -> None:
        self._barrier()
        with self._turns(loop):
            self._items(loop.steps)
            self._barrier()

    def _barrier(self) -> None:
        if self.shared or self.alone:
            self._flush()
            barrier, n = Value("%barrier", "ptr"), Value("%nthreads", "i64")
            self.e.call_void("nncomp_barrier", barrier, n)
        self.shared, self.alone = [], []

    def _flush(self) -> None:
        """Write what thread 0 does alone."""
        waiting, self.waiting = self.waiting, []
        if waiting:
            first = self.e.binary("icmp eq", Value("%tid", "i64"), Value("0", "i64"), "first")
            with self.e.when(first):
                for item in waiting:
                    self._whole(item)

    def _whole(self, item: Item) -> None:
        """All units of a step, all turns of a loop."""
        if isinstance(item, LoopStep):
            with self._turns(item):
                for inner in item.steps:
                    self._whole(inner)
        elif units := self.codes[item.kernel.name].units:
            self._call(item, Value("0", "i64"), self.e.const("i64", units))

    # -- calls ---------------------------------------------------------------------------------

    @contextmanager
    def _turns(self, loop: LoopStep) -> Iterator[None]:
        with self.e.loop(0, loop.length, hint="turn") as counted:
            turn = counted.index
            if loop.reverse:
                last = self.e.const("i64", loop.length - 1)
                turn = self.e.binary("sub", last, turn, "turn")
            self.turns[loop.number] = turn
            yield

    def _call(self, step: Step, begin: Value, end: Value) -> None:
        pointers = [self._pointer(p) for p in step.places]
        self.e.call_void(step.kernel.name, *pointers, begin, end)

    def _pointer(self, place: Place) -> Value:
        pointer = self.pointers[(place.base, place.index)]
        if place.offset:
            pointer = self.e.gep("i8", pointer, place.offset)
        for number, stride in place.strides:
            moved = self.e.binary("mul", self.turns[number], self.e.const("i64", stride))
            pointer = self.e.gep("i8", pointer, moved)
        return pointer


def head(name: str) -> str:
    return f"void @{name}({', '.join(f'{type} %{argument}' for argument, type in ARGUMENTS)})"


def _steps_of(item: Item) -> list[Step]:
    return [s for x in item.steps for s in _steps_of(x)] if isinstance(item, LoopStep) else [item]


def _bases(item: Item) -> set[tuple[str, int]]:
    """The entries of the table that the steps of an item use."""
    if isinstance(item, LoopStep):
        return {base for step in item.steps for base in _bases(step)}
    return {(place.base, place.index) for place in item.places}


def _conflict(before: Step, after: Step) -> bool:
    """Whether `after` touches what `before` wrote, or writes what it read."""
    if before.part_of and before.part_of == after.part_of:
        return False
    pairs = [(w, x) for w in before.writes for x in (*after.reads, *after.writes)]
    pairs += [(r, w) for r in before.reads for w in after.writes]
    return any(overlap(a, b) for a, b in pairs)
