"""Timing of calls, in nanoseconds.

A sample is the mean of `inner` calls in a row, so that the clock itself does not count for calls of
a few microseconds. The garbage collector waits outside of the timed part, for all engines alike.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Call = Callable[[], Any]


@contextmanager
def quiet_collector():
    """No garbage collection inside of the block."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def estimate(call: Call, seconds: float) -> float:
    """Warm up for `seconds`, at least 2 calls; the best time of a call in ns."""
    clock = time.perf_counter_ns
    best, end, calls = float("inf"), clock() + seconds * 1e9, 0
    while calls < 2 or clock() < end:
        start = clock()
        call()
        best = min(best, clock() - start)
        calls += 1
    return best


def burst(call: Call, warm: int, count: int, inner: int) -> list[float]:
    """`warm` calls that do not count, then `count` samples of `inner` calls; ns per call."""
    clock = time.perf_counter_ns
    samples = []
    with quiet_collector():
        for _ in range(warm):
            call()
        for _ in range(count):
            start = clock()
            for _ in range(inner):
                call()
            samples.append((clock() - start) / inner)
    return samples


def peak_megabytes() -> float | None:
    """The most memory this process had at once, in MB (10**6 bytes); None where unknown.

    Linux's getrusage counts the process this one was forked from as well, so VmHWM goes first.
    """
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    except OSError:
        pass
    try:
        import resource
    except ImportError:  # Windows
        return None
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6
