"""Constant data of a file: arrays one after the other, each on a cache line of its own.

LLVM would need them as text, three characters per byte. Instead the object is made with zeros
behind a mark, and the bytes are put in their place in the finished file, whatever its format.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

LINE = 64
MARK = 64  # bytes before the data: hex digits of its digest


class Blob:
    """Arrays that are laid out in order; equal ones share their place."""

    def __init__(self) -> None:
        self.size = 0
        self.parts: list[tuple[int, bytes]] = []
        self._known: dict[tuple[int, bytes], int] = {}

    def add(self, array: np.ndarray) -> int:
        """The offset of an array's bytes."""
        data = np.ascontiguousarray(array).tobytes()
        key = len(data), hashlib.sha256(data).digest()
        if key not in self._known:
            self._known[key] = self.size
            self.parts.append((self.size, data))
            self.size += -(-len(data) // LINE) * LINE
        return self._known[key]

    def data(self) -> bytes:
        """All bytes; gaps are zero."""
        whole = bytearray(self.size)
        for at, part in self.parts:
            whole[at : at + len(part)] = part
        return bytes(whole)


def side_file(data: bytes) -> bytes:
    """A file of its own: the same mark, then the data."""
    return mark_of(data) + data


def mark_of(data: bytes) -> bytes:
    """What stands before the data in the file: its sha256 in hex."""
    return hashlib.sha256(data).hexdigest().encode()


def fill(object_file: bytes, blobs: Sequence[bytes]) -> bytes:
    """The object file with the data of its globals; RuntimeError if there is no place for one."""
    whole = object_file
    for data in blobs:
        mark = mark_of(data)
        at = object_file.find(mark)
        start, end = at + MARK, at + MARK + len(data)
        found_again = object_file.find(mark, at + 1) >= 0
        zeros = object_file.count(0, start, end) == len(data)  # how many of the bytes are 0
        if at < 0 or found_again or not zeros:
            raise RuntimeError(
                "the object file that LLVM made does not hold the constants as expected; "
                "export with weights='file'"
            )
        whole = b"".join([memoryview(whole)[:start], data, memoryview(whole)[end:]])
    return whole
