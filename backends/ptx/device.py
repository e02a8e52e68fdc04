"""What a device must be able to do, and which one there is.

NNCOMP_PTX_DEVICE=simulator runs kernels on the PTX interpreter, everything else asks the CUDA
driver. Without either, graphs still compile to PTX, and a call says what is missing.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from .kernel import Launch

VARIABLE = "NNCOMP_PTX_DEVICE"
NAMES = ("simulator", "cuda")


class DeviceError(RuntimeError):
    """There is no device, or it reported an error."""


class Call(NamedTuple):
    """A launch of a loaded module's function with the addresses it gets."""

    module: Any
    launch: Launch
    pointers: tuple[int, ...]


class Device(Protocol):
    """Memory, modules and launches of one device; addresses are plain integers."""

    name: str

    def allocate(self, nbytes: int) -> int:
        """The address of new memory, at a multiple of 256 bytes."""
        ...

    def free(self, address: int) -> None:
        """Give memory back."""
        ...

    def copy_in(self, address: int, array: np.ndarray) -> None:
        """Copy a C-contiguous array to the device."""
        ...

    def copy_out(self, array: np.ndarray, address: int) -> None:
        """Copy from the device into a C-contiguous array."""
        ...

    def copy_out_all(self, pairs: Sequence[tuple[np.ndarray, int]]) -> None:
        """`copy_out` of several arrays from their addresses."""
        ...

    def copy_between(self, target: int, source: int, nbytes: int) -> None:
        """Copy from one place of the device to another."""
        ...

    def load(self, ptx: str) -> Any:
        """A module of PTX text, ready to launch."""
        ...

    def launch(self, calls: Sequence[Call]) -> None:
        """Run the calls once, one after the other."""
        ...

    def capture(self, calls: Sequence[Call]) -> Callable[[], None]:
        """A function that runs the calls one after the other."""
        ...

    def synchronize(self) -> None:
        """Wait until everything that was started has ended."""
        ...


def get_device() -> Device:
    """The device of this process; DeviceError says what is missing."""
    name = os.environ.get(VARIABLE, "").strip() or "cuda"
    if name not in NAMES:
        raise DeviceError(f"{VARIABLE} is {name!r}; expected one of {', '.join(NAMES)}")
    return _made(name)


@functools.cache
def _made(name: str) -> Device:
    if name == "simulator":
        from .simulated import SimulatedDevice

        return SimulatedDevice()
    from .cuda_device import CudaDevice

    return CudaDevice()
