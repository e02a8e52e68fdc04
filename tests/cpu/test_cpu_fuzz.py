"""Random graphs: compiled code agrees with the interpreter, writes nothing else, and gives the same
bits on any number of threads.

Each row is a family of graphs and how many of them are drawn; seeds are fixed. Offline, the same
families were run over many thousands of seeds; what they found are the graphs of
test_cpu_regressions.py.
"""

from __future__ import annotations

import numpy as np
import pytest
from nncomp.backends import cpu
from nncomp.backends.cpu import codegen, executable
from nncomp.ir.interpret import interpret
from nncomp.ir.types import TensorType
from random_graphs import draw_case
from running import TOLERANCE, _with_updates, assert_same, run_compiled, run_kernels

ROWS = dict(
    all=60, smooth=30, updates=40, half=30, large=20, gradient=40, loops=25, deep=8, tangle=12
)
LARGEST = 1e6  # values from which on rounding says nothing about correctness
GUARD, MARK = 256, 0xFF  # floats of such bytes are nan


@pytest.fixture
def guarded(monkeypatch):
    """Arrays that compiled code writes get marked zones around them; calling checks the marks."""
    made: list[tuple[np.ndarray, int]] = []

    class Guarded:
        uint8 = np.uint8

        @staticmethod
        def empty(shape, dtype):
            size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
            zone = np.full(size + 2 * GUARD, MARK, np.uint8)
            made.append((zone, size))
            return zone[GUARD : GUARD + size].view(dtype).reshape(shape)

    def check() -> None:
        for zone, size in made:
            outside = np.concatenate([zone[:GUARD], zone[GUARD + size :]])
            assert (outside == MARK).all(), f"wrote outside an array of {size} bytes"

    monkeypatch.setattr(executable, "np", Guarded)
    return check


def expected_results(graph, arrays):
    """The interpreter's results and how far off correct code may be, None if anything is huge."""
    largest = [1.0]

    def see(node, value) -> None:
        for a in value if isinstance(value, tuple) else (value,):
            if a.size and a.dtype.kind not in "iub":
                largest.append(float(np.abs(a.astype(np.float64)).max()))

    results = interpret(graph, *arrays, trace=see)
    top = max(largest)
    if not np.isfinite(largest).all() or top > LARGEST:
        return results, None
    return results, 20 * top * _coarseness(graph, results)


def _coarseness(graph, results) -> float:
    """Tolerance of the coarsest float type in the graph, relative to that of the finest result."""
    names = {t.dtype.name for n in _all_nodes(graph) for t in _types(n) if t.dtype.kind == "f"}
    finest = min((TOLERANCE[a.dtype.name] for a in results if a.dtype.name in TOLERANCE), default=1)
    return max((TOLERANCE[n] for n in names), default=1) / finest


def _all_nodes(graph):
    for n in (*graph.inputs, *graph.nodes):
        yield n
        if n.op is not None and "body" in n.attrs:
            yield from _all_nodes(n.attrs["body"])


def _types(node):
    return [node.type] if isinstance(node.type, TensorType) else node.type


@pytest.mark.parametrize("family", ROWS)
def test_compiled_is_interpreted(family, guarded):
    compared = 0
    for seed in range(ROWS[family]):
        graph, arrays = draw_case(seed, family)
        expected, tolerance = expected_results(graph, arrays)
        for run in (run_kernels, run_compiled):
            got = run(graph, arrays)
            guarded()
            if tolerance is not None:
                assert_same(got, expected, tolerance)
                compared += 1
    assert compared > ROWS[family]


@pytest.mark.parametrize("family", ("updates", "large", "loops"))
def test_any_number_of_threads_gives_the_same_bits(family, guarded, monkeypatch):
    monkeypatch.setattr(codegen, "PARALLEL_NS", 0.0)  # share the smallest step
    for seed in range(100, 112):
        graph, arrays = draw_case(seed, family)
        run = cpu.compile(graph)
        results = []
        for threads in (1, 2, 3):
            mine = [np.array(a, order="C") for a in arrays]
            results.append(_with_updates(graph, mine, run(mine, threads=threads)))
        guarded()
        for other in results[1:]:
            for a, b in zip(other, results[0], strict=True):
                assert a.tobytes() == b.tobytes(), f"seed {seed}"
