"""What it costs threads to meet: the time of an empty barrier at this moment.

It is no constant of a machine. Threads whose CPUs share a cache meet in tens of nanoseconds, others
in hundreds, and a virtual machine may be moved from one state to the other while a program runs; so
a report of times says what a meeting cost beside them.
"""

from __future__ import annotations

import ctypes
import functools
import time

from ..llvm import Emitter, Value, module_text
from .codegen import attributes
from .jit import compile_many, link
from .pool import get_pool, runtime_symbols
from .run_function import ARGUMENTS, head
from .target import Target, host_target

TURNS, TRIES = 500, 5


def meeting_nanoseconds(threads: int) -> float:
    """The time of a barrier of `threads` threads with nothing between, the best of a few rows.

    0.0 for one thread; fewer than asked take part where the system refuses threads.
    """
    if threads <= 1:
        return 0.0
    pool, entry, best = get_pool(), _library(host_target()).address("run"), float("inf")
    turns = ctypes.c_int64(TURNS)
    threads = pool.grow(threads)
    for _ in range(TRIES):
        begin = time.perf_counter_ns()
        pool.run(entry, ctypes.addressof(turns), threads)
        best = min(best, time.perf_counter_ns() - begin)
    return best / TURNS


@functools.cache
def _library(target: Target):
    return link(compile_many([meeting_text(target)], target), runtime_symbols())


def meeting_text(target: Target) -> str:
    """`run` with a row of barriers, as many as its context says."""
    e = Emitter()
    turns = e.load("i64", Value("%context", "ptr"), 8, "turns")
    barrier, threads = (Value(f"%{name}", type) for name, type in reversed(ARGUMENTS[2:]))
    with e.loop(0, turns, hint="turn"):
        e.call_void("nncomp_barrier", barrier, threads)
    e.do("ret void")
    return module_text([e.function(head("run"))], [e], attributes(target))
