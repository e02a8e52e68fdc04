"""Reading one batch: by the indices of a sampler, or the next samples of an iterable."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from ._collate import default_collate
from .dataset import IterableDataset


class Fetcher:
    """Gives the batch for what a sampler gave: a list of indices, or one of them."""

    def __init__(
        self, dataset: Any, batched: bool, collate_fn: Callable[[Any], Any], drop_last: bool
    ) -> None:
        self.dataset, self.batched = dataset, batched
        self.collate_fn, self.drop_last = collate_fn, drop_last
        self.iterator: Iterator[Any] | None = None
        if isinstance(dataset, IterableDataset):
            self.iterator = iter(dataset)

    def fetch(self, what: Any) -> Any:
        """Return the collated batch; StopIteration when an iterable data set is at its end."""
        if self.iterator is None:
            return self._by_index(what)
        if not self.batched:
            return self.collate_fn(next(self.iterator))
        samples = list(islice(self.iterator, len(what)))
        if not samples or (self.drop_last and len(samples) < len(what)):
            raise StopIteration
        return self.collate_fn(samples)

    def _by_index(self, what: Any) -> Any:
        if not self.batched:
            return self.collate_fn(self.dataset[what])
        if self.collate_fn is default_collate and hasattr(self.dataset, "_collated"):
            batch = self.dataset._collated(what)
            if batch is not None:
                return batch
        if callable(getattr(self.dataset, "__getitems__", None)):
            return self.collate_fn(self.dataset.__getitems__(list(what)))
        return self.collate_fn([self.dataset[index] for index in what])
