"""One row of the table: weights, ONNX file, two processes per engine, interleaved bursts.

The first process of an engine meets an empty cache and says what the first call costs then. The
second one finds what the first left; its first call is timed too, and it takes part in the rounds.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import engines, inputs, machine
from .compare import compare
from .engines import ENGINES, OURS
from .models import Row
from .process import Worker, WorkerError
from .results import EngineResult, RowResult
from .settings import Settings, plan_burst

Log = Callable[[str], None]


@dataclass
class Measurement:
    """The state while one row is measured; files go to `folder`."""

    row: Row
    names: list[str]
    settings: Settings
    folder: Path
    log: Log

    def run(self) -> RowResult:
        """Measure all engines; what goes wrong with one is written into its result."""
        row = self.row
        self.result = RowResult(row.key, row.title, row.batch, row.training is not None)
        for name in self.names:
            missing = engines.why_missing(name, row.training is not None, row.twin)
            self.result.engines[name] = EngineResult(name, missing=missing)
        live = [n for n in self.names if self.result.engines[n].missing is None]
        self.workers: dict[str, Worker] = {}
        try:
            self.make_inputs()
            self.attempt(live, "making weights", self.make_weights)
            self.attempt([n for n in live if ENGINES[n].source == "onnx"], "export", self.export)
            for name in live:
                self.attempt([name], "first call", lambda name=name: self.cold(name))
            for name in live:
                self.attempt([name], "cached call", lambda name=name: self.warm(name))
            self.rounds()
            for name in list(self.workers):
                self.attempt([name], "end", lambda name=name: self.finish(name))
            compare(self.result, self.folder)
        finally:
            for worker in self.workers.values():
                worker.close()
        return self.result

    def attempt(self, names: list[str], stage: str, action: Callable[[], None]) -> None:
        """Do something for engines that have no error yet; an error becomes theirs."""
        names = [n for n in names if self.result.engines[n].error is None]
        if not names:
            return
        if stage:
            self.log(f"{self.row.name}: {', '.join(names)}: {stage}")
        try:
            action()
        except WorkerError as error:
            for name in names:
                self.result.engines[name].error = f"{stage or 'timing'}: {error}"
                worker = self.workers.pop(name, None)
                if worker is not None:
                    worker.close()

    def worker(self, name: str) -> Worker:
        """A fresh process for an engine or a job; `name` decides its cache folder."""
        cache = self.folder / f"cache-{name}"
        cache.mkdir(exist_ok=True)
        threads = self.settings.threads
        variables = engines.environment(threads, cache)
        cpus = machine.choose_cpus(threads)
        return Worker(self.folder / f"{name}.log", cpus, variables, self.settings.limit)

    def job(self, **more: Any) -> dict[str, Any]:
        """What the worker must know about the model."""
        files = {k: str(self.folder / v) for k, v in FILES.items()}
        job = {"file": str(self.row.file.resolve()), "model": self.row.model, **files}
        settings = self.settings
        job |= {"device": settings.device, "precision": settings.precision}
        return {**job, "threads": settings.threads, **more}

    def make_inputs(self) -> None:
        """Write the inputs; in training, several batches with their targets."""
        row, settings = self.row, self.settings
        wanted, repeats = row.inputs, 1
        if row.training is not None:
            wanted, repeats = [*row.inputs, row.training.target], settings.batches
        arrays = inputs.make_all(wanted, row.batch, settings.seed, repeats)
        np.savez(self.folder / FILES["inputs"], **{f"{i:06}": a for i, a in enumerate(arrays)})

    def make_weights(self) -> None:
        """By nncomp if it can build the model, else by torch: the same for all engines."""
        errors = []
        for library in ("nncomp", "torch"):
            if library == "torch" and not engines.is_installed("torch"):
                break
            calibrate = self.row.calibrate and self.row.training is None
            job = self.job(library=library, seed=self.settings.seed, calibrate=calibrate)
            try:
                with self.worker("weights") as worker:
                    return worker.ask("make_weights", job=job)
            except WorkerError as error:
                errors.append(f"{library}: {error}")
        raise WorkerError("; ".join(errors))

    def export(self) -> None:
        """Write the ONNX file, with torch."""
        with self.worker("export") as worker:
            self.result.export = worker.ask("export", job=self.job())

    def load(self, name: str, worker: Worker) -> float:
        """Give an engine its model; returns seconds."""
        training, train = self.row.training, None
        if training is not None:
            train = {
                "loss": training.loss,
                "optimizer": training.optimizer,
                "options": training.options,
                "batches": self.settings.batches,
            }
        cache = str(self.folder / f"cache-{name}")
        job = self.job(engine=name, train=train, twin=self.row.twin, cache=cache)
        return worker.ask("load", job=job)

    def cold(self, name: str) -> None:
        """The first call with nothing in the cache, in a process of its own."""
        result = self.result.engines[name]
        with self.worker(name) as worker:
            result.load_s = self.load(name, worker)
            result.first_cold_s = worker.ask("first")
            result.peak_cold_mb = worker.ask("peak")
            if name == OURS:
                worker.ask("meeting")  # compiles what the timed process then finds in the cache

    def warm(self, name: str) -> None:
        """The process that is timed: its first call, its results."""
        result, worker = self.result.engines[name], self.worker(name)
        self.workers[name] = worker
        self.load(name, worker)
        result.first_cached_s = worker.ask("first")
        if self.row.training is None:
            worker.ask("save_result", path=str(self.folder / f"{name}.npz"))
        else:
            result.losses = worker.ask("losses", steps=self.settings.losses)

    def rounds(self) -> None:
        """Bursts of all engines in turn; each round begins with another engine."""
        settings, plans = self.settings, {}
        for name in list(self.workers):

            def warm_up(name: str = name) -> None:
                best = self.workers[name].ask("estimate", seconds=settings.warm_up)
                plans[name] = plan_burst(best, settings.burst)

            self.attempt([name], "warm-up", warm_up)
        self.log(f"{self.row.name}: {settings.rounds} rounds")
        for number in range(settings.rounds):
            names = list(self.workers)
            self.attempt([n for n in names if n == OURS], "", self.meet)
            shift = number % len(names) if names else 0
            for name in names[shift:] + names[:shift]:
                time.sleep(settings.pause)
                self.attempt([name], "", lambda name=name: self.burst(name, *plans[name]))

    def meet(self) -> None:
        """What it costs threads to meet: where it changes, the machine did in the meantime."""
        nanoseconds = self.workers[OURS].ask("meeting")
        if nanoseconds:
            self.result.meetings.append(round(nanoseconds, 1))

    def burst(self, name: str, warm: int, count: int, inner: int) -> None:
        """One burst; its samples are kept in ms."""
        samples = self.workers[name].ask("burst", warm=warm, count=count, inner=inner)
        self.result.engines[name].samples.append([round(ns / 1e6, 7) for ns in samples])

    def finish(self, name: str) -> None:
        """Peak memory after everything."""
        peak = self.workers[name].ask("peak")
        self.result.engines[name].peak_mb = peak if peak is not None else math.nan


FILES = {"weights": "weights.npz", "inputs": "inputs.npz", "onnx": "model.onnx"}
