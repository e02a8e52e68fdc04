"""DataLoader: batches of a data set, as an iterable (torch.utils.data).

Samples are read in the process itself. Worker processes are not there: `num_workers` must be 0.
Data sets are read by index; one that can only be iterated (torch's IterableDataset) is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from ._collate import default_collate, default_convert
from ._dataset import ConcatDataset, Dataset, Subset, TensorDataset, random_split
from ._sampler import (
    BatchSampler,
    RandomSampler,
    Sampler,
    SequentialSampler,
    SubsetRandomSampler,
)

Collate = Callable[[list[Any]], Any]


class DataLoader:
    """Iterates over `dataset` in batches of `batch_size` samples, joined by `collate_fn`.

    `shuffle` reads in a new random order in each pass, with random numbers of `generator` or of
    the global one; `sampler` or `batch_sampler` set the order instead. `batch_size=None` gives the
    samples one by one. `pin_memory` and its device have no effect on a CPU. ValueError for options
    that contradict each other; NotImplementedError for `num_workers` above 0.
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
    ) -> None:
        _refuse_workers(num_workers, timeout, prefetch_factor, persistent_workers)
        if multiprocessing_context is not None:
            raise ValueError("multiprocessing_context can only be used with num_workers > 0")
        if not hasattr(type(dataset), "__getitem__"):
            raise TypeError(
                f"DataLoader got a data set of type {type(dataset).__name__} without __getitem__; "
                "data sets are read by index, so define __getitem__ and __len__"
            )
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
        self.pin_memory, self.timeout, self.worker_init_fn = pin_memory, timeout, worker_init_fn
        self.sampler = sampler if sampler is not None else self._default_sampler(bool(shuffle))
        if batch_sampler is None and batch_size is not None:
            batch_sampler = BatchSampler(self.sampler, batch_size, drop_last)
        self.batch_sampler = batch_sampler
        default = default_collate if batch_sampler is not None else default_convert
        self.collate_fn: Collate = default if collate_fn is None else collate_fn

    def _default_sampler(self, shuffle: bool) -> Sampler:
        if shuffle:
            return RandomSampler(self.dataset, generator=self.generator)
        return SequentialSampler(self.dataset)

    def __iter__(self) -> Iterator[Any]:
        if self.batch_sampler is None:
            return (self.collate_fn(self.dataset[index]) for index in self.sampler)
        return map(self._batch, self.batch_sampler)

    def __len__(self) -> int:
        order = self.sampler if self.batch_sampler is None else self.batch_sampler
        return len(order)  # type: ignore[arg-type]

    def _batch(self, indices: Sequence[Any]) -> Any:
        """The samples at `indices`, collated."""
        if self.collate_fn is default_collate and hasattr(self.dataset, "_collated"):
            batch = self.dataset._collated(indices)
            if batch is not None:
                return batch
        if callable(getattr(self.dataset, "__getitems__", None)):
            return self.collate_fn(self.dataset.__getitems__(list(indices)))
        return self.collate_fn([self.dataset[index] for index in indices])


def _refuse_workers(workers: int, timeout: float, prefetch: int | None, persistent: bool) -> None:
    if workers < 0:
        raise ValueError(
            "num_workers option should be non-negative; use num_workers=0 to disable "
            "multiprocessing."
        )
    if workers > 0:
        raise NotImplementedError(
            f"DataLoader got num_workers={workers}, but samples are only read in the process "
            "itself; use num_workers=0"
        )
    if timeout < 0:
        raise ValueError("timeout option should be non-negative")
    if prefetch is not None:
        raise ValueError("prefetch_factor can only be given with num_workers > 0; leave it None")
    if persistent:
        raise ValueError("persistent_workers option needs num_workers > 0")


def _refuse_batch_options(
    batch_size: int | None, shuffle: bool | None, sampler: Any, drop_last: bool
) -> None:
    if batch_size != 1 or shuffle or sampler is not None or drop_last:
        raise ValueError(
            "batch_sampler option is mutually exclusive with batch_size, shuffle, sampler, and "
            "drop_last"
        )


__all__ = [
    "BatchSampler",
    "ConcatDataset",
    "DataLoader",
    "Dataset",
    "RandomSampler",
    "Sampler",
    "SequentialSampler",
    "Subset",
    "SubsetRandomSampler",
    "TensorDataset",
    "default_collate",
    "default_convert",
    "random_split",
]
