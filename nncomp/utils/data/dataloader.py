"""DataLoader: batches of a data set, as an iterable (torch.utils.data).

With ``num_workers`` above 0, processes read the batches ahead of their use (_workers); otherwise
they are read in the process itself. The order of the batches is the same.
"""

from __future__ import annotations

import multiprocessing
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import repeat
from typing import Any

import nncomp

from ._collate import default_collate, default_convert
from ._fetch import Fetcher
from ._worker import get_worker_info
from ._workers import PoolIterator, WorkerPool
from .dataset import IterableDataset
from .sampler import BatchSampler, RandomSampler, Sampler, SequentialSampler

Collate = Callable[[Any], Any]
FIXED = (
    "batch_size", "batch_sampler", "sampler", "drop_last", "dataset", "persistent_workers",
)  # fmt: skip


class _Endless(Sampler):
    """What an iterable data set is asked for: the next sample, again and again."""

    def __iter__(self) -> Iterator[None]:
        return repeat(None)


class DataLoader:
    """Iterates over `dataset` in batches of `batch_size` samples, joined by `collate_fn`.

    `shuffle` reads in a new random order in each pass, with random numbers of `generator` or of
    the global one; `sampler` or `batch_sampler` set the order instead. `batch_size=None` gives the
    samples one by one. `num_workers` processes read ahead, `prefetch_factor` (2) batches each; they
    are started by `multiprocessing_context`, call `worker_init_fn(number)` first, and stay for the
    next pass with `persistent_workers`. RuntimeError if a batch takes longer than `timeout` seconds
    (0: no limit). `pin_memory`, its device and `in_order` have no effect: memory is the CPU's, and
    batches are always in order. ValueError for options that contradict each other.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Iterable[Any] | None = None,
        batch_sampler: Iterable[Sequence[Any]] | None = None,
        num_workers: int = 0,
        collate_fn: Collate | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], None] | None = None,
        multiprocessing_context: Any = None,
        generator: Any = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
    ) -> None:
        _check_workers(num_workers, timeout, prefetch_factor, persistent_workers)
        self._context = _context(multiprocessing_context, num_workers)
        self._iterable = isinstance(dataset, IterableDataset)
        _check_dataset(dataset, self._iterable, shuffle, sampler, batch_sampler)
        if batch_sampler is not None:
            _refuse_batch_options(batch_size, shuffle, sampler, drop_last)
            batch_size, drop_last = None, False
        elif batch_size is None and drop_last:
            raise ValueError(
                "batch_size=None option disables auto-batching and is mutually exclusive with "
                "drop_last"
            )
        if sampler is not None and shuffle:
            raise ValueError("sampler option is mutually exclusive with shuffle")
        self.dataset, self.generator, self.num_workers = dataset, generator, num_workers
        self.batch_size, self.drop_last = batch_size, drop_last
        self.pin_memory, self.pin_memory_device = pin_memory, pin_memory_device
        self.timeout, self.worker_init_fn, self.in_order = timeout, worker_init_fn, in_order
        self.prefetch_factor = 2 if num_workers and prefetch_factor is None else prefetch_factor
        self.persistent_workers = persistent_workers
        self.sampler = sampler if sampler is not None else self._default_sampler(bool(shuffle))
        if batch_sampler is None and batch_size is not None:
            batch_sampler = BatchSampler(self.sampler, batch_size, drop_last)
        self.batch_sampler = batch_sampler
        default = default_collate if batch_sampler is not None else default_convert
        self.collate_fn: Collate = default if collate_fn is None else collate_fn
        self._pool: WorkerPool | None = None
        self._ready = True

    def __setattr__(self, name: str, value: Any) -> None:
        if name in FIXED and self.__dict__.get("_ready"):
            raise ValueError(
                f"{name} attribute should not be set after {type(self).__name__} is initialized"
            )
        super().__setattr__(name, value)

    def _default_sampler(self, shuffle: bool) -> Sampler:
        if self._iterable:
            return _Endless()
        if shuffle:
            return RandomSampler(self.dataset, generator=self.generator)
        return SequentialSampler(self.dataset)

    @property
    def _batched(self) -> bool:
        return self.batch_sampler is not None

    @property
    def multiprocessing_context(self) -> Any:
        """The multiprocessing context that starts workers; None for the default one."""
        return self._context

    def __iter__(self) -> Iterator[Any]:
        order: Iterator[Any] = iter(self.batch_sampler if self._batched else self.sampler)  # type: ignore[arg-type]
        batches = self._in_workers(order) if self.num_workers else self._here(order)
        return self._counted(batches) if self._iterable else batches

    def _here(self, order: Iterator[Any]) -> Iterator[Any]:
        fetcher = Fetcher(self.dataset, self._batched, self.collate_fn, self.drop_last)
        if not self._iterable:
            return map(fetcher.fetch, order)
        return _until_end(fetcher, order)

    def _in_workers(self, order: Iterator[Any]) -> Iterator[Any]:
        if get_worker_info() is not None:
            raise RuntimeError(
                "a DataLoader in a worker process was asked for worker processes of its own; set "
                "its num_workers to 0"
            )
        pool = self._pool
        if pool is None or pool.closed:
            pool = WorkerPool(self, self._context or multiprocessing.get_context())
            if self.persistent_workers:
                self._pool = pool
        seed = nncomp.randint(0, 2**62, (), generator=self.generator).item()
        return PoolIterator(pool, self, order, seed)

    def _counted(self, batches: Iterator[Any]) -> Iterator[Any]:
        """Warn if an iterable data set gives more than its len() says."""
        if not hasattr(type(self.dataset), "__len__"):
            return batches
        return self._counting(batches, len(self))

    def _counting(self, batches: Iterator[Any], expected: int) -> Iterator[Any]:
        for number, batch in enumerate(batches):
            if number == expected:
                warnings.warn(
                    f"Length of IterableDataset {self.dataset} was reported to be {expected} (when "
                    "accessing len(dataloader)), but more samples have been fetched. With workers, "
                    "each of them reads the whole data set unless it asks get_worker_info().",
                    stacklevel=2,
                )
            yield batch

    def __len__(self) -> int:
        if self._iterable:
            size = len(self.dataset)
            if self.batch_size is None:
                return size
            return size // self.batch_size if self.drop_last else -(-size // self.batch_size)
        order = self.sampler if self.batch_sampler is None else self.batch_sampler
        return len(order)  # type: ignore[arg-type]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_pool": None}


def _until_end(fetcher: Fetcher, order: Iterator[Any]) -> Iterator[Any]:
    for what in order:
        try:
            batch = fetcher.fetch(what)
        except StopIteration:
            return
        yield batch


def _check_workers(workers: int, timeout: float, prefetch: int | None, persistent: bool) -> None:
    if workers < 0:
        raise ValueError(
            "num_workers option should be non-negative; use num_workers=0 to disable "
            "multiprocessing."
        )
    if timeout < 0:
        raise ValueError("timeout option should be non-negative")
    if workers == 0 and prefetch is not None:
        raise ValueError(
            "prefetch_factor option could only be specified in multiprocessing; let num_workers > "
            "0 to enable multiprocessing, otherwise set prefetch_factor to None."
        )
    if prefetch is not None and prefetch < 1:
        raise ValueError(f"prefetch_factor option should be at least 1, got {prefetch}")
    if persistent and workers == 0:
        raise ValueError("persistent_workers option needs num_workers > 0")


def _context(given: Any, workers: int) -> Any:
    """The multiprocessing context for a name or a context; None for the default."""
    if given is None:
        return None
    if workers == 0:
        raise ValueError(
            "multiprocessing_context can only be used with multi-process loading (num_workers > "
            f"0), but got num_workers={workers}"
        )
    if not isinstance(given, str):
        return given
    names = multiprocessing.get_all_start_methods()
    if given not in names:
        raise ValueError(
            "multiprocessing_context option should specify a valid start method in "
            f"{names!r}, but got multiprocessing_context={given!r}"
        )
    return multiprocessing.get_context(given)


def _check_dataset(
    dataset: Any, iterable: bool, shuffle: Any, sampler: Any, batch_sampler: Any
) -> None:
    if iterable:
        options = {"shuffle": shuffle, "sampler": sampler, "batch_sampler": batch_sampler}
        for name, value in options.items():
            if value not in (None, False) if name == "shuffle" else value is not None:
                raise ValueError(
                    f"DataLoader with IterableDataset: expected unspecified {name} option, but got "
                    f"{name}={value}"
                )
    elif not hasattr(type(dataset), "__getitem__"):
        raise TypeError(
            f"DataLoader got a data set of type {type(dataset).__name__} without __getitem__; "
            "define __getitem__ and __len__ to read it by index, or make it an IterableDataset"
        )


def _refuse_batch_options(
    batch_size: int | None, shuffle: bool | None, sampler: Any, drop_last: bool
) -> None:
    if batch_size != 1 or shuffle or sampler is not None or drop_last:
        raise ValueError(
            "batch_sampler option is mutually exclusive with batch_size, shuffle, sampler, and "
            "drop_last"
        )


__all__ = ["DataLoader", "default_collate", "default_convert", "get_worker_info"]
