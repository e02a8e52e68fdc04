"""A graph compiled to PTX: what compiling gives back, and what a call does on a device."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from nncomp.ir.graph import Graph
from nncomp.ir.index_check import raise_wrong

from .device import Device, get_device
from .program import DeviceProgram
from .stages import Stages


class Resident(NamedTuple):
    """Proof that the constant inputs are on the device, in their present version."""

    number: int


class Runner:
    """A compiled graph. Call it with C-contiguous arrays in input order.

    Compiling needs no GPU: `ptx` has the text of every kernel. A call needs a device (device.py);
    the first one loads the code and gives every input and result a place there. Constant inputs are
    copied once for each version of them, all others at each call.
    """

    def __init__(self, stages: Stages, constant: Sequence[str] = ()):
        self.stages, self.constant = stages, tuple(constant)
        self.checks = stages.checks
        self.checker = Runner(stages.checker) if stages.checker else None
        names = stages.graph.input_names
        self._constant_places = [i for i, n in enumerate(names) if n in set(constant)]
        inner = stages.prepared
        self._inner = Runner(inner) if inner is not None else None
        self._inner_places = [names.index(n) for n in inner.graph.input_names] if inner else []
        self._device_program: DeviceProgram | None = None
        self._versions = 0
        self._lock = threading.RLock()

    # -- stages ----------------------------------------------------------------------------------

    @property
    def graph(self) -> Graph:
        """The graph that was compiled."""
        return self.stages.graph

    @property
    def fused_graph(self) -> Graph:
        """The Graph of kernels."""
        return self.stages.fused_graph

    @property
    def program(self):
        """The kernels in order, and where each value lives."""
        return self.stages.program

    @property
    def ptx(self) -> str:
        """The PTX text of all kernels, one module after the other."""
        texts = dict(self.stages.ptx)
        for inner in (self.checker, self._inner):
            if inner is not None:
                texts |= inner.stages.ptx
        return "\n".join(texts.values())

    # -- running ---------------------------------------------------------------------------------

    @property
    def prepared(self) -> Runner | None:
        """Not None if there are constant inputs: `prepare` then copies them to the device."""
        return self if self._constant_places else None

    def device_program(self, device: Device | None = None) -> DeviceProgram:
        """The program on the device of this process, loaded at the first call."""
        with self._lock:
            if self._device_program is None:
                self._device_program = DeviceProgram(self.stages, device or get_device())
            return self._device_program

    def prepare(self, arrays: Sequence[np.ndarray]) -> tuple[Resident, ...]:
        """Copy the constant inputs to the device, and what they alone decide (folded norms)."""
        with self._lock:
            program = self.device_program()
            for i in self._constant_places:
                program.put(i, arrays[i])
            self._put_prepared(arrays)
            self._versions += 1
            return (Resident(self._versions),)

    def _put_prepared(self, arrays: Sequence[np.ndarray]) -> None:
        if self._inner is None:
            return
        program, count = self.device_program(), len(self.graph.inputs)
        made = self._inner([arrays[i] for i in self._inner_places])
        for number, array in enumerate(made):
            program.put(count + number, array)

    def __call__(
        self, arrays: Sequence[np.ndarray], prepared=(), threads: int | None = None
    ) -> list:
        """New result arrays; updates of inputs are written into them and give None.

        IndexError, before anything is written, for an index tensor that points outside its axis.
        DeviceError without a device to run on.
        """
        if self.checker is not None:
            raise_wrong(self.checks, self.checker(arrays))
        with self._lock:
            program = self.device_program()
            there = set(self._constant_places) if self._is_current(prepared) else set()
            for number, array in enumerate(arrays):
                if number not in there:
                    program.put(number, array)
            if not self._is_current(prepared):
                self._put_prepared(arrays)
            program.run()
            program.fetch(arrays)
            return program.results()

    # -- many calls on values that stay on the device ----------------------------------------------

    def begin(self, arrays: Sequence[np.ndarray]) -> None:
        """Copy all inputs to the device, for `turn`."""
        with self._lock:
            program = self.device_program()
            for number, array in enumerate(arrays):
                program.put(number, array)
            self._put_prepared(arrays)
            self._versions += 1  # what `prepare` put there may be another one
        if self.checker is not None:
            self.checker.begin(arrays)

    def turn(self, arrays: Sequence[np.ndarray], moving: Sequence[int]) -> list:
        """A call after `begin`: only the inputs `moving` are copied, updates stay on the device.

        IndexError as for a call.
        """
        if self.checker is not None:
            raise_wrong(self.checks, self.checker(arrays))
        with self._lock:
            program = self.device_program()
            for number in moving:
                program.put(number, arrays[number])
            program.run()
            return program.results()

    def turn_there(self, addresses: Mapping[int, int]) -> DeviceProgram:
        """As `turn`, with inputs that are on the device already, by number.

        Results stay in the outputs of the program that it gives back, until its next run.
        """
        if self.checker is not None:
            raise_wrong(self.checks, self.checker.turn_there(addresses).results())
        with self._lock:
            program = self.device_program()
            for number, address in addresses.items():
                program.take(number, address)
            program.run()
            program.device.synchronize()
            return program

    def end(self, arrays: Sequence[np.ndarray]) -> None:
        """Write the updated inputs, as they are on the device by now, into `arrays`."""
        with self._lock:
            self.device_program().fetch(arrays)

    def _is_current(self, prepared: Sequence) -> bool:
        return bool(prepared) and prepared[0] == Resident(self._versions)
