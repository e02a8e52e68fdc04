"""How a list of samples becomes a batch: default_collate and default_convert (torch.utils.data)."""

from __future__ import annotations

import copy
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

import numpy as np

import nncomp

from ...tensor import Tensor


def default_collate(batch: Sequence[Any]) -> Any:
    """Stack samples: tensors, arrays and numbers to a tensor with a new first dimension.

    Numbers become int64 or float64; strings stay a list; dicts, tuples and lists are collated
    element by element (a tuple gives a list). RuntimeError if samples differ in length, TypeError
    for anything else.
    """
    first = batch[0]
    if isinstance(first, Tensor):
        return nncomp.stack(list(batch), 0)
    if isinstance(first, (np.ndarray, np.generic)) and first.dtype.kind not in "USO":
        return nncomp.tensor(np.stack([np.asarray(sample) for sample in batch]))
    if isinstance(first, float):
        return nncomp.tensor(list(batch), dtype=nncomp.float64)
    if isinstance(first, int):
        return nncomp.tensor(list(batch))
    if isinstance(first, (str, bytes)):
        return list(batch)
    if isinstance(first, Mapping):
        return _like(first, {key: default_collate([row[key] for row in batch]) for key in first})
    if isinstance(first, Sequence):
        return _collate_sequences(batch)
    raise TypeError(
        "default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; "
        f"found {_kind(first)}; give the DataLoader a collate_fn of your own"
    )


def _like(first: Mapping, values: dict) -> Any:
    """`values` in a mapping of the type of `first`, if it can be made so."""
    if type(first) is dict:
        return values
    try:
        if isinstance(first, MutableMapping):  # a copy keeps what else the object holds
            made = copy.copy(first)
            made.update(values)
            return made
        return type(first)(values)  # type: ignore[call-arg]
    except TypeError:
        return values


def _collate_sequences(batch: Sequence[Any]) -> Any:
    first = batch[0]
    if any(len(sample) != len(first) for sample in batch):
        raise RuntimeError("each element in list of batch should be of equal size")
    columns = [default_collate(column) for column in zip(*batch, strict=True)]
    return type(first)(*columns) if hasattr(first, "_fields") else columns


def default_convert(sample: Any) -> Any:
    """A sample with its arrays turned into tensors; used where there are no batches."""
    if isinstance(sample, (np.ndarray, np.generic)) and sample.dtype.kind not in "USO":
        return nncomp.tensor(np.asarray(sample))
    if isinstance(sample, Mapping):
        return _like(sample, {key: default_convert(value) for key, value in sample.items()})
    if isinstance(sample, tuple) and hasattr(sample, "_fields"):
        return type(sample)(*map(default_convert, sample))
    if isinstance(sample, Sequence) and not isinstance(sample, (str, bytes)):
        return [default_convert(value) for value in sample]
    return sample


def _kind(value: Any) -> Any:
    return value.dtype if isinstance(value, (np.ndarray, np.generic)) else type(value)


__all__ = ["default_collate", "default_convert"]
