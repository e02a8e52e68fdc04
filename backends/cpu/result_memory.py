"""Memory of large results that the next call of a program takes again.

A training step drops its gradients and what it kept for them before the next one makes new ones.
Giving such memory back to the system and touching new pages each time costs more than many kernels.
A block is taken again once nobody but this table refers to it: results are views of blocks, so any
Tensor, array or buffer on them counts as a reference.
"""

from __future__ import annotations

import sys
import threading

import numpy as np
from nncomp.ir.types import TensorType

LARGE = 1 << 18  # bytes of a result from which on its pages cost more than looking here
LINE = 64  # bytes of a cache line, where blocks begin


def _references(blocks: list, number: int) -> int:
    return sys.getrefcount(blocks[number])


UNUSED = _references([object()], 0)  # of what only the list refers to


class ResultMemory:
    """One block for each large result; thread-safe."""

    def __init__(self) -> None:
        self._blocks: list[np.ndarray | None] = []
        self._lock = threading.Lock()

    def take(self, types: list[TensorType | None]) -> list:
        """Arrays for these results, of undefined contents; None where there is no type."""
        with self._lock:
            if len(self._blocks) != len(types):
                self._blocks = [None] * len(types)
            return [None if t is None else self._array(i, t) for i, t in enumerate(types)]

    def _array(self, number: int, type: TensorType) -> np.ndarray:
        if type.nbytes < LARGE:
            return np.empty(type.shape, type.dtype.numpy)
        if self._blocks[number] is None or _references(self._blocks, number) > UNUSED:
            self._blocks[number] = np.empty(type.nbytes + LINE, np.uint8)
        block = self._blocks[number]
        assert block is not None
        start = -block.__array_interface__["data"][0] % LINE
        return np.ndarray(type.shape, type.dtype.numpy, block, start)


def can_count() -> bool:
    """Whether this Python counts references exactly: one with a global lock does."""
    return getattr(sys, "_is_gil_enabled", lambda: True)()
