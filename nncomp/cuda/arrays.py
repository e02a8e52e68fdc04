"""Arrays in GPU memory that other libraries can use, and compiled functions on them.

    run = nncomp.cuda.bind(compiled, x)         # x: a Tensor like those that will come
    y = run(x_on_the_gpu)                       # torch's, CuPy's: nothing goes through the host
    torch.as_tensor(y, device="cuda")           # shares the memory of y

The exchange is `__cuda_array_interface__`, version 3.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..ir.types import TensorType


class DeviceArray:
    """A result in GPU memory; the next call of the function that made it writes over it."""

    def __init__(self, program: Any, type: TensorType, address: int):
        self._program = program  # its memory lives as long as this
        self.shape, self.dtype, self.address = type.shape, np.dtype(type.dtype.numpy), address

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """Where it lies; complete, so no stream has to be waited for."""
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.address, False),
            "strides": None,
            "stream": None,
            "version": 3,
        }

    def numpy(self) -> np.ndarray:
        """A copy in host memory."""
        array = np.empty(self.shape, self.dtype)
        if array.nbytes:
            self._program.device.copy_out(array, self.address)
        return array

    def __repr__(self) -> str:
        return f"DeviceArray(shape={self.shape}, dtype={self.dtype}, address={self.address:#x})"


class Bound:
    """A compiled function of arrays in GPU memory, for one signature; see `bind`."""

    def __init__(self, program: Any, leaves: list, structure: Callable[[list], Any]):
        self._runner, self._structure = program.runner, structure
        tensors = program.binding.tensors(leaves)
        self._first = len(tensors) - len(leaves)
        self._types = [x._type for x in leaves]
        self._runner.begin(program.binding.arrays(tensors))

    def __call__(self, *arrays: Any) -> Any:
        """Results as DeviceArrays; TypeError or ValueError for arrays of another kind or shape.

        They are read on the default stream's order, and results are complete on return.
        """
        if len(arrays) != len(self._types):
            raise TypeError(f"expected {len(self._types)} array(s), got {len(arrays)}")
        pairs = enumerate(zip(arrays, self._types, strict=True))
        places = {self._first + i: address_of(x, type, i) for i, (x, type) in pairs}
        program = self._runner.turn_there(places)
        outputs = zip(program.output_types, program.outputs, strict=True)
        return self._structure([DeviceArray(program, t, at) for t, at in outputs])


def address_of(x: Any, type: TensorType, number: int) -> int:
    """Where an array lies in GPU memory; TypeError or ValueError if it is not of this type."""
    found = getattr(x, "__cuda_array_interface__", None)
    if found is None:
        raise TypeError(
            f"argument {number} is a {x.__class__.__name__} without __cuda_array_interface__; "
            "expected an array in GPU memory (host tensors: call the compiled function itself)"
        )
    wanted = np.dtype(type.dtype.numpy)
    if tuple(found["shape"]) != type.shape or found["typestr"] != wanted.str:
        raise ValueError(
            f"argument {number} is {found['typestr']}{tuple(found['shape'])}, expected "
            f"{wanted.str}{type.shape}; bind the function again for another signature"
        )
    strides = found.get("strides")
    if strides is not None and tuple(strides) != _dense(type.shape, wanted.itemsize):
        raise ValueError(f"argument {number} is not contiguous; call contiguous() on it first")
    return int(found["data"][0])


def _dense(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    strides, step = [], itemsize
    for n in reversed(shape):
        strides.append(step)
        step *= n
    return tuple(reversed(strides))


def bound(program: Any, leaves: list) -> Bound:
    """A Bound of a compiled program; ValueError if it does more than compute results."""
    reasons = (
        (program.gradient is not None, "needs gradients: use nncomp.no_grad()"),
        (bool(program.binding.updated), "writes tensors in place"),
        (bool(program.binding.draws), "draws random numbers"),
        (bool(program.binding.sources), "reads tensors that are replaced between calls"),
    )
    for holds, words in reasons:
        if holds:
            raise ValueError(f"this function cannot be bound to arrays in GPU memory: it {words}")
    single = program.simple is not None

    def structure(results: list) -> Any:
        return results[program.simple] if single else tuple(results)

    return Bound(program, leaves, structure)
