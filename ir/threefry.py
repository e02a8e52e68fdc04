"""Threefry-2x32-20, the counter-based generator, in numpy.

Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011), section
4.2. The kernel level has the same function as scalar code (`Kernel.random_bits`); both give the
same bits for the same key and index, so eager and compiled runs draw the same numbers.
"""

from __future__ import annotations

import numpy as np

ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
PARITY = 0x1BD11BDA
BLOCK = 1 << 14  # elements per pass: small enough to stay in cache


def threefry2x32(key0, key1, x0, x1):
    """One block of two 32-bit words; all arguments are uint32 arrays (or scalars)."""
    keys = (key0, key1, key0 ^ key1 ^ np.uint32(PARITY))
    x0, x1 = x0 + keys[0], x1 + keys[1]
    for group in range(5):
        for r in ROTATIONS[group % 2]:
            x0 = x0 + x1
            x1 = ((x1 << np.uint32(r)) | (x1 >> np.uint32(32 - r))) ^ x0
        x0 = x0 + keys[(group + 1) % 3]
        x1 = x1 + keys[(group + 2) % 3] + np.uint32(group + 1)
    return x0, x1


def key_words(seed: int, offset: int) -> tuple[int, int]:
    """The two key words of a (seed, offset) pair of int64: every bit of both takes part."""
    return (seed ^ (offset >> 32)) & 0xFFFFFFFF, ((seed >> 32) ^ offset) & 0xFFFFFFFF


def threefry_words(key: np.ndarray, count: int, first: int = 0) -> np.ndarray:
    """Elements `first` to `first + count` of the stream of `key` (int64[2]) as int32."""
    out = np.empty(count, np.int32)
    for start in range(0, count, BLOCK):
        stop = min(start + BLOCK, count)
        index = np.arange(first + start, first + stop, dtype=np.uint64)
        out[start:stop] = threefry_at(key, index)
    return out


def threefry_at(key: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Elements of the stream of `key` (int64[2]) by their numbers (uint64), as int32."""
    with np.errstate(over="ignore"):
        a, b = (np.full(1, w, np.uint32) for w in key_words(int(key[0]), int(key[1])))
        low, high = index.astype(np.uint32), (index >> np.uint64(32)).astype(np.uint32)
        return threefry2x32(a, b, low, high)[0].view(np.int32)
