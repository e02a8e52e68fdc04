"""What runs in a worker process: it gets tasks through a pipe and sends batches back.

Results leave through a thread of their own, so that the worker always goes on reading tasks: two
processes that both wait for the other one to empty its pipe would never end.
"""

from __future__ import annotations

import os
import queue
import random
import threading
import traceback
from dataclasses import dataclass
from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np

POLL_SECONDS = 5.0  # how often a worker looks whether its parent is still there


@dataclass
class WorkerInfo:
    """Which worker this is: its number, how many there are, its seed and its copy of the data."""

    id: int
    num_workers: int
    seed: int
    dataset: Any


_current: WorkerInfo | None = None


def get_worker_info() -> WorkerInfo | None:
    """Return the WorkerInfo of this process; None outside of a worker."""
    return _current


class Failure:
    """An exception on its way to the parent: its type, and its traceback as text."""

    def __init__(self, error: BaseException, where: str) -> None:
        self.kind, self.where = type(error), where
        self.text = "".join(traceback.format_exception(error))

    def reraise(self) -> None:
        """Raise the exception again, with the traceback of the worker in its message."""
        message = f"Caught {self.kind.__name__} {self.where}.\nOriginal {self.text}"
        if self.kind is KeyError:
            message = _Lines(message)
        try:
            error = self.kind(message)
        except Exception:  # its constructor wants other arguments
            raise RuntimeError(message) from None
        raise error


class _Lines(str):
    """A message that KeyError, which shows the repr of its argument, shows as it is."""

    def __repr__(self) -> str:
        return str(self)


class End:
    """The answer of a worker whose iterable data set is at its end."""


@dataclass
class Begin:
    """The first task of each pass: the seed of the pass."""

    seed: int


@dataclass
class Job:
    """What a worker needs to know; it is pickled where processes are spawned."""

    number: int
    workers: int
    dataset: Any
    batched: bool
    collate_fn: Any
    drop_last: bool
    init_fn: Any
    parent: int


def work(job: Job, tasks: Any) -> None:
    """The main function of a worker: answer (number, indices) with (number, batch)."""
    results: queue.SimpleQueue = queue.SimpleQueue()
    sender = threading.Thread(target=_send, args=(tasks, results), daemon=True)
    sender.start()
    try:
        _answer(job, tasks, results)
    except (KeyboardInterrupt, EOFError, BrokenPipeError):
        pass
    results.put(None)
    sender.join()
    tasks.close()


def _send(connection: Any, results: queue.SimpleQueue) -> None:
    while True:
        message = results.get()
        if message is None:
            return
        try:
            connection.send_bytes(message)
        except (BrokenPipeError, OSError):
            return


def _answer(job: Job, tasks: Any, results: queue.SimpleQueue) -> None:
    where = f"in DataLoader worker process {job.number}"
    fetcher: Any = None
    while True:
        if not tasks.poll(POLL_SECONDS):
            if os.getppid() != job.parent:
                return
            continue
        message = tasks.recv()
        if message is None:
            return
        number, what = message
        if isinstance(what, Begin):
            fetcher = _begun(job, what.seed, where)
            continue
        try:
            answer: Any = fetcher if isinstance(fetcher, Failure) else fetcher.fetch(what)
        except StopIteration as stop:
            answer = End() if fetcher.iterator is not None else Failure(stop, where)
        except Exception as error:
            answer = Failure(error, where)
        results.put(_packed(number, answer, where))


def _begun(job: Job, seed: int, where: str) -> Any:
    """A fresh reader for one pass, or the Failure that each of its batches is answered with."""
    import nncomp

    from ._fetch import Fetcher

    global _current
    seed += job.number
    first = _current is None
    random.seed(seed)
    nncomp.manual_seed(seed)
    np.random.seed(seed % 2**32)
    _current = WorkerInfo(job.number, job.workers, seed, job.dataset)
    try:
        if job.init_fn is not None and first:
            job.init_fn(job.number)
        return Fetcher(job.dataset, job.batched, job.collate_fn, job.drop_last)
    except Exception as error:
        return Failure(error, where)


def _packed(number: int, answer: Any, where: str) -> Any:
    try:
        return ForkingPickler.dumps((number, answer))
    except Exception as error:  # the batch holds something that cannot be pickled
        return ForkingPickler.dumps((number, Failure(error, where)))
