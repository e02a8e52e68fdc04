"""The roof of this machine, measured: multiply-adds and streamed bytes per second.

Streams are read from data that fit the second-level cache, the third, and memory. On several
threads each reads its own part, so private caches add up. All figures are the best of some runs.
"""

from __future__ import annotations

import ctypes
import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..llvm import Emitter, Value, module_text, vector_type
from .ceiling import TURNS, probe_text
from .codegen import attributes
from .jit import compile_to_object, link
from .pool import get_pool, runtime_symbols
from .target import Target, host_target
from .threads import allowed_cpus

REPEATS = 12
STREAMS = 8  # vectors read in one turn of the loop
SAMPLE = 32 << 20  # bytes of one measurement, where the data are smaller
WINDOW = 16 << 20  # bytes of one measurement, where they are larger
SMALLEST, LARGEST = 64 << 20, 512 << 20  # bytes that stand for memory
USUAL = {2: 512 << 10, 3: 8 << 20}  # cache sizes where the system does not tell them


@dataclass(frozen=True)
class Level:
    """A part of the memory: what fits it, and how fast it can be read."""

    name: str
    capacity: float  # bytes; infinite for memory
    gigabytes: float  # per second


@dataclass(frozen=True)
class Roof:
    """What `threads` threads reach at most: GFLOP/s in float32, and levels, nearest first."""

    threads: int
    gflops: float
    levels: tuple[Level, ...]

    def level(self, distance: float) -> Level:
        """The nearest level that still holds data after `distance` other bytes were touched."""
        return next(x for x in self.levels if distance <= x.capacity)


@functools.lru_cache(maxsize=16)
def roof(threads: int = 1, target: Target | None = None) -> Roof:
    """Measure the roof for a number of threads, once per process."""
    target = target or host_target()
    levels, inner = [], 0
    for name, size in cache_levels(threads):
        part = size // 4 if size > 12 * inner else size // 2
        levels.append(Level(name, float(size), stream(threads, part, target)))
        inner = size
    memory = min(max(4 * inner, SMALLEST), LARGEST)
    levels.append(Level("DRAM", float("inf"), stream(threads, memory, target)))
    return Roof(threads, multiply_adds(threads, target), tuple(levels))


def multiply_adds(threads: int, target: Target) -> float:
    """Peak of several threads in GFLOP/s (float32, two operations per multiply-add)."""
    accumulators = 24 if target.vector_registers >= 32 else 12
    e = Emitter()
    sink = e.gep("i8", Value("%context", "ptr"), e.binary("mul", _TID, e.const("i64", 256)))
    e.call_void("probe", sink, e.const("i64", TURNS))
    e.do("ret void")
    text = module_text([e.function(_HEAD)], [e], attributes(target))
    objects = [compile_to_object(probe_text(target, accumulators), target)]
    library = link([*objects, compile_to_object(text, target)])
    memory = np.zeros(threads * 64, np.float32)
    pool, entry = get_pool(), library.address("measure")
    best = _best(lambda: pool.run(entry, memory.ctypes.data, threads))
    return 2.0 * (target.vector_bits // 32) * accumulators * TURNS * threads / best / 1e9


def stream(threads: int, size: int, target: Target) -> float:
    """Bytes read per nanosecond from `size` bytes that are shared out between threads.

    Each sample reads one window of a large `size` and the next sample the next one, so that a
    sample is shorter than the turns that the system gives to other processes.
    """
    chunk = STREAMS * target.vector_bits // 8
    part = max(min(size, WINDOW) // threads // chunk, 1) * chunk
    turns = max(SAMPLE // size, 1)
    library = link([compile_to_object(stream_text(target, part, turns), target)], runtime_symbols())
    window = part * threads
    data = np.ones(max(size, window) // 4 + 64, np.float32)  # written, so that it is really there
    sinks = np.zeros(threads * 64, np.float32)
    table = (ctypes.c_void_p * 2)(data.ctypes.data, sinks.ctypes.data)
    pool, entry = get_pool(), library.address("measure")
    count, best = max(size // window, 1), float("inf")
    for i in range(max(REPEATS, 3 * count)):
        table[0] = data.ctypes.data + i % count * window
        begin = time.perf_counter()
        pool.run(entry, ctypes.addressof(table), threads)
        best = min(best, time.perf_counter() - begin)
    return window * turns / best / 1e9


_TID = Value("%tid", "i64")
_HEAD = "void @measure(ptr %context, i64 %tid, i64 %nthreads, ptr %barrier)"


def stream_text(target: Target, part: int, turns: int) -> str:
    """Every thread adds up its own `part` bytes, `turns` times."""
    e, lanes = Emitter(), target.vector_bits // 32
    type, width = vector_type("float", target.vector_bits // 32), target.vector_bits // 8
    context = Value("%context", "ptr")
    data = e.load("ptr", context, 8)
    start = e.gep("i8", data, e.binary("mul", _TID, e.const("i64", part)))
    sums = [e.splat(e.const("float", 0.0), lanes) for _ in range(STREAMS)]
    with e.loop(0, turns, carry=sums) as again:
        with e.loop(0, part, STREAMS * width, carry=list(again.carry)) as loop:
            at = e.gep("i8", start, loop.index)
            values = [e.load(type, e.gep("i8", at, i * width), 4) for i in range(STREAMS)]
            pairs = zip(loop.carry, values, strict=True)
            loop.next(*(e.binary("fadd", x, y) for x, y in pairs))
        again.next(*loop.result)
    total = functools.reduce(lambda x, y: e.binary("fadd", x, y), again.result)
    sink = e.load("ptr", e.gep("ptr", context, 1), 8)
    e.store(total, e.gep("i8", sink, e.binary("mul", _TID, e.const("i64", 256))), 4)
    e.do("ret void")
    return module_text([e.function(_HEAD)], [e], attributes(target))


def _best(run: Callable[[], None]) -> float:
    """Seconds of the fastest of some runs."""
    best = float("inf")
    for _ in range(REPEATS):
        begin = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - begin)
    return best


def cache_levels(threads: int, root: Path = Path("/sys/devices/system/cpu")) -> list:
    """(name, bytes) of the second and third level that `threads` cores have together."""
    found: dict[int, dict[str, int]] = {}
    for cpu in allowed_cpus():
        for folder in sorted((root / f"cpu{cpu}" / "cache").glob("index*")):
            try:
                level, kind, size, shared = (
                    (folder / name).read_text().strip()
                    for name in ("level", "type", "size", "shared_cpu_list")
                )
                if kind in ("Unified", "Data"):
                    found.setdefault(int(level), {})[shared] = _bytes(size)
            except (OSError, ValueError):
                continue
    sizes = []
    for level in (2, 3):
        parts = found.get(level, {})
        size = max(parts.values(), default=0 if found else USUAL[level])
        if size:
            sizes.append((f"L{level}", size * min(threads, max(len(parts), 1))))
    return sizes


def _bytes(text: str) -> int:
    units = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
    return int(text[:-1]) * units[text[-1]] if text[-1] in units else int(text)
