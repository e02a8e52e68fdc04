"""Random graphs on the PTX interpreter: results of the graph interpreter, no conflicts of threads.

The families are those of the CPU's random graphs. Offline, some 900 of them were run, 230 with the
search for conflicts.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from nncomp.backends import ptx
from nncomp.backends.ptx.simulated import SimulatedDevice
from nncomp.ir.interpret import interpret
from nncomp.ir.types import TensorType
from ptx_running import TOLERANCE, assert_close, run_ptx

sys.path.insert(0, str(Path(__file__).parent.parent / "cpu"))
from random_graphs import draw_case  # noqa: E402

ROWS = dict(all=20, updates=10, half=10, large=5, gradient=10, loops=8, deep=2)
LARGEST = 1e6  # values from which on rounding says nothing about correctness


def tolerance_of(graph, arrays) -> float | None:
    """How far off correct code may be, as a multiple; None if any value is huge."""
    largest = [1.0]

    def see(node, value) -> None:
        for a in value if isinstance(value, tuple) else (value,):
            if a.size and a.dtype.kind not in "iub":
                largest.append(float(np.abs(a.astype(np.float64)).max()))

    results = interpret(graph, *arrays, trace=see)
    if not np.isfinite(largest).all() or max(largest) > LARGEST:
        return None
    coarsest = max((TOLERANCE[name] for name in float_names(graph)), default=1.0)
    finest = min((TOLERANCE[a.dtype.name] for a in results if a.dtype.name in TOLERANCE), default=1)
    return 20 * max(largest) * coarsest / finest


def float_names(graph):
    for n in (*graph.inputs, *graph.nodes):
        types = [n.type] if isinstance(n.type, TensorType) else n.type
        yield from (t.dtype.name for t in types if t.dtype.kind == "f")
        if n.op is not None and "body" in n.attrs:
            yield from float_names(n.attrs["body"])


@pytest.mark.parametrize("race", [False, True], ids=["plain", "race"])
@pytest.mark.parametrize("family", ROWS)
def test_random_graphs(family, race):
    compared = 0
    count = ROWS[family] // 2 if race else ROWS[family]
    for seed in range(1000 * race, 1000 * race + count):
        graph, arrays = draw_case(seed, family)
        runner = ptx.compile(graph)
        runner.device_program(SimulatedDevice(race))
        got, tolerance = run_ptx(graph, arrays, runner), tolerance_of(graph, arrays)
        if tolerance is not None:
            assert_close(got, interpret(graph, *arrays), tolerance)
            compared += 1
    assert compared >= count // 2
