"""Pages of arrays that are given up, laid under arrays that are about to be written.

Memory that a process touches for the first time is zeroed by the system, which for packed weights
takes longer than packing them. The pages of a plain weight that is not needed any more serve for
the packed ones that come next instead: Linux moves them from address to address (mremap with
MREMAP_DONTUNMAP, which leaves the old addresses empty, as `give_back` does).
"""

from __future__ import annotations

import ctypes
import functools
import mmap
import os
import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .pages import give_back

MAYMOVE, FIXED, DONTUNMAP = 1, 2, 4  # of mremap
MAP_FIXED = 0x10
HUGE, LARGE = 2 << 20, 4 << 20  # a huge page; bytes from which on NumPy asks for them
RUN = 1 << 16  # smaller pages move in runs: neighbours that share an entry of the TLB still do
LEAST = 4 * RUN  # bytes of an array that is worth a call of the system
FAILED = ctypes.c_void_p(-1).value


@dataclass
class Goal:
    """Whole units of a result: the part that writes it, size of a unit, first address and end."""

    part: int
    unit: int
    low: int
    high: int


class MovedPages:
    """Where pages can go: results by the number of the part that writes them first."""

    def __init__(self, results: Sequence[np.ndarray | None], parts: Sequence[Sequence[int]]):
        self._open: deque[Goal] = deque()
        self._move = _mremap()
        if self._move is not None:
            for part, numbers in enumerate(parts):
                for number in numbers:
                    array = results[number]
                    if array is not None and array.nbytes >= LEAST:
                        unit = _unit(array)
                        self._open.append(Goal(part, unit, *_inside(array, unit)))

    def begin(self, part: int) -> None:
        """What this part and those before it write is theirs from now on."""
        while self._open and self._open[0].part <= part:
            self._open.popleft()

    def take(self, array: np.ndarray) -> None:
        """Give up the memory of a contiguous array that owns it; its contents are lost."""
        unit = _unit(array)
        low, high = _inside(array, unit)
        for goal in self._open:
            size = min(high - low, goal.high - goal.low)
            if goal.unit != unit or size <= 0:
                continue
            if self._move is None or not self._moved(low, goal.low, size):
                break
            low += size
            goal.low += size
        give_back(array)

    def _moved(self, source: int, to: int, size: int) -> bool:
        assert self._move is not None
        if self._move(source, size, size, MAYMOVE | FIXED | DONTUNMAP, to) == to:
            return True
        self._move = None  # where it fails once, it is not tried again
        _map_again(to, size)
        return False


def _unit(array: np.ndarray) -> int:
    """Bytes of a huge page, which stays whole, or of a run of pages."""
    return HUGE if array.nbytes >= LARGE else RUN


def _inside(array: np.ndarray, unit: int) -> tuple[int, int]:
    """The whole units in an array; without the first bytes of one with huge pages, for which
    NumPy does not ask."""
    start = array.__array_interface__["data"][0]
    first = start + (mmap.PAGESIZE if unit == HUGE else 0)
    return -(-first // unit) * unit, (start + array.nbytes) // unit * unit


@functools.cache
def _mremap() -> Callable[..., int] | None:
    if sys.platform != "linux":
        return None
    found = ctypes.CDLL(None).mremap
    size, address = ctypes.c_size_t, ctypes.c_void_p
    found.argtypes, found.restype = [address, size, size, ctypes.c_int, address], address
    return found


def _map_again(address: int, size: int) -> None:
    """Fresh memory at an address that a failed move may have left without any."""
    found = ctypes.CDLL(None, use_errno=True).mmap
    word, number = ctypes.c_size_t, ctypes.c_int
    found.argtypes = [ctypes.c_void_p, word, number, number, number, ctypes.c_long]
    found.restype = ctypes.c_void_p
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_FIXED
    if found(address, size, mmap.PROT_READ | mmap.PROT_WRITE, flags, -1, 0) == FAILED:
        raise MemoryError(f"no memory for packed weights: {os.strerror(ctypes.get_errno())}")
