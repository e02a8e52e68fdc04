"""Device memory of the simulator: buffers at addresses, guards, and which bytes were written.

    memory = Memory()
    x = memory.put(array)              # address of a copy
    y = memory.alloc(4 * n, name="y")  # never written: reading it is an error
    memory.get(y, np.float32, (n,))
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike

BASE = 0x7F00_0000_0000  # address of the first byte
GUARD = 512  # bytes that belong to nobody after each buffer
POISON = 0xFF  # NaN in every float type


@dataclass
class Buffer:
    """One allocation: `start` is its offset from BASE; `full` when every byte has a value."""

    start: int
    nbytes: int
    name: str
    full: bool = False

    @property
    def end(self) -> int:
        return self.start + self.nbytes

    @property
    def address(self) -> int:
        return BASE + self.start


class Memory:
    """Buffers in one arena of numpy bytes; addresses are integers as on a device."""

    def __init__(self, capacity: int = 1 << 24):
        self.data = np.zeros(capacity, np.uint8)
        self.valid = np.zeros(capacity, np.uint8)  # 1: this byte was written
        self.starts: list[int] = []
        self.buffers: list[Buffer] = []
        self.top = 0
        self.linked: dict[int, dict[str, int]] = {}  # of modules: addresses of their variables
        self.modules: list[object] = []  # kept alive, as `linked` knows them by id
        self.views: dict[np.dtype, np.ndarray] = {}

    # -- for the host ---------------------------------------------------------------------------

    def alloc(self, nbytes: int, align: int = 256, name: str = "") -> int:
        """Address of a new buffer whose bytes have no value yet."""
        if nbytes < 0:
            raise ValueError(f"cannot allocate {nbytes} bytes.")
        start = (self.top + align - 1) // align * align
        self.top = start + nbytes + GUARD
        if self.top > len(self.data):
            self.grow(self.top)
        name = name or f"buffer {len(self.buffers)}"
        self.starts.append(start)
        self.buffers.append(Buffer(start, nbytes, name, nbytes == 0))
        self.data[start : start + nbytes] = POISON
        self.valid[start : start + nbytes] = 0
        return BASE + start

    def put(self, array: np.ndarray, name: str = "") -> int:
        """Address of a new buffer that holds a copy of `array`."""
        address = self.alloc(array.nbytes, name=name)
        self.write(address, array)
        return address

    def write(self, address: int, array: np.ndarray) -> None:
        """Copy `array` to `address`; it has to lie inside of one buffer."""
        raw = np.frombuffer(np.ascontiguousarray(array).tobytes(), np.uint8)
        buffer = self.inside(address, raw.size)
        at = address - BASE
        self.data[at : at + raw.size] = raw
        self.valid[at : at + raw.size] = 1
        buffer.full = buffer.full or raw.size == buffer.nbytes

    def fill(self, address: int, byte: int, nbytes: int) -> None:
        """Set `nbytes` bytes from `address` to `byte`."""
        self.write(address, np.full(nbytes, byte, np.uint8))

    def get(self, address: int, dtype: DTypeLike, shape: Sequence[int] | int) -> np.ndarray:
        """A copy of what lies at `address`; bytes never written are 0xff."""
        kind = np.dtype(dtype)
        nbytes = int(np.prod(shape, dtype=np.int64)) * kind.itemsize
        self.inside(address, nbytes)
        at = address - BASE
        return np.frombuffer(self.data[at : at + nbytes].tobytes(), kind).reshape(shape).copy()

    def written(self, address: int, nbytes: int) -> bool:
        """Whether each of the bytes was written, by the host or by a kernel."""
        self.inside(address, nbytes)
        at = address - BASE
        return bool(self.valid[at : at + nbytes].all())

    def free(self, address: int) -> None:
        """Give a buffer back; using it later is an error. Space is used again once all are free."""
        buffer = self.inside(address, 0)
        if buffer.address != address:
            raise ValueError(f"{address:#x} is not the start of a buffer.")
        at = self.buffers.index(buffer)
        del self.buffers[at], self.starts[at]
        if not self.buffers:
            self.top = 0

    def inside(self, address: int, nbytes: int) -> Buffer:
        """The buffer that holds these bytes; ValueError if none does."""
        buffer = self.find(address - BASE)
        if buffer is None or address - BASE + nbytes > buffer.end:
            raise ValueError(f"{nbytes} bytes at {address:#x}: {self.describe(address - BASE)}.")
        return buffer

    # -- for the simulator ----------------------------------------------------------------------

    def grow(self, needed: int) -> None:
        size = max(needed, 2 * len(self.data))
        size = (size + 15) // 16 * 16
        for name in ("data", "valid"):
            new = np.zeros(size, np.uint8)
            new[: len(self.data)] = getattr(self, name)[: len(new)]
            if name == "valid":
                self.valid = new
            else:
                grown = new
        self.data = grown
        self.views = {}

    def view(self, dtype: np.dtype) -> np.ndarray:
        """All memory as elements of `dtype`."""
        found = self.views.get(dtype)
        if found is None:
            whole = len(self.data) // dtype.itemsize * dtype.itemsize
            found = self.views[dtype] = self.data[:whole].view(dtype)
        return found

    def find(self, offset: int) -> Buffer | None:
        """The buffer around an offset from BASE."""
        at = bisect_right(self.starts, offset) - 1
        if at < 0:
            return None
        buffer = self.buffers[at]
        return buffer if offset < buffer.end or offset == buffer.start else None

    def describe(self, offset: int) -> str:
        """Where an offset lies, in words, for messages."""
        at = bisect_right(self.starts, offset) - 1
        if at < 0:
            return "no buffer is near that address"
        buffer = self.buffers[at]
        if offset < buffer.end:
            return f"{offset - buffer.start} bytes into {buffer.name!r} of {buffer.nbytes} bytes"
        gap = offset - buffer.end
        return f"{gap} bytes past the end of {buffer.name!r} of {buffer.nbytes} bytes"

    def outside(self, offsets: np.ndarray, nbytes: int) -> np.ndarray:
        """Which accesses of `nbytes` bytes are not inside of one buffer."""
        if not self.starts:
            return np.ones(offsets.shape, bool)
        ends = np.array([b.end for b in self.buffers], np.int64)
        at = np.searchsorted(np.array(self.starts, np.int64), offsets, side="right") - 1
        return (at < 0) | (offsets + nbytes > ends[at])
