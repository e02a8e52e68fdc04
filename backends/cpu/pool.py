"""The thread pool: native threads that run compiled programs without Python.

A program's entry point is `void run(ptr context, i64 tid, i64 nthreads, ptr barrier)`. The caller
is thread 0; workers spin for a while after a run (`NNCOMP_SPIN_US`) and then sleep. `run` must work
with any `nthreads` it is given: where the pool is busy (a nested call, or one from another Python
thread) the caller runs it alone. During a run denormals count as zero and rounding is to nearest,
on every thread alike. Workers are bound to CPUs of their own on Linux unless `NNCOMP_PIN=0`.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import signal
import threading
import time
import warnings
from pathlib import Path

from nncomp.backends.cpu.jit import Library, compile_many, link
from nncomp.backends.cpu.pool_ir import BARRIER_BYTES, POOL, SLOT, SLOT_BYTES, pool_text
from nncomp.backends.cpu.target import host_target, is_linux, is_posix
from nncomp.backends.cpu.threads import MAX_THREADS, allowed_cpus, usable_cpus

__all__ = ["BARRIER_BYTES", "DEFAULT_SPIN_US", "Pool", "get_pool", "pool_text", "runtime_symbols"]

DEFAULT_SPIN_US = 200.0
_LONGEST_SPIN_US = 1e6
_EXPORTED = ("nncomp_parallel", "nncomp_barrier", "nncomp_spin")

_pool: Pool | None = None
_lock = threading.Lock()


class Pool:
    """Workers that are started when a run first asks for them. Use `get_pool()`."""

    def __init__(self, spin_us: float | None = None, pin: bool | None = None):
        symbols = runtime_symbols()
        target = host_target()
        spin_us = _env_spin_us() if spin_us is None else spin_us
        self.pin = (_env_pin() if pin is None else pin) and is_linux(target)
        self.address: int | None = None  # of the pool's memory, for native callers
        self.parallel_address = symbols["nncomp_parallel"]
        self._ready = 1  # threads, the caller's included
        self._limit = 1
        self._growing = threading.Lock()
        if is_posix(target):
            new = ctypes.CFUNCTYPE(ctypes.c_void_p, *[ctypes.c_int64] * 3)(_address("_pool_new"))
            turns = int(spin_us * 1000.0 / _pause_ns())
            self.address = new(MAX_THREADS, turns, usable_cpus())
            self._limit = MAX_THREADS if self.address else 1
            self._start = _START(_address("_pool_start"))
        self._parallel = _PARALLEL(self.parallel_address)

    def run(self, run_address: int, context_pointer: int | None, nthreads: int) -> None:
        """Call `run(context, tid, n, barrier)` on n <= `nthreads` threads and wait for all.

        Python's global lock is released meanwhile. Raises ValueError for a null `run_address`.
        """
        if not run_address:
            raise ValueError("Pool.run got a null function address; pass Library.address(symbol)")
        if nthreads > self._ready:
            nthreads = self.grow(nthreads)
        self._parallel(self.address, run_address, context_pointer, nthreads)

    def grow(self, nthreads: int) -> int:
        """Start workers until `nthreads` threads can run; returns how many can, caller included.

        Fewer than asked where the system refuses more threads (with one warning).
        """
        with self._growing:
            wanted = min(nthreads, self._limit)
            if wanted > self._ready:
                cpus = self._spare_cpus() if self.pin else []
                with _signals_blocked():
                    while self._ready < wanted:
                        error = self._start(self.address, cpus.pop(0) if cpus else -1)
                        if error:
                            self._limit = self._ready
                            _warn_refused(error, self._ready)
                            break
                        self._ready += 1
            return self._ready

    def worker_cpus(self) -> list[int]:
        """The CPU that each worker is bound to, -1 for one that is not."""
        first = (self.address or 0) + POOL["slots"] + SLOT["cpu"]
        slots = range(first, first + (self._ready - 1) * SLOT_BYTES, SLOT_BYTES)
        return [ctypes.c_int32.from_address(at).value for at in slots]

    def _spare_cpus(self) -> list[int]:
        """CPUs for new workers: not the caller's, not another worker's, other cores first."""
        home, taken = _current_cpu(), set(self.worker_cpus())
        if home < 0:
            return []
        if home not in taken:  # from here on, native code keeps workers off the caller's CPU
            ctypes.c_int32.from_address(self.address + POOL["home"]).value = home
        return [cpu for cpu in spread(allowed_cpus(), home) if cpu not in taken]


_PARALLEL = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 3, ctypes.c_int64)
_START = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int)


def get_pool() -> Pool:
    """The process's pool, made on first use; a forked child makes its own."""
    global _pool
    if _pool is None:
        with _lock:
            if _pool is None:
                _pool = Pool()
    return _pool


def runtime_symbols() -> dict[str, int]:
    """Addresses of the functions that programs may call, to be given to `link` as imports."""
    library = _library(host_target())
    return {name: library.address(name) for name in _EXPORTED}


def spread(cpus: list[int], home: int, siblings=None) -> list[int]:
    """`cpus` without `home`, in the order workers should take them.

    The next cores after home's come first, one CPU of each; then the hardware threads that share a
    core with one already taken, and the caller's own core last. Starting after `home` keeps
    several processes on one machine from all choosing the same CPUs.
    """
    siblings = siblings or _siblings
    cores: dict[int, list[int]] = {}
    for cpu in cpus:
        cores.setdefault(min(siblings(cpu)), []).append(cpu)
    own = min(siblings(home))
    order = sorted(cores, key=lambda core: (core == own, core < own, core))
    depth = max(map(len, cores.values()), default=0)
    others = [c for c in order if c != own]
    ranked = [cores[core][k] for k in range(depth) for core in others if k < len(cores[core])]
    return ranked + [cpu for cpu in cores.get(own, []) if cpu != home]


@functools.cache
def _library(target) -> Library:
    """The pool's code. Never unloaded, not even at exit: workers are asleep in it."""
    library = link(compile_many([pool_text(target)], target))
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(library))
    return library


def _address(name: str) -> int:
    return _library(host_target()).address("nncomp" + name)


@functools.cache
def _pause_ns() -> float:
    """How long one turn of a spin loop takes here (5 to 150 ns, by CPU)."""
    spin = ctypes.CFUNCTYPE(None, ctypes.c_int64)(_address("_spin"))
    turns, best = 500, float("inf")
    for _ in range(4):
        begin = time.perf_counter_ns()
        spin(turns)
        best = min(best, time.perf_counter_ns() - begin)
    return max(best / turns, 0.1)


def _env_spin_us() -> float:
    text = os.environ.get("NNCOMP_SPIN_US", "").strip()
    try:
        value = float(text) if text else DEFAULT_SPIN_US
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= _LONGEST_SPIN_US:
        raise ValueError(
            f"NNCOMP_SPIN_US is {text!r}; expected microseconds from 0 to {_LONGEST_SPIN_US:.0f}"
        )
    return value


def _env_pin() -> bool:
    text = os.environ.get("NNCOMP_PIN", "").strip() or "1"
    if text not in ("0", "1"):
        raise ValueError(f"NNCOMP_PIN is {text!r}; expected 0 or 1")
    return text == "1"


def _current_cpu() -> int:
    try:
        return ctypes.CDLL(None).sched_getcpu()
    except (AttributeError, OSError):
        return -1


def _siblings(cpu: int) -> list[int]:
    """The CPUs that share a core with `cpu`, itself included."""
    path = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
    found = [cpu]
    with contextlib.suppress(OSError, ValueError):
        for part in path.read_text().strip().split(","):
            first, _, last = part.partition("-")
            found += range(int(first), int(last or first) + 1)
    return sorted(set(found))


@contextlib.contextmanager
def _signals_blocked():
    """New threads inherit the mask: signals then go to Python's threads and never to a worker."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    faults = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals() - faults)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _warn_refused(error: int, threads: int) -> None:
    warnings.warn(
        f"nncomp could not start another thread ({os.strerror(error)}); going on with {threads}",
        RuntimeWarning,
        stacklevel=4,
    )


def _forget() -> None:
    """In a forked child only the forking thread lives on: its workers and locks are gone."""
    global _pool, _lock
    _pool, _lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
