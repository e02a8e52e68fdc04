"""A program that runs on memory which is on the device already, wherever it lies at each call.

The launches of a call with the addresses of the last one are repeated as they were recorded (one
CUDA graph); others are launched one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from nncomp.ir.program import Place, steps_of

from .device import Call, get_device
from .program import _unrolled
from .stages import Stages


class PlacedProgram:
    """The code and the arena of one program; inputs and results belong to the caller."""

    def __init__(self, stages: Stages):
        self.device, self.program, self.codes = get_device(), stages.program, stages.codes
        self.output_types = stages.output_types
        self.modules = {name: self.device.load(text) for name, text in stages.ptx.items()}
        writes = [w for step in steps_of(self.program.steps) for w in step.writes]
        self.updated = sorted({place.index for place, _ in writes if place.base == "in"})
        self.arena = self.device.allocate(max(self.program.arena, 1))
        self._last: Any = None
        self._replay: Callable[[], None] | None = None

    def run(self, inputs: Sequence[int], outputs: Sequence[int | None]) -> None:
        """All launches, on inputs and for results at these addresses."""
        where = tuple(inputs), tuple(outputs)
        if where != self._last:
            self._last, self._replay = where, None
            self.device.launch(list(self._calls(*where)))
            return
        if self._replay is None:
            self._replay = self.device.capture(list(self._calls(*where)))
        self._replay()

    def _calls(self, inputs: Sequence[int], outputs: Sequence[int | None]) -> Iterator[Call]:
        bases = {"in": inputs, "out": outputs}

        def address(place: Place, turns: dict[int, int]) -> int:
            base = self.arena if place.base == "arena" else bases[place.base][place.index]
            assert base is not None
            return base + place.offset + sum(turns[n] * s for n, s in place.strides)

        for step, turns in _unrolled(self.program.steps, {}):
            name = step.kernel.name
            pointers = tuple(address(p, turns) for p in step.places)
            for launch in self.codes[name].launches:
                yield Call(self.modules[name], launch, pointers)

    def __del__(self) -> None:
        try:
            self.device.free(self.arena)
        except Exception:  # noqa: S110  at exit the device may be gone already
            pass


__all__ = ["PlacedProgram"]
