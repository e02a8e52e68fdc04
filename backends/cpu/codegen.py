"""Program -> LLVM modules: one per kernel, and one `run` function that goes through the steps.

`run(context, tid, nthreads, barrier)` is called by every thread. The context is a table of
pointers: inputs, outputs, arena. A step's units are shared between the threads, or done by thread 0
when it is too small; barriers stand only where a step touches what an earlier one wrote.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import prod

from nncomp.ir.loops import Accumulator, Call, Kernel, Reduce, roots_of, walk
from nncomp.ir.program import LoopStep, Place, Program, Step

from ..llvm import Emitter, Value, module_text
from ..map_kernel import MapKernel, make_schedule
from ..scatter_kernel import ScatterKernel
from ..transpose_kernel import TransposeKernel, make_tile_schedule
from .contract_kernel import ContractKernel, contraction_of, plan_of
from .target import Target

PARALLEL_NS = 6000.0  # a step shorter than this stays on one thread: waking and joining cost more
COSTLY = {
    "exp": 4,
    "log": 6,
    "tanh": 5,
    "erf": 5,
    "sigmoid": 5,
    "pow": 30,
    "threefry": 25,
    "div": 2,
}


@dataclass(frozen=True)
class Code:
    """LLVM text of a kernel, its units of work and its estimated time on one thread."""

    text: str
    units: int
    nanoseconds: float

    @property
    def is_shared(self) -> bool:
        """Whether threads share the units; small steps stay on one."""
        return self.nanoseconds >= PARALLEL_NS and self.units > 1


def signature(kernel: Kernel) -> str:
    params = ", ".join(f"ptr %b{b.slot}" for b in kernel.buffers)
    return f"void @{kernel.name}({params}{', ' if params else ''}i64 %begin, i64 %end)"


@lru_cache(maxsize=2048)
def kernel_code(kernel: Kernel, target: Target) -> Code:
    """Generate one kernel for a CPU."""
    e = Emitter()
    width = target.vector_bits // 32
    if kernel.kind == "contract":
        plan = plan_of(kernel, target)
        ContractKernel(e, kernel, plan, width, target.fma).write()
        units = plan.units
        spec = contraction_of(kernel.extra)
        work = spec.rows * spec.n * spec.depth * prod(d.extent for d in spec.batch)
        time = work / (target.vector_bits / 32) * 0.3
    elif kernel.kind == "scatter":
        ScatterKernel(e, kernel, width, target.fma).write()
        units = kernel.extra.line.extent
        time = (units + kernel.extra.entry.extent) * 2.0 * _extent(kernel.domain)
    elif tiles := make_tile_schedule(kernel, width):
        TransposeKernel(e, kernel, tiles, width, target.fma).write()
        units, time = tiles.units, _extent(kernel.domain) * 0.3
    else:
        schedule = make_schedule(kernel)
        MapKernel(e, kernel, schedule, width, target.fma).write()
        units, time = schedule.units, _map_time(kernel, schedule, width)
    e.do("ret void")
    return Code(module_text([e.function(signature(kernel))], [e], attributes(target)), units, time)


def attributes(target: Target) -> str:
    wide = ' "prefer-vector-width"="512" "min-legal-vector-width"="512"'
    return "nounwind" + (wide if target.vector_bits == 512 else "")


def _extent(loops) -> int:
    return prod(v.extent for v in loops)


def _map_time(kernel: Kernel, schedule, width: int) -> float:
    """A rough estimate: vector operations at half a nanosecond, more for transcendentals."""
    total = 0.0
    whole = _extent(kernel.domain)
    for x in walk(roots_of(kernel.stores)):
        if isinstance(x, Accumulator):
            continue
        turns = _extent(v for v in x.vars)
        if isinstance(x, Reduce):
            turns = max(turns, 1) * _extent(x.loops)
        weight = COSTLY.get(x.name, 1) if isinstance(x, Call) else 1
        total += min(turns, whole * 4096) * weight
    lanes = width if schedule.lane is not None or whole < 64 else 4
    return total * 0.5 / lanes


# -- the run function ------------------------------------------------------------------------------


class RunWriter:
    """Writes `run`: calls, shares of work, and the barriers between them."""

    def __init__(self, program: Program, codes: dict[str, Code]):
        self.e, self.program, self.codes = Emitter(), program, codes
        self.turns: dict[int, Value] = {}
        self.pending: list[tuple[Step, bool]] = []  # steps since the last barrier; True: shared
        self.pointers: dict[tuple[str, int], Value] = {}

    def text(self, attributes: str) -> str:
        table = Value("%context", "ptr")
        for slot in range(self.program.inputs + self.program.outputs + 1):
            key = self._slot_key(slot)
            address = self.e.gep("ptr", table, slot)
            self.pointers[key] = self.e.load("ptr", address, 8, "base")
        self._steps(self.program.steps)
        self.e.do("ret void")
        head = "void @run(ptr %context, i64 %tid, i64 %nthreads, ptr %barrier)"
        return module_text([self.e.function(head)], [self.e], attributes)

    def _slot_key(self, slot: int) -> tuple[str, int]:
        if slot < self.program.inputs:
            return ("in", slot)
        slot -= self.program.inputs
        return ("out", slot) if slot < self.program.outputs else ("arena", 0)

    def _steps(self, steps) -> None:
        for step in steps:
            if isinstance(step, LoopStep):
                self._loop(step)
            else:
                self._step(step)

    def _loop(self, loop: LoopStep) -> None:
        self._barrier()
        with self.e.loop(0, loop.length, hint="turn") as turn:
            t = turn.index
            if loop.reverse:
                t = self.e.binary("sub", self.e.const("i64", loop.length - 1), t, "turn")
            self.turns[loop.number] = t
            self._steps(loop.steps)
            self._barrier()

    def _step(self, step: Step) -> None:
        code = self.codes[step.kernel.name]
        if not code.units:
            return
        shared = code.is_shared
        if any((shared or other) and _conflict(before, step) for before, other in self.pending):
            self._barrier()
        self.pending.append((step, shared))
        e = self.e
        if shared:
            units, n = e.const("i64", code.units), Value("%nthreads", "i64")
            tid = Value("%tid", "i64")
            begin = e.binary("udiv", e.binary("mul", units, tid), n, "begin")
            following = e.binary("add", tid, e.const("i64", 1))
            end = e.binary("udiv", e.binary("mul", units, following), n, "end")
            self._call(step, begin, end)
        else:
            first = e.binary("icmp eq", Value("%tid", "i64"), Value("0", "i64"), "first")
            with e.when(first):
                self._call(step, Value("0", "i64"), e.const("i64", code.units))

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

    def _barrier(self) -> None:
        if self.pending:
            barrier, n = Value("%barrier", "ptr"), Value("%nthreads", "i64")
            self.e.call_void("nncomp_barrier", barrier, n)
        self.pending = []


def _conflict(before: Step, after: Step) -> bool:
    """Whether `after` touches what `before` wrote, or writes what it read."""
    if before.part_of and before.part_of == after.part_of:
        return False
    pairs = [(w, x) for w in before.writes for x in (*after.reads, *after.writes)]
    pairs += [(r, w) for r in before.reads for w in after.writes]
    return any(_overlap(a, b) for a, b in pairs)


def _overlap(a: tuple[Place, int], b: tuple[Place, int]) -> bool:
    (p, n), (q, m) = a, b
    if (p.base, p.index) != (q.base, q.index):
        return False
    if p.strides or q.strides:
        return True
    return p.offset < q.offset + m and q.offset < p.offset + n


def program_modules(program: Program, target: Target) -> tuple[list[str], dict[str, Code]]:
    """The LLVM modules of a program (kernels, then `run`) and the code of each kernel by name."""
    codes = {k.name: kernel_code(k, target) for k in program.kernels()}
    run = RunWriter(program, codes).text(attributes(target))
    return [*(c.text for c in codes.values()), run], codes
