"""The parent's side of worker processes: who reads what, and the batches in order.

Batch number n is asked of the workers in turn. Each has at most ``prefetch_factor`` batches to
read at a time; what comes back early waits until it is its turn.
"""

from __future__ import annotations

import os
import pickle
import weakref
from collections.abc import Iterator
from multiprocessing.connection import wait
from typing import Any

from ._worker import Begin, End, Failure, Job, work

JOIN_SECONDS = 5.0


class WorkerPool:
    """The processes of a loader and the pipes to them."""

    def __init__(self, loader: Any, context: Any) -> None:
        self.pipes: list[Any] = []
        self.processes: list[Any] = []
        self.numbers = 0  # tasks given so far, in all passes
        self.reader: Any = None  # a weak reference to the pass that gets the answers
        self._finalizer = weakref.finalize(self, _stop, self.pipes, self.processes, os.getpid())
        for number in range(loader.num_workers):
            here, there = context.Pipe()
            job = Job(
                number, loader.num_workers, loader.dataset, loader._batched, loader.collate_fn,
                loader.drop_last, loader.worker_init_fn, os.getpid(),
            )  # fmt: skip
            process = context.Process(target=work, args=(job, there), daemon=True)
            process.start()
            there.close()
            self.pipes.append(here)
            self.processes.append(process)

    @property
    def closed(self) -> bool:
        """True if the processes were ended."""
        return not self._finalizer.alive

    def close(self, at_once: bool = False) -> None:
        """End all processes, ``at_once`` in the middle of what they do; a second call is idle."""
        if at_once:
            for process in self.processes:
                process.terminate()
        self._finalizer()

    def send(self, worker: int, message: Any) -> None:
        """Give a worker a task; RuntimeError if it is gone."""
        try:
            self.pipes[worker].send(message)
        except (BrokenPipeError, ConnectionResetError):
            raise self.died(worker) from None

    def receive(self, timeout: float) -> list[tuple[int, int, Any]]:
        """(worker, task number, answer) of all workers that answered; waits for at least one."""
        ready = wait(self.pipes, timeout or None)
        if not ready:
            raise RuntimeError(f"DataLoader timed out after {timeout} seconds")
        answers = []
        for pipe in ready:
            worker = self.pipes.index(pipe)
            try:
                number, answer = pickle.loads(pipe.recv_bytes())
            except (EOFError, ConnectionResetError):
                raise self.died(worker) from None
            answers.append((worker, number, answer))
        return answers

    def died(self, worker: int) -> RuntimeError:
        """The error for a worker that is gone."""
        process = self.processes[worker]
        process.join(JOIN_SECONDS)
        return RuntimeError(
            f"DataLoader worker (pid(s) {process.pid}) exited unexpectedly with exit code "
            f"{process.exitcode}"
        )


def _stop(pipes: list[Any], processes: list[Any], owner: int) -> None:
    if os.getpid() != owner:
        return  # a copy of the pool in a forked process
    for pipe in pipes:
        try:
            pipe.send(None)
        except (BrokenPipeError, OSError):
            pass
        pipe.close()  # a worker that waits to send a batch gets an error and ends
    for process in processes:
        process.join(JOIN_SECONDS)
        if process.is_alive():
            process.terminate()
            process.join(JOIN_SECONDS)


class PoolIterator:
    """One pass over the data with the workers of a pool."""

    def __init__(self, pool: WorkerPool, loader: Any, order: Iterator[Any], seed: int) -> None:
        self.pool, self.order, self.timeout = pool, order, loader.timeout
        self.keep = loader.persistent_workers
        # Answers to tasks of a pass that was given up are known by their numbers.
        self.first = self.next_task = self.next_batch = pool.numbers
        self.answers: dict[int, Any] = {}
        self.owner: dict[int, int] = {}
        self.active = [True] * loader.num_workers
        self.turn = 0
        pool.reader = weakref.ref(self)
        for worker in range(loader.num_workers):
            pool.send(worker, (-1, Begin(seed)))
        for _ in range(loader.prefetch_factor * loader.num_workers):
            self._ask()

    def __iter__(self) -> PoolIterator:
        return self

    def __next__(self) -> Any:
        if self.pool.reader() is not self:
            raise RuntimeError(
                "this pass over the DataLoader was given up when another one began; loaders with "
                "persistent_workers can make one pass at a time"
            )
        while True:
            number = self.next_batch
            if number in self.answers:
                self.next_batch += 1
                worker, answer = self.owner.pop(number), self.answers.pop(number)
                if isinstance(answer, End):
                    self.active[worker] = False  # its data set is at its end
                    self._ask()
                    continue
                self._ask()
                if isinstance(answer, Failure):
                    answer.reraise()
                return answer
            if number not in self.owner:
                self._end()
                raise StopIteration
            try:
                self._receive()
            except RuntimeError:
                self.pool.close(at_once=True)
                raise

    def _ask(self) -> None:
        """Give the next task to the worker whose turn it is."""
        if not any(self.active):
            return
        try:
            what = next(self.order)
        except StopIteration:
            return
        while not self.active[self.turn]:
            self.turn = (self.turn + 1) % len(self.active)
        worker, self.turn = self.turn, (self.turn + 1) % len(self.active)
        self.owner[self.next_task] = worker
        self.pool.send(worker, (self.next_task, what))
        self.next_task += 1
        self.pool.numbers = self.next_task

    def _receive(self) -> None:
        for _, number, answer in self.pool.receive(self.timeout):
            if number >= self.first:
                self.answers[number] = answer

    def _end(self) -> None:
        if not self.keep:
            self.pool.close()
