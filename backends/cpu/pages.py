"""Giving memory back to the system while its array lives on."""

from __future__ import annotations

import ctypes
import functools
import mmap
import sys
from collections.abc import Callable

import numpy as np

DONTNEED = 4  # MADV_DONTNEED of Linux


def give_back(array: np.ndarray) -> None:
    """Let the system have the pages inside of a contiguous array; their contents are lost.

    What is only freed may stay with the process for its next allocations. The array must own its
    memory. Does nothing but on Linux.
    """
    advise = madvise()
    if advise is not None:
        start = array.__array_interface__["data"][0]
        low = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE
        high = (start + array.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE
        if high > low:
            advise(low, high - low, DONTNEED)


@functools.cache
def madvise() -> Callable | None:
    """The system's function of that name; None but on Linux."""
    if sys.platform != "linux":
        return None
    found = ctypes.CDLL(None).madvise
    found.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return found
