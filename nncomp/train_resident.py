"""Training steps whose parameters and optimizer state stay on the device from step to step.

    step = nncomp.compile_train_step(model, loss_fn, optimizer, backend="ptx")
    with step.on_device():
        for x, y in loader:
            loss = step(x, y)      # only x, y and the hyper-parameters are copied
    model.state_dict()             # the block has copied everything back
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


class OnDevice:
    """The block; one program at a time has its values on the device."""

    def __init__(self, step: Any):
        self.step = step
        self._program: Any = None
        self._tensors: Sequence[Any] = ()
        self._arrays: Sequence[np.ndarray] = ()
        self._counts: list[int] = []

    def __enter__(self) -> OnDevice:
        if self.step.resident is not None:
            raise RuntimeError("this train step is inside of an on_device() block already")
        self.step.resident = self
        return self

    def __exit__(self, *exception: Any) -> None:
        self.step.resident = None
        self.settle()

    def holds(self, program: Any) -> bool:
        """Whether steps of this program run here: its backend has a device."""
        return hasattr(program.runner, "turn")

    def run(self, program: Any, tensors: Sequence[Any]) -> list:
        """One step; RuntimeError if its parameters were written elsewhere meanwhile."""
        captures = program.binding.captures
        if self._program is program:
            self._check(captures)
        arrays = self._begin(program, tensors)
        return program.runner.turn(arrays, range(len(captures), len(arrays)))

    def _begin(self, program: Any, tensors: Sequence[Any]) -> Sequence[np.ndarray]:
        """The arrays of this step, with everything on the device."""
        count = len(program.binding.captures)
        if self._program is not program:
            self.settle()  # before the arrays are taken: copies of them would be old
        arrays = program.binding.arrays(tensors)
        if self._program is not program:
            program.runner.begin(arrays)
            self._program, self._tensors, self._arrays = program, tensors[:count], arrays
            self._counts = [_writes(x) for x in self._tensors]
        return arrays

    def _check(self, captures: Sequence[Any]) -> None:
        same = all(a is b for a, b in zip(captures, self._tensors, strict=True))
        if not same or self._counts != [_writes(x) for x in captures]:
            raise RuntimeError(
                "a parameter, buffer or state of the optimizer was written or replaced inside of "
                "an on_device() block, where the device has the values; leave the block first"
            )

    def settle(self) -> None:
        """Copy everything that steps have updated back to the tensors."""
        program, self._program = self._program, None
        if program is not None:
            program.runner.end(self._arrays)
            program.binding.after_writes(self._tensors, self._arrays)


def _writes(x: Any) -> int:
    """How often a tensor's memory was written by operations."""
    writes = x._storage.writes if x._storage is not None else 0
    return writes + (x._counter[0] if x._counter is not None else 0)
