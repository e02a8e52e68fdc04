"""Objects of a program's modules, made in the background while further texts are written.

    with ObjectMaker(target) as maker:
        numbers = [maker.add(text) for text in texts]     # compiling begins at once
        objects = maker.objects(numbers)                  # waits

LLVM works without Python's lock, so writing the text of a kernel and compiling the one before
overlap. Modules that the disk cache has are read from it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from nncomp.ir.watch import tell

from ..cache import ObjectCache, default_cache
from . import jit
from .handover import quick_handover
from .target import KERNELS, Target
from .threads import get_num_threads

_DEFAULT: Any = object()


class ObjectMaker:
    """Compiles modules on `get_num_threads()` threads, or right away where that cannot be."""

    def __init__(self, target: Target, cache: ObjectCache | None = _DEFAULT):
        self.target, self.done = target, 0
        self.cache = default_cache() if cache is _DEFAULT else cache
        self.jobs: list[Future | bytes] = []
        self.numbers: dict[str, int] = {}
        self.workers: ThreadPoolExecutor | None = None
        self.ready: Future | None = None
        self.stack = contextlib.ExitStack()

    def add(self, text: str, effort: int = KERNELS) -> int:
        """Have a module compiled; returns its number, the same one for equal modules."""
        key = jit.object_key(text, self.target, effort=effort)
        number = self.numbers.setdefault(key, len(self.jobs))
        if number == len(self.jobs):
            self.jobs.append(self._start(key, text, effort))
        return number

    def objects(self, numbers: Sequence[int]) -> list[bytes]:
        """The object files of modules by number; CodegenError for one that LLVM refuses."""
        jobs = [self.jobs[number] for number in numbers]
        return [job if isinstance(job, bytes) else job.result() for job in jobs]

    def _start(self, key: str, text: str, effort: int) -> Future | bytes:
        if self.workers is None or self.ready is None or not self.ready.result():
            return self._make(key, text, effort)
        return self.workers.submit(self._make, key, text, effort)

    def _make(self, key: str, text: str, effort: int) -> bytes:
        found = None if self.cache is None else self.cache.get(key)
        if found is None:
            found = jit.compile_module(text, self.target, 0, effort)
            if self.cache is not None:
                self.cache.put(key, found)
        self.done += 1  # two threads at once may lose one: it is only shown
        tell("kernels", self.done, max(self.done, len(self.jobs)))
        return found

    def __enter__(self) -> ObjectMaker:
        count = min(get_num_threads(), os.cpu_count() or 1)
        if count > 1:  # LLVM is loaded and looked at while the graph goes through its passes
            self.workers = ThreadPoolExecutor(count, "nncomp-compile")
            self.ready = self.workers.submit(jit.look_at_llvm)
            self.stack.enter_context(quick_handover())
        return self

    def begin(self, *tasks: Callable[[], object]) -> None:
        """Do something else meanwhile, by the end of the block: what is not of this program but
        will be needed to run it. An error shows when it is asked for."""
        ready = self.ready
        if self.workers is not None and ready is not None:
            for task in tasks:
                self.workers.submit(_when_ready, ready, task)

    def __exit__(self, *error: object) -> None:
        self.stack.close()
        if self.workers is not None:
            self.workers.shutdown(wait=True, cancel_futures=True)


def _when_ready(ready: Future, task: Callable[[], object]) -> None:
    if ready.result():
        task()
