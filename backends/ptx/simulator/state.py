"""What a launch in flight holds: registers of all lanes of some blocks, masks, memory.

A register is an array of shape (blocks or 1, threads or 1): values that all threads or all blocks
share stay small, and numpy's broadcasting does the rest. Threads are padded to whole warps; lanes
that do not exist are never active.
"""

from __future__ import annotations

from collections.abc import Container
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from .flat import Op
    from .memory import Memory

WARP = 32
SHARED_WINDOW = 0x0001_0000_0000_0000  # generic addresses of shared, local and param space
LOCAL_WINDOW = 0x0002_0000_0000_0000
PARAM_WINDOW = 0x0003_0000_0000_0000
ONE = np.ones((1, 1), bool)


class Fault(Exception):
    """What went wrong in one lane; the launch adds kernel, line and instruction."""

    def __init__(self, message: str, lane: tuple[int, int] | None = None):
        super().__init__(message)
        self.lane = lane  # block of the chunk, thread of the block


class Everything(Container[int]):
    """The set of all registers."""

    def __contains__(self, item: object) -> bool:
        return True


EVERYTHING = Everything()


class Observer(Protocol):
    """Who is told of memory accesses and synchronisation (watch.py)."""

    def read(self, s: State, space: str, address: np.ndarray, mask: np.ndarray,
             nbytes: int) -> None: ...  # fmt: skip

    def write(self, s: State, space: str, address: np.ndarray, mask: np.ndarray, nbytes: int,
              values: list[np.ndarray] | None, counted: bool = True) -> None: ...  # fmt: skip

    def atomic(self, s: State, space: str, address: np.ndarray, mask: np.ndarray,
               nbytes: int) -> None: ...  # fmt: skip

    def barrier(self, s: State, blocks: np.ndarray) -> None: ...

    def warp_barrier(self, s: State, mask: np.ndarray) -> None: ...

    def fence(self, s: State, mask: np.ndarray) -> None: ...


class State:
    """Registers and memory of `blocks` blocks that run together."""

    def __init__(self, memory: Memory, registers: int, block_ids: np.ndarray,
                 grid: tuple, block: tuple, shared_bytes: int, local_bytes: int):  # fmt: skip
        self.memory = memory
        self.grid, self.block = grid, block
        self.block_ids = block_ids
        self.blocks = len(block_ids)
        self.threads = block[0] * block[1] * block[2]  # that exist
        self.width = (self.threads + WARP - 1) // WARP * WARP
        self.warps = self.width // WARP
        self.regs: list[np.ndarray | None] = [None] * registers
        self.exists = ONE
        if self.width != self.threads:
            self.exists = (np.arange(self.width) < self.threads)[None, :]
        self.mask = self.exists  # lanes that execute the current instruction
        self.live = self.exists  # lanes that have not returned
        self.keep: Container[int] = frozenset()  # registers that other lanes still need
        self.shared_bytes, self.local_bytes = shared_bytes, local_bytes
        self.shared_stride = (shared_bytes + 15) // 16 * 16
        self.local_stride = (local_bytes + 15) // 16 * 16
        self.shared = np.full(self.blocks * self.shared_stride, 0xFF, np.uint8)
        self.shared_valid = np.zeros(self.shared.size, np.uint8)
        local = self.blocks * self.width * self.local_stride
        self.local = np.full(local, 0xFF, np.uint8)
        self.local_valid = np.zeros(local, np.uint8)
        self.params = np.zeros(0, np.uint8)
        self.symbols: dict[str, int] = {}
        self.block_index = np.arange(self.blocks, dtype=np.int64)[:, None]
        self.lane_index = self.block_index * self.width + np.arange(self.width)[None, :]
        self.specials: dict[str, np.ndarray] = {}
        self.observer: Observer | None = None
        self.check_written = True
        self.strict = False  # undefined values are errors
        self.op: Op | None = None  # the instruction at work, for observers
        self.views: dict = {}
        self.copies: list = []  # cp.async operations not yet complete
        self.groups = np.zeros((1, 1), np.int64)  # groups committed so far, per lane
        self.steps = 0
        self.noise: np.random.Generator | None = None

    @property
    def at_work(self) -> Op:
        """The instruction at work, which there always is when observers are called."""
        assert self.op is not None
        return self.op

    @property
    def shape(self) -> tuple[int, int]:
        return self.blocks, self.width

    def full(self, array: np.ndarray) -> np.ndarray:
        """An array as one value per lane."""
        return np.broadcast_to(array, self.shape)

    def assign(self, index: int, value: np.ndarray) -> None:
        """Give a register its value in the active lanes."""
        if index in self.keep:
            old = self.regs[index]
            if old is not None:
                if old.dtype is not value.dtype:
                    old = old.view(value.dtype)
                value = np.where(self.mask, value, old)
        self.regs[index] = value

    def special(self, name: str) -> np.ndarray:
        """A special register such as %tid.x, as uint32 or uint64."""
        found = self.specials.get(name)
        if found is None:
            found = self.make_special(name)
            if not name.startswith(("%clock", "%globaltimer")):
                self.specials[name] = found
        return found

    def make_special(self, name: str) -> np.ndarray:
        register, _, axis = name.lstrip("%").partition(".")
        lanes = np.arange(self.width, dtype=np.uint32)[None, :]
        if axis:
            at = "xyz".index(axis)
            if register in ("ntid", "nctaid", "nclusterid"):
                return constant(self.block[at] if register == "ntid" else self.grid[at])
            if register in ("cluster_ctaid", "cluster_nctaid"):
                return constant(int(register == "cluster_nctaid"))
            size = self.block if register == "tid" else self.grid
            index = lanes if register == "tid" else self.block_ids.astype(np.uint32)[:, None]
            for extent in size[:at]:
                index = index // np.uint32(extent)
            return index % np.uint32(size[at]) if at < 2 else index
        if register == "laneid":
            return lanes % np.uint32(WARP)
        if register == "warpid":
            return lanes // np.uint32(WARP)
        if register.startswith("lanemask_"):
            return lane_masks(register[-2:], lanes % np.uint32(WARP))
        if register.startswith(("clock", "globaltimer")):
            wide = register in ("clock64", "globaltimer")
            return np.full((1, 1), self.steps, np.uint64 if wide else np.uint32)
        values = {
            "nwarpid": self.warps, "WARP_SZ": WARP, "smid": 0, "nsmid": 1, "gridid": 0,
            "total_smem_size": self.shared_bytes, "cluster_ctarank": 0, "cluster_nctarank": 1,
            "is_explicit_cluster": 0, "dynamic_smem_size": self.shared_bytes,
        }  # fmt: skip
        return constant(values[register])

    def name_lane(self, lane: tuple[int, int]) -> str:
        """Block and thread of a lane as a CUDA program counts them."""
        block, thread = int(self.block_ids[lane[0]]), lane[1]
        return f"block {index3(block, self.grid)}, thread {index3(thread, self.block)}"


def constant(value: int) -> np.ndarray:
    return np.full((1, 1), value, np.uint32)


def lane_masks(which: str, lanes: np.ndarray) -> np.ndarray:
    """%lanemask_eq and its kin."""
    own = np.uint64(1) << lanes.astype(np.uint64)
    below = own - np.uint64(1)
    masks = {"eq": own, "lt": below, "le": below | own,
             "gt": ~(below | own), "ge": ~below}  # fmt: skip
    return (masks[which] & np.uint64(0xFFFFFFFF)).astype(np.uint32)


def index3(flat: int, size: tuple) -> tuple[int, int, int]:
    return flat % size[0], flat // size[0] % size[1], flat // (size[0] * size[1])


def lane_bits(s: State, mask: np.ndarray) -> np.ndarray:
    """For each lane, the active lanes of its warp as bits; shape (blocks, threads)."""
    lanes = s.full(mask).reshape(s.blocks, s.warps, WARP)
    weights = (np.uint32(1) << np.arange(WARP, dtype=np.uint32))[None, None, :]
    bits = (lanes * weights).sum(-1, dtype=np.uint64).astype(np.uint32)
    return np.repeat(bits, WARP, axis=1)
