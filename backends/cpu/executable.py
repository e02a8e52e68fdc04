"""Running a compiled program: pointer table, arena, output arrays, threads."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np
from nncomp.ir.program import Program
from nncomp.ir.types import TensorType

from .jit import Library, compile_many, link
from .pool import get_pool, runtime_symbols
from .target import Target
from .threads import get_num_threads

PAGE = 64


class Executable:
    """A linked program; call it with numpy arrays in input order.

    Thread-safe: every call in flight has a table and an arena of its own.
    """

    def __init__(
        self,
        program: Program,
        library: Library,
        outputs: list[TensorType | None],
        is_parallel: bool = True,
    ):
        self.program, self.library = program, library
        self.is_parallel = is_parallel  # False: no step is worth a second thread
        self.output_types = outputs  # None: the result updates an input in place
        self.entry = library.address("run")
        self._idle: list[_Frame] = []

    def __call__(self, arrays: Sequence[np.ndarray], threads: int | None = None) -> list:
        """New output arrays (None for in-place updates); `arrays` must be C-contiguous."""
        try:
            frame = self._idle.pop()
        except IndexError:
            frame = _Frame(self.program)
        outputs: list = []
        table = frame.table
        for slot, array in enumerate(arrays):
            table[slot] = array.__array_interface__["data"][0]
        slot = self.program.inputs
        for type in self.output_types:
            if type is None:
                outputs.append(None)
            else:
                array = np.empty(type.shape, type.dtype.numpy)
                table[slot] = array.__array_interface__["data"][0]
                outputs.append(array)
            slot += 1
        count = (threads or get_num_threads()) if self.is_parallel else 1
        get_pool().run(self.entry, frame.address, count)
        self._idle.append(frame)
        return outputs


class _Frame:
    """Pointer table and arena of one call in flight."""

    def __init__(self, program: Program):
        self.arena = np.empty(program.arena + PAGE, np.uint8)
        start = -self.arena.ctypes.data % PAGE
        slots = program.inputs + program.outputs + 1
        self.table = (ctypes.c_void_p * slots)()
        self.table[slots - 1] = self.arena.ctypes.data + start
        self.address = ctypes.addressof(self.table)


def build(
    program: Program, modules: list[str], target: Target, outputs, is_parallel: bool = True
) -> Executable:
    """Compile the modules (or fetch their objects from the cache) and link them."""
    objects = compile_many(modules, target)
    return Executable(program, link(objects, runtime_symbols()), outputs, is_parallel)
