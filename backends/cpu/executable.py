"""Running a compiled program: pointer table, arena, output arrays, threads."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np
from nncomp.ir.program import Program
from nncomp.ir.types import TensorType

from .entry import pointer_writer
from .jit import Library, compile_many, link
from .pool import get_pool, runtime_symbols
from .result_memory import ResultMemory, can_count
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
        self._idle: list[Frame] = []
        self.memory: ResultMemory | None = None

    _nothing = np.empty(0, np.uint8)
    empty = staticmethod(np.empty)  # makes the arrays of results

    def __call__(self, arrays: Sequence[np.ndarray], threads: int | None = None) -> list:
        """New output arrays (None for in-place updates); `arrays` must be C-contiguous."""
        frame = self.take_frame()
        outputs = self.new_results()
        self.point(frame, arrays, outputs)
        count = (threads or get_num_threads()) if self.is_parallel else 1
        get_pool().run(self.entry, frame.address, count)
        self._idle.append(frame)
        return outputs

    def take_frame(self) -> Frame:
        """A frame that nobody else uses."""
        try:
            return self._idle.pop()
        except IndexError:
            return Frame(self.program)

    def give_back(self, frame: Frame) -> None:
        """End the use of a frame."""
        self._idle.append(frame)

    def keep_results(self) -> None:
        """Take the memory of large results again in the next call, if nobody uses it any more."""
        if can_count():
            self.memory = ResultMemory()

    def new_results(self) -> list:
        """Memory for the results; None for those that update an input."""
        if self.memory is not None:
            return self.memory.take(self.output_types)
        return [
            None if type is None else self.empty(type.shape, type.dtype.numpy)
            for type in self.output_types
        ]

    def point(self, frame: Frame, inputs: Sequence[np.ndarray], results: list) -> None:
        """Write the arrays' addresses into the table; results updated in place have none."""
        arrays = [*inputs, *(self._nothing if y is None else y for y in results)]
        write = pointer_writer()
        if write is None or not write(arrays, frame.address):
            for slot, array in enumerate(arrays):
                frame.table[slot] = array.__array_interface__["data"][0]


class Frame:
    """Pointer table and arena of one call in flight."""

    def __init__(self, program: Program):
        self.arena = np.empty(program.arena + PAGE, np.uint8)
        start = -self.arena.ctypes.data % PAGE
        slots = program.inputs + program.outputs + 1
        self.table = (ctypes.c_void_p * slots)()
        self.table[slots - 1] = self.arena.ctypes.data + start
        self.address = ctypes.addressof(self.table)


def aligned_empty(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Like np.empty, but beginning on a cache line: vectors read over and over lie in one line."""
    nbytes = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    memory = np.empty(nbytes + PAGE, np.uint8)
    start = -memory.ctypes.data % PAGE
    return memory[start : start + nbytes].view(dtype).reshape(shape)


def build(
    program: Program, modules: list[str], target: Target, outputs, is_parallel: bool = True
) -> Executable:
    """Compile the modules (or fetch their objects from the cache) and link them."""
    objects = compile_many(modules, target)
    return Executable(program, link(objects, runtime_symbols()), outputs, is_parallel)
