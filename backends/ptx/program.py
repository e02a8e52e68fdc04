"""A compiled program on a device: memory for its values, its launches, and how it is called.

Inputs and results have fixed places on the device, so one recorded sequence of launches (a CUDA
graph) serves every call. Loops over launches are written out turn by turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from nncomp.ir.program import LoopStep, Place, Program, Step, steps_of
from nncomp.ir.types import TensorType

from .device import Call, Device
from .stages import Stages


class DeviceProgram:
    """One program with its memory on one device."""

    def __init__(self, stages: Stages, device: Device):
        self.device, self.program = device, stages.program
        self.input_types = [n.type for n in stages.fused_graph.inputs]
        self.output_types = stages.output_types
        self.codes = stages.codes
        self.modules = {name: device.load(text) for name, text in stages.ptx.items()}
        self._owned: list[int] = []
        steps = list(steps_of(self.program.steps))
        places = [place for step in steps for place in step.places if place.base == "in"]
        self.used = frozenset(place.index for place in places)  # inputs that any kernel touches
        self.inputs = [
            self._room(t) if number in self.used else None
            for number, t in enumerate(self.input_types)
        ]
        self.outputs = [None if t is None else self._room(t) for t in self.output_types]
        self.arena = self._allocate(self.program.arena)
        writes = [w for step in steps for w in step.writes]
        self.updated = sorted({place.index for place, _ in writes if place.base == "in"})
        self._replay: Callable[[], None] | None = None

    def _room(self, type: TensorType) -> int:
        return self._allocate(type.nbytes)

    def _allocate(self, nbytes: int) -> int:
        address = self.device.allocate(max(nbytes, 1))
        self._owned.append(address)
        return address

    def run(self) -> None:
        """All launches, on what lies in the inputs now."""
        if self._replay is None:
            self._replay = self.device.capture(list(self.calls()))
        self._replay()

    def calls(self) -> Iterator[Call]:
        """Every launch in order, with its addresses."""
        for step, turns in _unrolled(self.program.steps, {}):
            name = step.kernel.name
            pointers = tuple(self.address(p, turns) for p in step.places)
            for launch in self.codes[name].launches:
                yield Call(self.modules[name], launch, pointers)

    def address(self, place: Place, turns: dict[int, int]) -> int:
        """Where a place is in a turn of the loops around it."""
        bases: Sequence[int | None]
        if place.base == "arena":
            base: int | None = self.arena
        else:
            bases = self.inputs if place.base == "in" else self.outputs
            base = bases[place.index]
        assert base is not None
        return base + place.offset + sum(turns[n] * s for n, s in place.strides)

    # -- arrays ----------------------------------------------------------------------------------

    def put(self, number: int, array: np.ndarray) -> None:
        """Copy an array to input `number`, if anything reads it."""
        address = self.inputs[number]
        if address is not None and array.nbytes:
            self.device.copy_in(address, array)

    def take(self, number: int, address: int) -> None:
        """Copy input `number` from elsewhere on the device, if anything reads it."""
        mine, nbytes = self.inputs[number], self.input_types[number].nbytes
        if mine is not None and nbytes:
            self.device.copy_between(mine, address, nbytes)

    def fetch(self, arrays: Sequence[np.ndarray]) -> None:
        """Write the inputs that the program updates into `arrays`."""
        pairs = [(arrays[n], self.inputs[n]) for n in self.updated]
        self.device.copy_out_all([(array, at) for array, at in pairs if array.nbytes])

    def results(self) -> list[np.ndarray | None]:
        """New arrays with the results; None for updates of inputs."""
        pairs: list[tuple[np.ndarray, int]] = []
        found: list[np.ndarray | None] = []
        for type, address in zip(self.output_types, self.outputs, strict=True):
            if type is None or address is None:
                found.append(None)
                continue
            array = np.empty(type.shape, type.dtype.numpy)
            found.append(array)
            pairs.append((array, address))
        self.device.copy_out_all([(array, at) for array, at in pairs if array.nbytes])
        return found

    def close(self) -> None:
        """Give all memory back."""
        owned, self._owned, self._replay = self._owned, [], None
        for address in owned:
            self.device.free(address)

    def __del__(self) -> None:
        try:
            self.close()
        except Exception:  # noqa: S110  at exit the device may be gone already
            pass


def _unrolled(
    items: Sequence[Step | LoopStep], turns: dict[int, int]
) -> Iterator[tuple[Step, dict[int, int]]]:
    """Every step in the order in which it runs, with the turns of the loops around it."""
    for item in items:
        if isinstance(item, Step):
            yield item, turns
            continue
        order = range(item.length)
        for turn in reversed(order) if item.reverse else order:
            yield from _unrolled(item.steps, {**turns, item.number: turn})


__all__ = ["DeviceProgram", "Program"]
