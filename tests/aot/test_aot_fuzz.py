"""Random graphs as object files, linked into this process: bit for bit what the backend gives."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from random import Random

import numpy as np
import pytest
from nncomp.backends import cpu
from nncomp.backends.cpu.aot.levels import highest_here, levels_of
from nncomp.backends.cpu.aot.object_file import make_object
from nncomp.backends.cpu.aot.program import Entry, Request
from nncomp.backends.cpu.jit import link

sys.path.insert(0, str(Path(__file__).parent.parent / "cpu"))
from random_graphs import draw_case  # noqa: E402

ROWS = dict(all=8, updates=6, half=4, gradient=6, loops=6, tangle=4)


def request_of(graph, arrays, r: Random) -> Request:
    """Inputs that are written are state; of the others, some are constants."""
    written = {name for name in graph.output_names if name}
    entries = []
    for node, array in zip(graph.inputs, arrays, strict=True):
        name = node.attrs["name"]
        role = "state" if name in written else r.choice(("input", "constant"))
        entries.append(Entry(name, node.type, role, None if role == "input" else array))
    count = sum(not name for name in graph.output_names)
    return Request("net", graph, tuple(entries), tuple(f"y{i}" for i in range(count)))


class Program:
    """An object file in this process."""

    def __init__(self, made, threads: int):
        self.layout, self.library = made.layout, link([made.object])
        self.memory = np.full(self.layout.workspace, 0xFF, np.uint8)
        self.state = np.empty(self.layout.state_bytes // 8 + 1, np.float64)
        if self.layout.prepared_bytes:
            self.prepared = np.full(self.layout.prepared_bytes, 0xFF, np.uint8)
            assert self.call("prepare", self.prepared) == 0
        if threads > 1:
            assert self.call("threads_start", self.memory, threads) == 0
        if self.layout.state_bytes:
            assert self.call("init", self.state) == 0
        self.threads = threads

    def call(self, name: str, *arguments) -> int:
        function = ctypes.CFUNCTYPE(ctypes.c_int, *[_kind(a) for a in arguments])
        address = self.library.address(f"net_{name}")
        return function(address)(*[_pointer(a) for a in arguments])

    def run(self, inputs) -> list:
        """Outputs; the state is written."""
        outputs = [np.empty(t.shape, t.dtype.numpy) for t in self.layout.request.output_types]
        state = [self.state] if self.layout.state_bytes else []
        assert self.call("run", _table(inputs), _table(outputs), *state, self.memory) == 0
        if self.threads > 1:
            self.call("threads_stop", self.memory)
        return outputs

    def state_of(self, name: str) -> bytes:
        entry = next(e for e in self.layout.state if e.name == name)
        return self.state.tobytes()[entry.offset : entry.offset + entry.type.nbytes]


def _kind(x):
    return ctypes.c_int if isinstance(x, int) else ctypes.c_void_p


def _pointer(x):
    return x if isinstance(x, (int, ctypes.Array)) else x.ctypes.data


def _table(arrays):
    return (ctypes.c_void_p * max(1, len(arrays)))(*[a.ctypes.data for a in arrays])


@pytest.mark.parametrize("kind", ROWS)
def test_object_files_give_the_same_bits(kind):
    level = [lv for lv in levels_of("host") if lv.name == highest_here()]
    for seed in range(ROWS[kind]):
        graph, arrays = draw_case(seed, kind)
        arrays = [np.array(a, order="C") for a in arrays]
        r = Random(seed)
        request = request_of(graph, arrays, r)
        threads = r.choice((1, 2))
        made = make_object(request, level, threads=threads, prepare=r.random() < 0.5)
        program = Program(made, threads)
        inputs = [a for a, e in zip(arrays, request.entries, strict=True) if e.role == "input"]
        got = program.run(inputs)
        runner = cpu.compile(graph, request.constant)
        mine = [a.copy() for a in arrays]
        expected = runner(mine, runner.prepare(mine))
        plain = [y for y in expected if y is not None]
        for a, b in zip(got, plain, strict=True):
            assert a.tobytes() == b.tobytes(), f"{kind} {seed}"
        for entry, array in zip(request.entries, mine, strict=True):
            if entry.role == "state":
                assert program.state_of(entry.name) == array.tobytes(), f"{kind} {seed}"
