"""The interpreter as a backend: the reference every other one is tested against."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nncomp.ir.graph import Graph
from nncomp.ir.interpret import interpret
from nncomp.ir.passes import run_pipeline


class Runner:
    """Runs a graph node by node in numpy."""

    def __init__(self, graph: Graph):
        self.graph = self.fused_graph = graph
        self.constant: tuple[str, ...] = ()

    def prepare(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        return []

    def __call__(self, arrays: Sequence[np.ndarray], prepared=(), threads: int | None = None) -> list:
        """New result arrays; updates of inputs are written into them and give None."""
        results = interpret(self.graph, *arrays)
        names = self.graph.input_names
        for target, value in zip(self.graph.output_names, results, strict=True):
            if target:
                np.copyto(arrays[names.index(target)], value)
        return [
            None if target else np.array(value)
            for target, value in zip(self.graph.output_names, results, strict=True)
        ]


def compile(graph: Graph, constant: Sequence[str] = ()) -> Runner:
    """A runner for the graph after the target-neutral passes."""
    return Runner(run_pipeline(graph))
