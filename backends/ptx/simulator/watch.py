"""Observers of a launch, asked for by `race=` and `count=`: one object that tells both."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .blocks import Kernel
from .counters import Counter
from .flat import Op
from .race import Race
from .state import State
from .syntax import type_bits

if TYPE_CHECKING:
    from .module import Report


class Watchers:
    """Passes accesses on to the race detector and the counter."""

    def __init__(self, kernel: Kernel, race: bool, count: bool, blocks: int, width: int):
        self.race = Race(blocks, width) if race else None
        self.counter = Counter() if count else None
        self.granule = granule(kernel.flat.ops)

    def start(self, s: State) -> None:
        if self.race:
            self.race.start(s, self.granule)

    def read(self, s: State, space: str, address: np.ndarray, mask: np.ndarray,
             nbytes: int) -> None:  # fmt: skip
        if self.race and space in ("globals", "shared"):
            self.race.read(s, space, address, mask, nbytes)
        if self.counter:
            self.counter.access(s, "read", space, address, mask, nbytes)

    def write(self, s: State, space: str, address: np.ndarray, mask: np.ndarray, nbytes: int,
              values: list[np.ndarray] | None, counted: bool = True) -> None:  # fmt: skip
        if self.race and space in ("globals", "shared"):
            self.race.write(s, space, address, mask, nbytes, values)
        if self.counter and counted:
            self.counter.access(s, "write", space, address, mask, nbytes)

    def atomic(self, s: State, space: str, address: np.ndarray, mask: np.ndarray,
               nbytes: int) -> None:  # fmt: skip
        if self.race and space in ("globals", "shared"):
            self.race.write(s, space, address, mask, nbytes, None, atomic=True)
        if self.counter:
            self.counter.access(s, "atomic", space, address, mask, nbytes)

    def barrier(self, s: State, blocks: np.ndarray) -> None:
        if self.race:
            self.race.barrier(s, blocks)

    def warp_barrier(self, s: State, mask: np.ndarray) -> None:
        if self.race:
            self.race.warp_barrier(s, mask)

    def fence(self, s: State, mask: np.ndarray) -> None:
        if self.race:
            self.race.fence(s, mask)

    def report(self, report: Report) -> None:
        """Fill in the counters of a finished launch."""
        if self.counter:
            report.instructions = dict(sorted(self.counter.instructions.items()))
            report.lines = frozenset(self.counter.lines)
            report.accesses = sorted(self.counter.accesses.values(), key=lambda a: a.line)


def granule(ops: list[Op]) -> int:
    """Bytes of the smallest access to memory in a kernel: the unit in which races are tracked."""
    smallest = 16
    for op in ops:
        if op.opcode in ("ld", "st", "atom", "red") and "param" not in op.mods:
            count = next((int(m[1:]) for m in op.mods if m in ("v2", "v4", "v8")), 1)
            smallest = min(smallest, count * type_bits(op.mods[-1]) // 8)
        elif op.opcode == "cp":
            smallest = min(smallest, 4)
    return max(1, smallest)
