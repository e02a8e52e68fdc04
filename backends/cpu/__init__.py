"""The CPU backend: graph passes, kernels as LLVM text, objects from the cache, a thread pool.

compile(graph) -> Runner: pipeline -> split_prepare -> fuse -> plan -> codegen -> link
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
from nncomp.ir.debug import debug
from nncomp.ir.graph import Graph
from nncomp.ir.passes import split_prepare
from nncomp.ir.passes.index_checks import index_checks, without_bounds
from nncomp.ir.passes.plan import plan_program
from nncomp.ir.passes.run import announce_passes, dump_text, run_pipeline
from nncomp.ir.program import Program

from .target import Target, host_target

announce_passes("scan_bodies", "choose_layout", "sink_permutes", "split_reductions", "fuse")


class Runner:
    """A compiled graph. Call it with C-contiguous arrays in input order."""

    def __init__(self, graph: Graph, constant: Sequence[str], target: Target, label: str):
        from .codegen import program_modules
        from .executable import build
        from .pipeline import cpu_pipeline, kernel_pipeline, packed_for_kernels

        optimized = run_pipeline(graph, cpu_pipeline(target), label=label)
        check_graph, self.checks = index_checks(optimized)
        self.checker = Runner(check_graph, (), target, label + "checks_") if check_graph else None
        optimized = without_bounds(optimized)
        self.prepared: Runner | None = None
        if constant:
            prepare, optimized = split_prepare(optimized, constant, packed_for_kernels(optimized))
            if prepare.outputs:
                self.prepared = Runner(prepare, (), target, label + "prepare_")
        self.graph = graph
        self.fused_graph = run_pipeline(optimized, kernel_pipeline(), label=label + "kernels_")
        self.program: Program = plan_program(self.fused_graph)
        self.modules, self.codes = program_modules(self.program, target)
        self._print()
        self._dump(label)
        types = [
            None if name else node.type
            for name, node in zip(
                self.fused_graph.output_names, self.fused_graph.outputs, strict=True
            )
        ]
        is_parallel = any(code.is_shared for code in self.codes.values())
        self.executable = build(self.program, self.modules, target, types, is_parallel)
        self.constant = tuple(constant)
        self._positions: list[int] = []
        if self.prepared is not None:
            names = graph.input_names
            self._positions = [names.index(n) for n in self.prepared.graph.input_names]

    def prepare(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """What the constant inputs alone decide (packed weights, folded norms); reuse it."""
        if self.prepared is None:
            return []
        return self.prepared([arrays[i] for i in self._positions])

    def __call__(
        self, arrays: Sequence[np.ndarray], prepared=(), threads: int | None = None
    ) -> list:
        """New result arrays; updates of inputs are written into them and give None.

        IndexError, before anything is written, for an index tensor that points outside its axis.
        """
        if self.checker is not None:
            self._check_indices(self.checker(arrays, (), threads))
        return self.executable([*arrays, *prepared], threads)

    def _check_indices(self, ends: list[np.ndarray]) -> None:
        for check, low, high in zip(self.checks, ends[::2], ends[1::2], strict=True):
            error = check.error(int(low), int(high))
            if error is not None:
                raise error

    def _print(self) -> None:
        """The rungs of NNCOMP_DEBUG below the graph: program, loops, LLVM text."""
        if debug.debug >= 2:
            print(self.program, file=sys.stderr)
        if debug.debug >= 4:
            print(*map(str, self.program.kernels()), sep="\n\n", file=sys.stderr)
        if debug.debug >= 5:
            print(*self.modules, sep="\n\n", file=sys.stderr)

    def _dump(self, label: str) -> None:
        dump_text(f"{label}program.txt", str(self.program))
        for k in self.program.kernels():
            dump_text(f"{label}{k.name}.loops", str(k))
            dump_text(f"{label}{k.name}.ll", self.codes[k.name].text)
        dump_text(f"{label}run.ll", self.modules[-1])


def compile(graph: Graph, constant: Sequence[str] = (), label: str = "") -> Runner:
    """Compile a graph for this machine; `constant` inputs may be prepared once (see
    Runner.prepare).
    """
    return Runner(graph, constant, host_target(), label)
