"""Data sets: Dataset and IterableDataset, and those made of tensors or of others.

A Dataset has `__getitem__` and, for most uses, `__len__`. One that can give a whole batch with one
indexing operation per tensor says so with `_collated`, which saves the loader a Python call per
sample.
"""

from __future__ import annotations

import bisect
import math
import warnings
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Any

import nncomp

from ...tensor import Tensor


class Dataset:
    """Base of all data sets: a subclass defines `__getitem__` and `__len__`."""

    def __getitem__(self, index: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must define __getitem__")

    def __add__(self, other: Dataset) -> ConcatDataset:
        return ConcatDataset([self, other])

    def __class_getitem__(cls, item: Any) -> type:
        return cls  # Dataset[int] is only an annotation


class IterableDataset(Dataset):
    """Base of data sets that can only be read from the start: a subclass defines `__iter__`.

    With several workers each reads its own copy; `get_worker_info` tells which part is its own.
    """

    def __iter__(self) -> Iterator[Any]:
        raise NotImplementedError(f"{type(self).__name__} must define __iter__")

    def __add__(self, other: Dataset) -> ChainDataset:  # type: ignore[override]
        return ChainDataset([self, other])


class ChainDataset(IterableDataset):
    """Several iterable data sets one after the other."""

    def __init__(self, datasets: Iterable[Any]) -> None:
        self.datasets = datasets

    def __iter__(self) -> Iterator[Any]:
        for dataset in self.datasets:
            if not isinstance(dataset, IterableDataset):
                raise AssertionError("ChainDataset only supports IterableDataset")
            yield from dataset

    def __len__(self) -> int:
        return sum(len(dataset) for dataset in self.datasets)


class TensorDataset(Dataset):
    """Samples are rows of tensors with one first dimension; ValueError where it differs."""

    def __init__(self, *tensors: Tensor) -> None:
        sizes = [t.size(0) for t in tensors]
        if len(set(sizes)) != 1:
            raise ValueError(
                f"TensorDataset got tensors of first dimension {sizes}, expected one or more "
                "tensors of the same first dimension"
            )
        self.tensors = tensors

    def __getitem__(self, index: Any) -> tuple[Tensor, ...]:
        return tuple(t[index] for t in self.tensors)

    def __len__(self) -> int:
        return self.tensors[0].size(0)

    def _collated(self, indices: Sequence[int]) -> list[Tensor] | None:
        """A batch as default_collate gives it; None for a subclass with samples of its own."""
        if type(self).__getitem__ is not TensorDataset.__getitem__:
            return None
        rows = nncomp.tensor(list(indices), dtype=nncomp.int64)
        return [t[rows] for t in self.tensors]


class Subset(Dataset):
    """The samples of `dataset` at `indices`, in that order."""

    def __init__(self, dataset: Any, indices: Sequence[int]) -> None:
        self.dataset, self.indices = dataset, indices

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, list):
            return self.dataset[[self.indices[i] for i in index]]
        return self.dataset[self.indices[index]]

    def __getitems__(self, indices: list[int]) -> list[Any]:
        inner = [self.indices[i] for i in indices]
        if callable(getattr(self.dataset, "__getitems__", None)):
            return self.dataset.__getitems__(inner)
        return [self.dataset[i] for i in inner]

    def __len__(self) -> int:
        return len(self.indices)

    def _collated(self, indices: Sequence[int]) -> Any:
        if type(self) is not Subset or not hasattr(self.dataset, "_collated"):
            return None
        return self.dataset._collated([self.indices[i] for i in indices])


class ConcatDataset(Dataset):
    """Several data sets one after the other; ValueError for none."""

    def __init__(self, datasets: Iterable[Any]) -> None:
        self.datasets = list(datasets)
        if not self.datasets:
            raise ValueError("ConcatDataset got no data set, expected at least one")
        if any(isinstance(dataset, IterableDataset) for dataset in self.datasets):
            raise AssertionError("ConcatDataset does not support IterableDataset")
        self.cumulative_sizes = list(accumulate(len(d) for d in self.datasets))

    def __len__(self) -> int:
        return self.cumulative_sizes[-1]

    def __getitem__(self, index: int) -> Any:
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} is out of range for {len(self)} samples")
        index %= len(self)
        which = bisect.bisect_right(self.cumulative_sizes, index)
        return self.datasets[which][index - (self.cumulative_sizes[which - 1] if which else 0)]


class StackDataset(Dataset):
    """Samples of several data sets of one size side by side: as tuples, or as dicts by keyword."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if bool(args) == bool(kwargs):
            raise ValueError(
                "StackDataset takes data sets as arguments (for tuples) or as keywords (for "
                f"dicts), got {len(args)} arguments and {len(kwargs)} keywords"
            )
        self.datasets: Any = kwargs or args
        parts = list(kwargs.values()) or list(args)
        self._length = len(parts[0])
        if any(len(part) != self._length for part in parts):
            raise ValueError(f"Size mismatch between datasets: {[len(part) for part in parts]}")

    def __getitem__(self, index: Any) -> Any:
        if isinstance(self.datasets, dict):
            return {name: part[index] for name, part in self.datasets.items()}
        return tuple(part[index] for part in self.datasets)

    def __len__(self) -> int:
        return self._length


def random_split(
    dataset: Any, lengths: Sequence[int | float], generator: Any = None
) -> list[Subset]:
    """Split a data set at random into Subsets of the given lengths, or fractions that sum to 1.

    A fraction is rounded down and the rest handed out one by one from the first part on.
    ValueError if the lengths do not add up to the size of the data set.
    """
    size = len(dataset)
    parts = _whole_lengths(lengths, size)
    if sum(parts) != size:
        raise ValueError(
            "Sum of input lengths does not equal the length of the input dataset: "
            f"{parts} add up to {sum(parts)}, the data set has {size}"
        )
    order = nncomp.randperm(size, generator=generator).tolist()
    ends = list(accumulate(parts))
    return [Subset(dataset, order[end - n : end]) for end, n in zip(ends, parts, strict=True)]


def _whole_lengths(lengths: Sequence[int | float], size: int) -> list[int]:
    if not math.isclose(sum(lengths), 1) or sum(lengths) > 1:
        return [int(n) for n in lengths]
    for i, share in enumerate(lengths):
        if not 0 <= share <= 1:
            raise ValueError(f"Fraction at index {i} is {share}, expected one between 0 and 1")
    parts = [math.floor(size * share) for share in lengths]
    for i in range(size - sum(parts)):
        parts[i % len(parts)] += 1
    for i, n in enumerate(parts):
        if n == 0:
            warnings.warn(
                f"Length of split at index {i} is 0. This might result in an empty dataset.",
                stacklevel=3,
            )
    return parts


__all__ = [
    "ChainDataset", "ConcatDataset", "Dataset", "IterableDataset", "StackDataset", "Subset",
    "TensorDataset", "random_split",
]  # fmt: skip
