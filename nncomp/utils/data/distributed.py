"""DistributedSampler: the part of a data set that one of several processes reads.

There are no process groups here, so that ``num_replicas`` and ``rank`` must be given.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import nncomp

from .sampler import Sampler


class DistributedSampler(Sampler):
    """Every ``num_replicas``-th index from ``rank`` on, of an order that all processes share.

    The order is shuffled with ``seed`` plus the epoch of ``set_epoch``. Indices are repeated until
    all processes have as many, or dropped with ``drop_last``. RuntimeError without ``num_replicas``
    and ``rank``, ValueError for a rank outside them.
    """

    def __init__(
        self,
        dataset: Any,
        num_replicas: int | None = None,
        rank: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        if num_replicas is None or rank is None:
            raise RuntimeError(
                "DistributedSampler needs num_replicas and rank: there are no process groups here "
                "from which it could take them"
            )
        if not 0 <= rank < num_replicas:
            raise ValueError(
                f"Invalid rank {rank}, rank should be in the interval [0, {num_replicas - 1}]"
            )
        self.dataset, self.num_replicas, self.rank = dataset, num_replicas, rank
        self.shuffle, self.seed, self.drop_last, self.epoch = shuffle, seed, drop_last, 0
        size = len(dataset)
        if drop_last and size % num_replicas:
            size -= num_replicas - 1
        self.num_samples = max(math.ceil(size / num_replicas), 0)
        self.total_size = self.num_samples * num_replicas

    def __iter__(self) -> Iterator[int]:
        size = len(self.dataset)
        order = list(range(size))
        if self.shuffle:
            generator = nncomp.Generator().manual_seed(self.seed + self.epoch)
            order = nncomp.randperm(size, generator=generator).tolist()
        if order and len(order) < self.total_size:
            order = (order * math.ceil(self.total_size / len(order)))[: self.total_size]
        return iter(order[self.rank : self.total_size : self.num_replicas])

    def __len__(self) -> int:
        return self.num_samples

    def set_epoch(self, epoch: int) -> None:
        """Choose another order, the same one in all processes."""
        self.epoch = epoch


__all__ = ["DistributedSampler"]
