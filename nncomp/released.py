"""Parameters whose memory is given back while a compiled program holds their values packed.

A program for inference reads packed copies of the weights. Where the packed form is the weight
itself in another order, the plain one would only be a second copy of the model. It is given up if
nobody else can see its memory, and comes back, bit for bit, as soon as someone asks for the
tensor's values. It is not given up a second time: who asks once will ask again.
"""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from .ir.unpack import Steps, unpack

LEAST = 1 << 16  # bytes; a smaller tensor is not worth it
ABSENT = np.empty(0, np.uint8)  # stands for the memory of a released tensor


class Released:
    """The values of a tensor in packed form; later the array that they were restored to."""

    __slots__ = ("array", "packed", "steps", "_lock")

    def __init__(self, array: np.ndarray, packed: np.ndarray, steps: Steps) -> None:
        self.array: np.ndarray | None = array
        self.packed, self.steps = packed, steps
        self._lock = threading.Lock()

    def values(self) -> np.ndarray:
        """The values, in memory of their own."""
        with self._lock:
            return unpack(self.packed, self.steps) if self.array is None else self.array

    def restore(self) -> np.ndarray:
        """The tensor's array from now on."""
        with self._lock:
            if self.array is None:
                self.array = unpack(self.packed, self.steps)
            return self.array

    def drop(self, give_back: Callable[[np.ndarray], None]) -> bool:
        """Give the memory up, if this is the only place that knows of it: `give_back(array)`."""
        with self._lock:
            if sys.getrefcount(self.array) != _alone():
                return False
            assert self.array is not None
            give_back(self.array)
            self.array = None
            return True


@functools.cache
def _alone() -> int:
    """What getrefcount says of an array that only a Released knows."""
    record = Released(np.empty(1), ABSENT, ())
    return sys.getrefcount(record.array)


def release(
    x: Any, packed: np.ndarray, steps: Steps, give_back: Callable[[np.ndarray], None]
) -> bool:
    """Give up the memory of a tensor that `packed` holds the values of; False where it must stay.

    The caller must not hold the array either. `give_back(array)` is called before it is freed.
    """
    array = x.__dict__.get("_data")
    if array is None or x._released is not None or not _is_private(x, array):
        return False
    record = Released(array, packed, steps)
    del array
    x._released = record
    del x._data  # from here on, who asks gets it from the record
    if record.drop(give_back):
        return True
    x._data = record.restore()
    x._released = None
    return False


def _is_private(x: Any, array: Any) -> bool:
    """Whether the array owns its memory and no address of it was handed out."""
    storage = x._storage
    if storage is not None and (storage.exposed or storage.pinned):
        return False
    plain = type(array) is np.ndarray and array.base is None and array.flags.owndata
    return plain and array.flags.c_contiguous and array.nbytes >= LEAST


def present(x: Any) -> np.ndarray:
    """The array of a tensor, ABSENT for a released one: nothing is restored."""
    array = x.__dict__.get("_data")
    if array is None:
        return x._data if x._released is None else ABSENT
    return array


def identity(x: Any) -> Any:
    """An object that stays the same as long as the tensor's values do, unless they are written."""
    array, record = x.__dict__.get("_data"), x._released
    if array is None and record is None:
        return x._data  # says why there is none
    return record if array is None or (record is not None and array is record.array) else array


__all__ = ["ABSENT", "Released", "identity", "present", "release"]
