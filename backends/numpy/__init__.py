"""The interpreter as a backend: the reference every other one is tested against."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from nncomp.ir.graph import Graph
from nncomp.ir.index_check import raise_wrong
from nncomp.ir.interpret import interpret
from nncomp.ir.passes import run_pipeline
from nncomp.ir.passes.index_checks import index_checks, without_bounds


class Runner:
    """Runs a graph node by node in numpy."""

    prepared = None  # nothing is computed ahead of a call

    def __init__(self, graph: Graph):
        self.check_graph, self.checks = index_checks(graph)
        self.graph = self.fused_graph = without_bounds(graph)
        self.constant: tuple[str, ...] = ()

    def prepare(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Nothing: every call computes everything."""
        return []

    def __call__(
        self, arrays: Sequence[np.ndarray], prepared=(), threads: int | None = None
    ) -> list:
        """New result arrays; updates of inputs are written into them and give None.

        IndexError, before anything is written, for an index tensor that points outside its axis.
        """
        if self.check_graph is not None:
            raise_wrong(self.checks, interpret(self.check_graph, *arrays))
        names = self.graph.output_names
        results = interpret(self.graph, *arrays)
        # A result may be an input, or a view of one, that is overwritten below.
        pairs = list(zip(names, results, strict=True))
        plain = [None if to else np.array(v, order="C") for to, v in pairs]
        new = [np.array(v) if to else None for to, v in pairs]
        inputs = self.graph.input_names
        for to, value in zip(names, new, strict=True):
            if value is not None:
                np.copyto(arrays[inputs.index(to)], value)
        return plain


def compile(graph: Graph, constant: Sequence[str] = ()) -> Runner:
    """A runner for the graph after the target-neutral passes."""
    return Runner(run_pipeline(graph))
