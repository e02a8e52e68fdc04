"""The loop of the process: one request per line of standard input, one answer per line back.

Requests and answers are JSON objects; arrays go through files. Whatever libraries print goes to
standard error, so that it cannot mix with the answers.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

from . import clock, jobs, source
from .engine import Engine, make

MESSAGE = 2000  # characters of an error that are sent back


class Session:
    """The requests, one method each; what they return is the answer."""

    engine: Engine

    def make_weights(self, job: dict[str, Any]) -> None:
        jobs.make_weights(job)

    def export(self, job: dict[str, Any]) -> str:
        return jobs.export(job)

    def load(self, job: dict[str, Any]) -> float:
        """Import and build; returns seconds."""
        start = time.perf_counter()
        self.engine = make(job)
        self.engine.load()
        return time.perf_counter() - start

    def first(self) -> float:
        """Compile and call once; returns seconds."""
        with self.engine.mode():
            start = time.perf_counter()
            self.engine.prepare()
            self.result = self.engine.call()
            return time.perf_counter() - start

    def save_result(self, path: str) -> None:
        """Write the outputs of the last call that was not timed."""
        source.save_arrays(self.engine.arrays(self.result), path)

    def losses(self, steps: int) -> list[float]:
        """Losses of the first training steps; the first step was made by `first`."""
        found = [self.result]
        with self.engine.mode():
            found += [self.engine.call() for _ in range(steps - 1)]
        return [float(self.engine.arrays(loss)[0]) for loss in found]

    def estimate(self, seconds: float) -> float:
        with self.engine.mode():
            return clock.estimate(self.engine.call, seconds)

    def burst(self, warm: int, count: int, inner: int) -> list[float]:
        with self.engine.mode():
            return clock.burst(self.engine.call, warm, count, inner)

    def meeting(self) -> float | None:
        return self.engine.meeting()

    def peak(self) -> float | None:
        return clock.peak_megabytes()

    def versions(self, packages: list[str]) -> dict[str, str]:
        return {name: importlib.metadata.version(name) for name in packages}


def answer(session: Session, line: str) -> dict[str, Any]:
    """Do one request; an exception becomes an answer too."""
    request = json.loads(line)
    try:
        method: Callable = getattr(session, request.pop("do"))
        return {"value": method(**request)}
    except Exception as error:
        traceback.print_exc()
        return {"error": f"{type(error).__name__}: {error}"[:MESSAGE]}


def use_cpus(cpus: list[int]) -> None:
    """Keep this process and its threads on these CPUs, where the system can."""
    if cpus and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cpus)


def main(cpus: list[int]) -> None:
    """Answer requests until standard input ends."""
    use_cpus(cpus)
    requests, answers = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    session = Session()
    for line in requests:
        text = json.dumps(answer(session, line))
        sys.stdout.flush()
        answers.write(text + "\n")
        answers.flush()
