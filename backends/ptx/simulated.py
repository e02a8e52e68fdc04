"""The PTX interpreter as a device: slow, but it sees every mistake in memory and in synchronising.

With `race` every launch is also searched for threads that touch the same memory unordered; with
`count` the reports say what memory traffic each access caused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .device import Call


class SimulatedDevice:
    """Memory and launches of the interpreter; `reports` keeps what the last run counted."""

    name = "PTX simulator"

    def __init__(self, race: bool = False, count: bool = False):
        from .simulator import Memory

        self.race, self.count = race, count
        self.memory = Memory()
        self.reports: list[Any] = []

    def allocate(self, nbytes: int) -> int:
        """New memory, which is an error to read before it is written."""
        return self.memory.alloc(nbytes)

    def free(self, address: int) -> None:
        """Give memory back; using it later is an error."""
        self.memory.free(address)
        if not self.memory.buffers:
            self.memory = type(self.memory)()

    def copy_in(self, address: int, array: np.ndarray) -> None:
        """Copy a C-contiguous array to the device."""
        self.memory.write(address, array)

    def copy_out(self, array: np.ndarray, address: int) -> None:
        """Copy from the device into a C-contiguous array."""
        array[...] = self.memory.get(address, array.dtype, array.shape)

    def copy_out_all(self, pairs: Sequence[tuple[np.ndarray, int]]) -> None:
        """`copy_out` of several arrays from their addresses."""
        for array, address in pairs:
            self.copy_out(array, address)

    def copy_between(self, target: int, source: int, nbytes: int) -> None:
        """Copy from one place of the device to another."""
        self.memory.write(target, self.memory.get(source, np.uint8, nbytes))

    def load(self, ptx: str) -> Any:
        """The parsed module."""
        from .simulator import load

        return load(ptx)

    def launch(self, calls: Sequence[Call]) -> None:
        """Run the calls once, one after the other."""
        self.capture(calls)()

    def capture(self, calls: Sequence[Call]) -> Callable[[], None]:
        """A function that runs the calls one after the other."""

        def replay() -> None:
            self.reports = [self._launch(call) for call in calls]

        return replay

    def _launch(self, call: Call) -> Any:
        launch = call.launch
        return call.module.launch(
            launch.function, launch.grid, launch.block, call.pointers,
            shared_bytes=launch.shared, memory=self.memory, race=self.race, count=self.count,
        )  # fmt: skip

    def synchronize(self) -> None:
        """Nothing: launches have ended when they return."""
