"""LLVM's code out of this process's memory once code generation is done.

A compilation touches some 65 MB of LLVM's library: pages of the file that a later compilation finds
in the system's cache again, in about 2 ms. They would count while weights are packed, which is when
a process holds most.
"""

from __future__ import annotations

import mmap
import os
import struct
import sys
from collections.abc import Iterator

import numpy as np

from ..llvm_library import library_path
from .pages import DONTNEED, madvise

LARGE = 64 << 20  # bytes of a program's values from which on these pages matter
_PT_LOAD, _WRITABLE = 1, 2
_PRESENT, _OF_FILE = np.uint64(1 << 63), np.uint64(1 << 61)  # bits of /proc/self/pagemap


def drop_library_pages() -> int:
    """Let the system have LLVM's pages that are as in the file; returns their bytes.

    Does nothing but on Linux.
    """
    path, advise = library_path(), madvise()
    if path is None or advise is None or sys.byteorder != "little":
        return 0
    try:
        begins = _constant_segments(path)
        found = list(_unchanged(os.fsencode(os.path.realpath(path)), begins))
    except (OSError, ValueError, struct.error):
        return 0
    for begin, end in found:
        advise(begin, end - begin, DONTNEED)
    return sum(end - begin for begin, end in found)


def _constant_segments(path: str) -> set[int]:
    """Where in the file the parts begin that are mapped but never written: code and constants."""
    with open(path, "rb") as file:
        head = file.read(64)
        if head[:6] != b"\x7fELF\x02\x01":
            return set()
        (start,) = struct.unpack_from("<Q", head, 32)
        size, count = struct.unpack_from("<HH", head, 54)
        file.seek(start)
        table = file.read(size * count)
    kinds: dict[bool, set[int]] = {False: set(), True: set()}
    for i in range(count):
        kind, flags, offset = struct.unpack_from("<IIQ", table, i * size)
        if kind == _PT_LOAD:
            kinds[bool(flags & _WRITABLE)].add(offset // mmap.PAGESIZE * mmap.PAGESIZE)
    return kinds[False] - kinds[True]


def _unchanged(path: bytes, begins: set[int]) -> Iterator[tuple[int, int]]:
    """The mappings of these parts of a file of which this process has no pages of its own (a
    debugger's break points, relocations)."""
    with open("/proc/self/maps", "rb") as file:
        text = file.read()
    with open("/proc/self/pagemap", "rb", buffering=0) as pages:
        for line in text.splitlines():
            if not line.endswith(path):
                continue
            place, rights, offset, _, _, name = line.split(None, 5)
            begin, end = (int(x, 16) for x in place.split(b"-"))
            if name != path or rights[1:2] == b"w" or int(offset, 16) not in begins:
                continue
            pages.seek(begin // mmap.PAGESIZE * 8)
            count = (end - begin) // mmap.PAGESIZE
            state = np.frombuffer(pages.read(count * 8), np.uint64)
            own = (state & _PRESENT != 0) & (state & _OF_FILE == 0)
            if len(state) == count and not own.any():
                yield begin, end
