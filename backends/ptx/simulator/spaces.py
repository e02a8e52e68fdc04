"""Reading and writing memory from all active lanes at once, with the checks of each access.

Bounds and alignment are always checked; reading bytes that nobody wrote is an error unless the
launch allows it. Generic addresses are told apart by the windows of state.py.
"""

from __future__ import annotations

import numpy as np

from .memory import BASE
from .state import LOCAL_WINDOW, PARAM_WINDOW, SHARED_WINDOW, Fault, State

WINDOWS = ((PARAM_WINDOW, "param"), (LOCAL_WINDOW, "local"), (SHARED_WINDOW, "shared"))
ONES = {1: np.uint8(1), 2: np.uint16(0x0101), 4: np.uint32(0x01010101),
        8: np.uint64(0x0101010101010101)}  # fmt: skip
UNSIGNED: dict[int, np.dtype] = {n: np.dtype(f"uint{8 * n}") for n in (1, 2, 4, 8)}


class Access:
    """Where the active lanes read or write: `index` is a byte offset into `data`."""

    __slots__ = ("space", "index", "picked", "shape", "data", "valid", "nbytes", "known")

    def __init__(self, s: State, space: str, address: np.ndarray, mask: np.ndarray, nbytes: int,
                 value_shapes: tuple = ()):  # fmt: skip
        self.space, self.nbytes, self.known = space, nbytes, False
        address = address.astype(np.int64)
        if space == "shared" and s.blocks > 1:
            shape: tuple = (s.blocks, address.shape[1])
        elif space == "local":
            shape = s.shape
        else:
            shape = address.shape
        if value_shapes:  # a store: every lane's value counts
            shape = np.broadcast_shapes(shape, *value_shapes)
        single = shape == (1, 1)
        if single or mask.size == 1:
            self.picked: np.ndarray | None = None
            index = address if address.shape == shape else np.broadcast_to(address, shape)
        else:
            shape = np.broadcast_shapes(shape, mask.shape)
            self.picked = np.broadcast_to(mask, shape)
            index = np.broadcast_to(address, shape)[self.picked]
        self.shape = shape
        place = getattr(self, space)
        self.index = place(s, index)

    def own(self, offset: np.ndarray, index: np.ndarray) -> np.ndarray:
        """Shift the offsets of lanes' or blocks' own pieces of memory to where they start."""
        piece = np.broadcast_to(offset, self.shape)
        return index + (piece if self.picked is None else piece[self.picked])

    # one method per space: bounds, and byte offsets into data

    def globals(self, s: State, index: np.ndarray) -> np.ndarray:
        memory = s.memory
        index = index - BASE
        low, high = int(index.min()), int(index.max())
        buffer = memory.find(low)
        if buffer is None or high + self.nbytes > buffer.end:
            bad = memory.outside(index, self.nbytes)
            if bad.any():
                at = int(index[bad][0])
                raise self.fault(s, bad, f"{self.nbytes} bytes at global address {at + BASE:#x}, "
                                 f"{memory.describe(at)}")  # fmt: skip
        elif buffer.full:
            self.known = True
        self.data, self.valid = memory.data, memory.valid
        return index

    def bounded(self, s: State, index: np.ndarray, limit: int) -> None:
        if int(index.min()) < 0 or int(index.max()) + self.nbytes > limit:
            bad = (index < 0) | (index + self.nbytes > limit)
            raise self.fault(s, bad, f"{self.nbytes} bytes at {self.space} address "
                             f"{int(index[bad][0]):#x}, outside of its {limit} bytes")  # fmt: skip

    def shared(self, s: State, index: np.ndarray) -> np.ndarray:
        self.bounded(s, index, s.shared_bytes)
        self.data, self.valid = s.shared, s.shared_valid
        return index if s.blocks == 1 else self.own(s.block_index * s.shared_stride, index)

    def local(self, s: State, index: np.ndarray) -> np.ndarray:
        self.bounded(s, index, s.local_bytes)
        self.data, self.valid = s.local, s.local_valid
        return self.own(s.lane_index * s.local_stride, index)

    def param(self, s: State, index: np.ndarray) -> np.ndarray:
        self.bounded(s, index, len(s.params))
        self.data, self.known = s.params, True
        return index

    def fault(self, s: State, bad: np.ndarray, what: str) -> Fault:
        """A Fault at the first lane of `bad`, which is aligned with `index`."""
        lanes = np.argwhere(self.picked) if self.picked is not None else None
        at = int(np.flatnonzero(bad)[0])
        if lanes is None:
            lane = np.unravel_index(at, self.shape)
            if self.shape == (1, 1):
                lane = np.argwhere(s.full(s.mask))[0]
        else:
            lane = lanes[at]
        return Fault(what, (int(lane[0]), int(lane[1])))

    def aligned(self, s: State, index: np.ndarray, align: int) -> None:
        off = index & (align - 1)
        if off.any():
            at = int(index[off != 0][0])
            name, start = ("global", BASE) if self.space == "globals" else (self.space, 0)
            raise self.fault(s, off != 0, f"{name} address {at + start:#x} is not a multiple of "
                             f"{align}, the size of the access")  # fmt: skip

    # -- data -----------------------------------------------------------------------------------

    def read(self, s: State, width: int, count: int) -> list[np.ndarray]:
        """`count` unsigned elements of `width` bytes from each lane; 0 in lanes that are off."""
        self.aligned(s, self.index, width * count)
        kind = UNSIGNED[width]
        at = self.index >> (width.bit_length() - 1)
        if not self.known and s.check_written:
            self.written(s, width, count, at)
        data = view(s, self.space, self.data, kind)
        found = []
        for j in range(count):
            values = data.take(at + j if j else at)
            if self.picked is not None:
                out = np.zeros(self.shape, kind)
                out[self.picked] = values
                values = out
            found.append(values)
        return found

    def written(self, s: State, width: int, count: int, at: np.ndarray) -> None:
        valid = view(s, self.space + " valid", self.valid, UNSIGNED[width])
        for j in range(count):
            bad = valid.take(at + j) != ONES[width]
            if bad.any():
                where = int(self.index[bad][0]) + j * width
                text = f"{self.space} byte offset {where:#x}"
                if self.space == "globals":
                    text = f"global address {where + BASE:#x} ({s.memory.describe(where)})"
                marks = self.valid[self.index[bad][0] + j * width :][:width]
                why = "a copy is still writing" if (marks == 2).any() else "nobody wrote"
                raise self.fault(s, bad, f"reads {width} bytes at {text}, which {why}")

    def write(self, s: State, values: list[np.ndarray]) -> None:
        """Store one unsigned array per element; of lanes that share an address the last wins."""
        width = values[0].dtype.itemsize
        self.aligned(s, self.index, width * len(values))
        at = self.index >> (width.bit_length() - 1)
        kind = UNSIGNED[width]
        data = view(s, self.space, self.data, kind)
        valid = None
        if not self.known:
            valid = view(s, self.space + " valid", self.valid, kind)
        for j, value in enumerate(values):
            value = np.broadcast_to(value, self.shape)
            where = at + j if j else at
            data[where] = value if self.picked is None else value[self.picked]
            if valid is not None:
                valid[where] = ONES[width]


def view(s: State, space: str, data: np.ndarray, kind: np.dtype) -> np.ndarray:
    """`data` as elements of `kind`, remembered."""
    if space == "globals":
        return s.memory.view(kind)
    key = (space, kind)
    found = s.views.get(key)
    if found is None or space.startswith("globals"):
        whole = len(data) // kind.itemsize * kind.itemsize
        found = s.views[key] = data[:whole].view(kind)
    return found


def split(s: State, address: np.ndarray, mask: np.ndarray) -> list[tuple[str, int, np.ndarray]]:
    """The spaces that generic addresses point to: (space, start of its window, lanes)."""
    page = address >> np.uint64(48)
    if mask.size > 1:
        shape = np.broadcast_shapes(page.shape, mask.shape)
        found = np.unique(np.broadcast_to(page, shape)[np.broadcast_to(mask, shape)])
    else:
        found = np.unique(page)
    pieces = []
    for number in found:
        start, space = next(((w, n) for w, n in WINDOWS if w >> 48 == int(number)), (0, "globals"))
        chosen = mask if len(found) == 1 else mask & (page == number)
        pieces.append((space, start, chosen))
    return pieces


def load(s: State, space: str, address: np.ndarray, width: int, count: int) -> list[np.ndarray]:
    """What an ld of `count` elements of `width` bytes reads, per lane."""
    if space != "generic":
        access = Access(s, space, address, s.mask, width * count)
        if s.observer is not None:
            s.observer.read(s, space, address, s.mask, width * count)
        return access.read(s, width, count)
    result: list[np.ndarray] | None = None
    for inner, start, mask in split(s, address, s.mask):
        inner_address = address - np.uint64(start)
        access = Access(s, inner, inner_address, mask, width * count)
        if s.observer is not None:
            s.observer.read(s, inner, inner_address, mask, width * count)
        found = access.read(s, width, count)
        if result is not None:
            found = [np.where(mask, new, old) for new, old in zip(found, result, strict=True)]
        result = found
    assert result is not None
    return result


def store(s: State, space: str, address: np.ndarray, values: list[np.ndarray]) -> None:
    """An st of unsigned elements, one array per element."""
    nbytes = values[0].dtype.itemsize * len(values)
    shapes = tuple(value.shape for value in values)
    pieces = [(space, 0, s.mask)] if space != "generic" else split(s, address, s.mask)
    for inner, start, mask in pieces:
        if inner == "param":
            raise Fault("writes to the kernel's parameters.")
        inner_address = address - np.uint64(start) if start else address
        access = Access(s, inner, inner_address, mask, nbytes, shapes)
        if s.observer is not None:
            s.observer.write(s, inner, inner_address, mask, nbytes, values)
        access.write(s, values)
