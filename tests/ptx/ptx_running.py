"""Running a graph on the PTX interpreter next to the graph interpreter, and comparing."""

from __future__ import annotations

import numpy as np
from nncomp.backends import ptx
from nncomp.backends.ptx.runner import Runner
from nncomp.backends.ptx.simulated import SimulatedDevice
from nncomp.ir.graph import Graph
from nncomp.ir.interpret import interpret

TOLERANCE = {"float16": 4e-3, "bfloat16": 3e-2, "float32": 1e-5, "float64": 1e-11}


def run_ptx(graph: Graph, arrays, runner: Runner | None = None) -> list[np.ndarray]:
    """Results of the whole PTX pipeline; updates of inputs are returned like results."""
    mine = [np.array(a, order="C") for a in arrays]
    outputs = (runner or ptx.compile(graph))(mine)
    names = graph.input_names
    pairs = zip(outputs, graph.output_names, strict=True)
    return [mine[names.index(name)] if name else out for out, name in pairs]


def assert_close(got, expected, scale: float = 1.0) -> None:
    """Equal for integers; within the dtype's tolerance, relative to 1 + |value|, for floats."""
    for number, (a, b) in enumerate(zip(got, expected, strict=True)):
        assert a.shape == b.shape and a.dtype == b.dtype, f"result {number}: {a.dtype}{a.shape}"
        if a.dtype.kind in "iub":
            assert (a == b).all(), f"result {number}: {(a != b).sum()} of {a.size} differ"
            continue
        tol = TOLERANCE[a.dtype.name] * scale
        x, y = a.astype(np.float64), b.astype(np.float64)
        same = (x == y) | (np.isnan(x) & np.isnan(y))
        with np.errstate(all="ignore"):
            error = np.where(same, 0.0, np.abs(x - y) / (1 + np.abs(y)))
        worst = np.nan_to_num(error, nan=np.inf).max() if error.size else 0.0
        assert worst <= tol, f"result {number}: error {worst:.3g} > {tol:.3g}"


def check(graph: Graph, arrays, scale: float = 1.0) -> Runner:
    """The PTX interpreter and the graph interpreter agree; the runner."""
    runner = ptx.compile(graph)
    assert_close(run_ptx(graph, arrays, runner), interpret(graph, *arrays), scale)
    return runner


def run_racing(graph: Graph, arrays) -> None:
    """Runs with the search for conflicts between threads; they raise."""
    runner = ptx.compile(graph)
    runner.device_program(SimulatedDevice(race=True))
    run_ptx(graph, arrays, runner)
