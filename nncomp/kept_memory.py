"""Memory for what forward programs leave for backward ones, used again by the next call.

Activations are large and live from call to backward. As arrays of their own they would go back to
the system every time, and the next call would wait for new pages, filled with zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .ir.types import TensorType

LINE = 64  # bytes of a cache line, where every array begins


class Kept(NamedTuple):
    """The arrays of one call, and the memory they lie in."""

    memory: np.ndarray
    arrays: list[np.ndarray]


class KeptMemory:
    """Gives out memory for arrays of these types; of what comes back, one call's is held ready.

    Calls may be in flight at the same time, in any number of threads: each has memory of its own.
    """

    def __init__(self, types: Sequence[TensorType]):
        self.shapes = [(t.shape, np.dtype(t.dtype.numpy)) for t in types]
        self.offsets, self.size = [], LINE
        for t in types:
            self.offsets.append(self.size - LINE)
            self.size += -(-t.nbytes // LINE) * LINE
        self._idle: list[Kept] = []

    def take(self) -> Kept:
        """Memory that nobody else uses, with any contents."""
        try:
            return self._idle.pop()
        except IndexError:
            return self._new()

    def give_back(self, kept: Kept) -> None:
        """End the use of the arrays: the next call may write them."""
        if not self._idle:
            self._idle.append(kept)

    def _new(self) -> Kept:
        memory = np.empty(self.size, np.uint8)
        start = -memory.__array_interface__["data"][0] % LINE
        rows = zip(self.shapes, self.offsets, strict=True)
        return Kept(memory, [np.ndarray(s, d, memory, start + at) for (s, d), at in rows])
