"""The `run` function of a program with a clock around every kernel, and runs of it.

The kernels are the very objects that production runs; only the code between them is another one:
all threads meet before each step, and each adds the time of its share to a row of counters. A
step took as long as its slowest thread, and the others waited for it. Steps in loops add up over
the turns.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from nncomp.ir.program import LoopStep, Program, Step

from ..llvm import Value
from .codegen import attributes
from .jit import compile_many, link
from .meeting import meeting_nanoseconds
from .pool import get_pool, runtime_symbols
from .run_function import Item, RunWriter
from .target import Target, host_target
from .threads import get_num_threads

LINE = 8  # counters of a thread begin on a cache line of their own (64 bytes)
SECONDS, FEWEST, MOST = 1.0, 10, 500  # of a profile whose number of runs was not asked for
CALIBRATION = 0.02  # seconds, at least, between two looks at both clocks


@dataclass(frozen=True)
class StepTimes:
    """Milliseconds of one step in each run, all turns of its loops together."""

    step: Step
    turns: int
    loops: tuple[int, ...]  # numbers of the loops around it
    threads: int
    runs: tuple[float, ...]
    waits: tuple[float, ...]  # how long a thread that shared it waited for the slowest, on average


@dataclass(frozen=True)
class Timing:
    """The steps in program order, and the times of whole calls in production.

    `meetings` are nanoseconds of an empty barrier, before the runs and after them.
    """

    steps: tuple[StepTimes, ...]
    calls: tuple[float, ...]
    threads: int
    meetings: tuple[float, float]


class TimedRunWriter(RunWriter):
    """Writes `run` with counters: the slot behind the arena's points to them."""

    def __init__(self, program: Program, codes: dict, target: Target):
        super().__init__(program, codes)
        self.slot = program.inputs + program.outputs + 1
        self.numbers = {id(step): i for i, (step, *_) in enumerate(flat_steps(program.steps))}
        self.row = -(-max(len(self.numbers), 1) // LINE) * LINE
        self.clock = clock_text(target)
        self.together: set[int] = set()  # numbers of the steps that all threads share

    def text(self, attributes: str) -> str:
        return super().text(attributes) + "\n" + self.clock

    def _one_thread(self, item: Item) -> None:
        if self.shared:
            self._barrier()
        super()._one_thread(item)

    def _all_threads(self, step: Step) -> None:
        self._barrier()
        self.together.add(self.numbers[id(step)])
        super()._all_threads(step)

    def _call(self, step: Step, begin: Value, end: Value) -> None:
        e = self.e
        table = e.load("ptr", e.gep("ptr", Value("%context", "ptr"), self.slot), 8, "counters")
        row = e.binary("mul", Value("%tid", "i64"), e.const("i64", self.row))
        at = e.binary("add", row, e.const("i64", self.numbers[id(step)]))
        counter = e.gep("i64", table, at)
        before = e.emit("i64", "call i64 @nncomp_now()", "before")
        super()._call(step, begin, end)
        after = e.emit("i64", "call i64 @nncomp_now()", "after")
        spent = e.binary("sub", after, before)
        e.store(e.binary("add", e.load("i64", counter, 8), spent), counter, 8)


def clock_text(target: Target) -> str:
    """`nncomp_now()`: a count that rises evenly; RuntimeError where the machine offers none.

    On x86 the cycle counter, with fences so that the kernel before is done and the one behind has
    not begun; elsewhere the system's monotonic clock.
    """
    if target.arch in ("x86_64", "i686"):
        return (
            "declare i64 @llvm.readcyclecounter()\ndeclare void @llvm.x86.sse2.lfence()\n"
            "define i64 @nncomp_now() nounwind noinline {\n"
            "  call void @llvm.x86.sse2.lfence()\n"
            "  %now = call i64 @llvm.readcyclecounter()\n"
            "  call void @llvm.x86.sse2.lfence()\n  ret i64 %now\n}\n"
        )
    if "windows" in target.triple:
        raise RuntimeError(f"profile() knows no clock for {target.triple}")
    kind = 6 if "apple" in target.triple or "darwin" in target.triple else 1  # CLOCK_MONOTONIC
    return (
        "declare i32 @clock_gettime(i32, ptr)\n"
        "define i64 @nncomp_now() nounwind noinline {\n"
        "  %time = alloca [2 x i64], align 8\n"
        f"  %failed = call i32 @clock_gettime(i32 {kind}, ptr %time)\n"
        "  %seconds = load i64, ptr %time, align 8\n"
        "  %rest = getelementptr i64, ptr %time, i64 1\n"
        "  %nanos = load i64, ptr %rest, align 8\n"
        "  %scaled = mul i64 %seconds, 1000000000\n"
        "  %now = add i64 %scaled, %nanos\n  ret i64 %now\n}\n"
    )


def flat_steps(items: Sequence[Item], turns: int = 1, loops: tuple[int, ...] = ()):
    """(step, how often it runs, loops around it) in program order."""
    for item in items:
        if isinstance(item, LoopStep):
            yield from flat_steps(item.steps, turns * item.length, (*loops, item.number))
        else:
            yield item, turns, loops


class TimedProgram:
    """A runner's program with clocks, on memory of its own."""

    def __init__(self, runner: Any, arrays: Sequence[np.ndarray], threads: int):
        program, target = runner.program, host_target()
        writer = TimedRunWriter(program, runner.codes, target)
        text = writer.text(attributes(target))
        kernels = runner.executable.library
        known = {k.name: kernels.address(k.name) for k in program.kernels()}
        objects = compile_many([text], target)
        self.library = link(objects, {**runtime_symbols(), **known}, keep=kernels)
        self.entry, self.threads, self.row = self.library.address("run"), threads, writer.row
        self.together = writer.together
        now = ctypes.CFUNCTYPE(ctypes.c_int64)(self.library.address("nncomp_now"))
        self.now = lambda: (now(), time.perf_counter_ns())
        outputs = zip(runner.fused_graph.outputs, runner.fused_graph.output_names, strict=True)
        types = [node.type for node, name in outputs]
        results = [np.empty(t.shape, t.dtype.numpy) for t in types]
        self.counters = _aligned(threads * self.row * 8).view(np.int64)
        held = [*arrays, *results, _aligned(program.arena), self.counters]
        self.held = held  # the table has their bare addresses
        self.table = (ctypes.c_void_p * len(held))(*(a.ctypes.data for a in held))

    def run(self) -> np.ndarray:
        """Ticks of one run, by thread and step."""
        self.counters[:] = 0
        get_pool().run(self.entry, ctypes.addressof(self.table), self.threads)
        return self.counters.reshape(self.threads, self.row).copy()


def _aligned(size: int) -> np.ndarray:
    memory = np.zeros(size + 64, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + size]


def time_steps(
    runner: Any,
    arrays: Sequence[np.ndarray],
    prepared: Sequence[np.ndarray] = (),
    threads: int | None = None,
    repeat: int | None = None,
) -> Timing:
    """Run a compiled graph `repeat` times with clocks and as often without, in turn.

    `arrays` are written where the graph updates inputs. Without `repeat`, as often as fits a
    second, within limits.
    """
    is_parallel = any(code.is_shared for code in runner.codes.values())
    wanted = (threads or get_num_threads()) if is_parallel else 1
    count = min(get_pool().grow(wanted), wanted)
    program = TimedProgram(runner, [*arrays, *prepared], count)
    first = program.now()
    repeat = repeat or _repeats(runner, program, arrays, prepared, count)
    ticks, waits, calls = [], [], []
    before = meeting_nanoseconds(count)
    for _ in range(repeat):
        begin = time.perf_counter_ns()
        runner(arrays, prepared, count)
        calls.append((time.perf_counter_ns() - begin) / 1e6)
        spent = program.run()
        ticks.append(spent.max(0))
        waits.append(spent.max(0) - spent.mean(0))
    meetings = before, meeting_nanoseconds(count)
    per_tick = _milliseconds_per_tick(program, first)
    times, idle = (np.array(x, np.float64) * per_tick for x in (ticks, waits))
    steps = []
    for i, (step, turns, loops) in enumerate(flat_steps(runner.program.steps)):
        sharing = count if i in program.together else 1
        waited = idle[:, i] if sharing > 1 else np.zeros(repeat)
        runs = tuple(times[:, i].tolist())
        steps.append(StepTimes(step, turns, loops, sharing, runs, tuple(waited.tolist())))
    return Timing(tuple(steps), tuple(calls), count, meetings)


def _repeats(runner: Any, program: TimedProgram, arrays, prepared, threads: int) -> int:
    """How many runs fit; these first ones also warm the caches and wake the workers."""
    for _ in range(2):
        begin = time.perf_counter()
        runner(arrays, prepared, threads)
        program.run()
        spent = time.perf_counter() - begin
    return int(min(max(SECONDS / max(spent, 1e-9), FEWEST), MOST))


def _milliseconds_per_tick(program: TimedProgram, first: tuple[int, int]) -> float:
    while True:
        ticks, nanoseconds = program.now()
        if nanoseconds - first[1] >= CALIBRATION * 1e9:
            return (nanoseconds - first[1]) / 1e6 / max(ticks - first[0], 1)
        time.sleep(CALIBRATION / 4)
