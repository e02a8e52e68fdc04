"""What a launch does to memory, counted: sectors of global memory, bank conflicts, instructions.

A warp's request to global memory moves sectors of 32 bytes. Shared memory has 32 banks of 4 bytes;
one wavefront serves each bank once, and accesses of 8 or 16 bytes per lane go in 2 or 4 parts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .blocks import Block
from .state import WARP, State

SECTOR, BANKS = 32, 32


@dataclass
class AccessCount:
    """The accesses of one instruction, over all warps."""

    line: int
    text: str
    space: str  # global, shared
    kind: str  # read, write, atomic
    requests: int = 0  # warps that executed it
    useful: int = 0  # bytes that a warp asked for, each counted once per request
    sectors: int = 0  # of global memory
    wavefronts: int = 0  # of shared memory
    ideal: int = 0  # wavefronts without conflicts

    @property
    def conflicts(self) -> int:
        """Wavefronts beyond what a conflict-free access would take."""
        return self.wavefronts - self.ideal

    @property
    def moved(self) -> int:
        """Bytes of global memory that move."""
        return self.sectors * SECTOR


class Counter:
    """Counts for one launch."""

    def __init__(self) -> None:
        self.accesses: dict[tuple, AccessCount] = {}
        self.instructions: dict[str, int] = {}
        self.lines: set[int] = set()

    def block(self, s: State, block: Block) -> None:
        """A group of lanes executes a basic block."""
        self.lines.update(op.line for op in block.ops)
        if s.mask.size == 1:
            warps = s.blocks * s.warps
        else:
            warps = int(s.full(s.mask).reshape(-1, WARP).any(1).sum())
        for name, times in block.classes.items():
            self.instructions[name] = self.instructions.get(name, 0) + times * warps

    def access(self, s: State, kind: str, space: str, address: np.ndarray, mask: np.ndarray,
               nbytes: int) -> None:  # fmt: skip
        if space not in ("globals", "shared"):
            return
        op = s.at_work
        key = (op.line, op.text, space, kind)
        found = self.accesses.get(key)
        if found is None:
            name = "global" if space == "globals" else space
            found = self.accesses[key] = AccessCount(key[0], key[1], name, kind)
        lanes = s.full(mask).reshape(-1, WARP)
        where = s.full(address).astype(np.int64).reshape(-1, WARP)
        rows = lanes.any(1)
        lanes, where = lanes[rows], where[rows]
        found.requests += len(lanes)
        warp = np.broadcast_to(np.arange(len(lanes))[:, None], lanes.shape)[lanes]
        active = where[lanes]
        shift = np.int64(1) << 48
        found.useful += len(np.unique(warp * shift + active)) * nbytes
        if space == "globals":
            sectors = warp * shift + active // SECTOR
            last = warp * shift + (active + nbytes - 1) // SECTOR
            found.sectors += len(np.unique(np.r_[sectors, last]))
        else:
            total, parts = wavefronts(lanes, where, nbytes)
            found.wavefronts += total
            found.ideal += parts


def wavefronts(lanes: np.ndarray, where: np.ndarray, nbytes: int) -> tuple[int, int]:
    """(wavefronts, parts) of accesses by warps; `lanes`, `where` of shape (warps, 32).

    Parts are what a conflict-free access takes: 1 for up to 4 bytes a lane, 2 for 8, 4 for 16.
    """
    words = max(1, nbytes // 4)
    group = WARP // words  # lanes of one part
    lanes = lanes.reshape(-1, group)
    used = lanes.any(1)
    lanes, where = lanes[used], where.reshape(-1, group)[used]
    if not len(lanes):
        return 0, 0
    word = (where[..., None] // 4 + np.arange(words)).reshape(len(lanes), -1)
    on = np.repeat(lanes, words, axis=1)
    part = np.broadcast_to(np.arange(len(lanes))[:, None], word.shape)
    distinct = np.unique(part[on] * (np.int64(1) << 40) + word[on])
    row, bank = distinct >> 40, (distinct & ((1 << 40) - 1)) % BANKS
    counts = np.bincount(row * BANKS + bank, minlength=len(lanes) * BANKS)
    return int(counts.reshape(len(lanes), BANKS).max(1).sum()), len(lanes)
