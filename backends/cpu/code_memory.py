"""Memory that code can be written to and then run from, without LLVM: Linux on x86-64 only."""

from __future__ import annotations

import ctypes
import functools
import mmap
import platform
import sys

PAGE = mmap.PAGESIZE
READ, RUN = 1, 5  # PROT_READ, PROT_READ | PROT_EXEC


@functools.cache
def is_available() -> bool:
    """Whether this system's machine code and calls are the ones known here."""
    is_x86 = platform.machine() in ("x86_64", "AMD64") and sys.maxsize > 1 << 32
    return is_x86 and sys.platform == "linux"


class CodeMemory:
    """Pages of this process, at first to be written; they go with the last reference to this.

    OSError where the system has none to give.
    """

    def __init__(self, size: int) -> None:
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        self._map = mmap.mmap(-1, max(size, 1), flags=flags)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self._map))

    def write(self, content: bytes | bytearray) -> None:
        """Put `content` at the beginning."""
        self._map[: len(content)] = bytes(content)

    def protect(self, start: int, stop: int, access: int) -> None:
        """From now on the pages from `start` up to `stop` can be read, or run, but not written."""
        if stop > start:
            protect = ctypes.CDLL(None, use_errno=True).mprotect
            protect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
            if protect(self.address + start, stop - start, access):
                raise OSError(ctypes.get_errno(), "mprotect")
