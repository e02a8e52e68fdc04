"""Programs whose inputs and results are CudaArrays: the PTX backend without copies to the host.

Kernels get the addresses of the arrays themselves. Parameters are updated where they lie, results
are new arrays, and nothing but numbers without a shape (learning rates) and random keys comes from
the host.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .. import backends
from ..ir.debug import debug
from ..ir.index_check import raise_wrong
from ..program_guards import PrecisionGuard
from ..trace_guards import Guard
from .memory import Buffer, CudaArray, any_there


class Backend:
    """The backend of everything that is called with tensors on a GPU."""

    def __init__(self, options: Mapping[str, Any] | None = None):
        self._ptx = backends.get("ptx", options)

    def compile(self, graph: Any, constant: Sequence[str] = (), label: str = "") -> Runner:
        """Compile for arrays in GPU memory; constant inputs need no preparation there."""
        return Runner(self._ptx.compile(graph, (), label))


def backend_for(
    name: str, options: Mapping[str, Any] | None, tensors: Sequence[Any]
) -> tuple[Any, list[Guard]]:
    """The backend called `name`, or that of tensors on a GPU where `tensors` are; and what must
    stay as it is for what it compiles.

    RuntimeError for tensors on different devices, and for a backend that has no GPU.
    """
    there = any_there(tensors)
    if there and name == "numpy":
        raise RuntimeError("backend='numpy' runs on the host; call .cpu() on model and arguments")
    guards: list[Guard] = []
    if there or name == "ptx":
        options = dict(options or {})
        if "matmul_precision" not in options:  # the backward program is compiled later
            options["matmul_precision"] = debug.matmul_precision
            guards = [PrecisionGuard()]
    return Backend(options) if there else backends.get(name, options), guards


class Runner:
    """A compiled graph on CudaArrays; host arrays among the inputs are copied at each call."""

    prepared = None
    constant: tuple[str, ...] = ()

    def __init__(self, inner: Any):
        self.inner = inner
        self.checker = None if inner.checker is None else Runner(inner.checker)
        self._placed: Any = None
        self._lock = threading.Lock()

    @property
    def graph(self) -> Any:
        """The graph that was compiled."""
        return self.inner.graph

    @property
    def fused_graph(self) -> Any:
        """The Graph of kernels."""
        return self.inner.fused_graph

    @property
    def program(self) -> Any:
        """The kernels in order, and where each value lives."""
        return self.inner.program

    @property
    def ptx(self) -> str:
        """The PTX text of all kernels."""
        return self.inner.ptx

    def __call__(
        self, arrays: Sequence[Any], prepared: Any = (), threads: int | None = None
    ) -> list:
        """Result arrays; updates of inputs are written into them and give None.

        IndexError for an index tensor that points outside its axis, RuntimeError for a write that
        views would have to see.
        """
        if self.checker is not None:
            raise_wrong(self.inner.checks, [y.host() for y in self.checker(arrays)])
        with self._lock:
            placed = self._placed
            if placed is None:
                from ..backends.ptx.placed import PlacedProgram

                placed = self._placed = PlacedProgram(self.inner.stages)
            for n in placed.updated:
                if arrays[n].__class__ is CudaArray:
                    arrays[n].check_writable()
            there = [x if x.__class__ is CudaArray else _sent(x) for x in arrays]
            results = [None if t is None else CudaArray(t) for t in placed.output_types]
            outputs = [None if y is None else y.address for y in results]
            placed.run([x.address for x in there], outputs)
            for n in placed.updated:
                if there[n] is not arrays[n]:
                    arrays[n][...] = there[n].host()
            return results


def _sent(array: np.ndarray) -> Any:
    """A host array on the device, for one call."""
    buffer = Buffer(array.nbytes)
    if array.nbytes:
        buffer.device.copy_in(buffer.address, np.ascontiguousarray(array))
    return _Sent(array, buffer)


class _Sent:
    """A copy of a host array in GPU memory."""

    def __init__(self, array: np.ndarray, buffer: Buffer):
        self.array, self.buffer, self.address = array, buffer, buffer.address

    def host(self) -> np.ndarray:
        """Its present elements."""
        found = np.empty_like(self.array)
        if found.nbytes:
            self.buffer.device.copy_out(found, self.address)
        return found


__all__ = ["Backend", "Runner", "backend_for"]
