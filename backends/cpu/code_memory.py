"""Memory that code can be written to and then run from, without LLVM: Linux on x86-64 only."""

from __future__ import annotations

import ctypes
import functools
import mmap
import platform
import sys
import weakref

PAGE = mmap.PAGESIZE
READ, WRITE, RUN = 1, 2, 5  # PROT_READ, PROT_WRITE, PROT_READ | PROT_EXEC
FAILED = ctypes.c_void_p(-1).value  # what mmap answers where there is no memory


@functools.cache
def is_available() -> bool:
    """Whether this system's machine code and calls are the ones known here."""
    is_x86 = platform.machine() in ("x86_64", "AMD64") and sys.maxsize > 1 << 32
    return is_x86 and sys.platform == "linux"


class CodeMemory:
    """Pages of this process, at first to be written; they go with the last reference to this.

    At the end of the process they stay, as threads may still be running what they hold. OSError
    where the system has none to give.
    """

    def __init__(self, size: int) -> None:
        self.size, libc = max(size, 1), _libc()
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        self.address = libc.mmap(None, self.size, READ | WRITE, flags, -1, 0)
        if self.address in (None, FAILED):
            raise OSError(ctypes.get_errno(), "mmap")
        weakref.finalize(self, libc.munmap, self.address, self.size).atexit = False

    def write(self, content: bytes | bytearray) -> None:
        """Put `content` at the beginning."""
        if len(content) > self.size:
            raise ValueError(f"{len(content)} bytes for a memory of {self.size}")
        ctypes.memmove(self.address, bytes(content), len(content))

    def protect(self, start: int, stop: int, access: int) -> None:
        """From now on the pages from `start` up to `stop` can be read, or run, but not written."""
        if stop > start and _libc().mprotect(self.address + start, stop - start, access):
            raise OSError(ctypes.get_errno(), "mprotect")


@functools.cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    place, size, number = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    libc.mmap.restype = place
    libc.mmap.argtypes = [place, size, number, number, number, ctypes.c_long]
    libc.munmap.argtypes = [place, size]
    libc.mprotect.argtypes = [place, size, number]
    return libc
