"""What a graph goes through on its way to PTX.

pipeline -> index checks -> split_prepare -> fuse -> plan -> LLVM text -> PTX text
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cached_property

from nncomp.ir.debug import debug
from nncomp.ir.graph import Graph
from nncomp.ir.passes import split_prepare
from nncomp.ir.passes.index_checks import run_checked
from nncomp.ir.passes.plan import plan_program
from nncomp.ir.passes.run import dump_text, run_pipeline
from nncomp.ir.program import Place, Program, Step, overlap, steps_of
from nncomp.ir.types import TensorType

from ..loop_bodies import packed_for_kernels
from .assemble import ptx_text
from .codegen import kernel_code
from .kernel import Code, Facts
from .pipeline import kernel_pipeline, ptx_pipeline
from .target import Target

VECTOR = 16  # bytes of the widest access of a thread


class Stages:
    """The stages of one graph; those of its index checks and of its prepared part."""

    def __init__(self, graph: Graph, constant: Sequence[str], target: Target, label: str = ""):
        self.graph, self.target = graph, target
        passes = ptx_pipeline(target, tuple(constant))
        optimized, check_graph, self.checks = run_checked(graph, passes, label)
        self.checker: Stages | None = None
        if check_graph is not None:
            self.checker = Stages(check_graph, (), target, label + "checks_")
        self.prepared: Stages | None = None
        if constant:
            prepare, optimized = split_prepare(optimized, constant, packed_for_kernels(optimized))
            if prepare.outputs:
                self.prepared = Stages(prepare, (), target, label + "prepare_")
        self.fused_graph = run_pipeline(optimized, kernel_pipeline(), label=label + "kernels_")
        self.program: Program = plan_program(self.fused_graph)
        facts = facts_of(self.program)
        self.codes: dict[str, Code] = {
            k.name: kernel_code(k, target, facts[k.name], debug.matmul_precision)
            for k in self.program.kernels()
        }
        self._show(label)

    @cached_property
    def ptx(self) -> dict[str, str]:
        """The PTX text of each kernel by name, without those that have nothing to do."""
        return {
            name: ptx_text(code.text, self.target)
            for name, code in self.codes.items()
            if code.launches
        }

    @property
    def output_types(self) -> list[TensorType | None]:
        """Types of the results; None where an input is updated."""
        results = zip(self.fused_graph.output_names, self.fused_graph.outputs, strict=True)
        return [None if name else node.type for name, node in results]

    def _show(self, label: str) -> None:
        """The rungs of NNCOMP_DEBUG below the graph: program, loops, LLVM text, PTX."""
        if debug.debug >= 2:
            print(self.program, file=sys.stderr)
        if debug.debug >= 4:
            print(*map(str, self.program.kernels()), sep="\n\n", file=sys.stderr)
        if debug.debug >= 5:
            print(*(c.text for c in self.codes.values()), *self.ptx.values(), file=sys.stderr)
        if debug.dump:
            dump_text(f"{label}program.txt", str(self.program))
            for k in self.program.kernels():
                dump_text(f"{label}{k.name}.loops", str(k))
                dump_text(f"{label}{k.name}.ll", self.codes[k.name].text)
                dump_text(f"{label}{k.name}.ptx", self.ptx.get(k.name, ""))


def facts_of(program: Program) -> dict[str, Facts]:
    """What holds at every use of each kernel, by its name."""
    aligned: dict[str, bool] = {}
    disjoint: dict[str, bool] = {}
    for step in steps_of(program.steps):
        name = step.kernel.name
        aligned[name] = aligned.get(name, True) and all(map(_is_aligned, step.places))
        disjoint[name] = disjoint.get(name, True) and not _overlaps(step)
    return {name: Facts(aligned[name], disjoint[name]) for name in aligned}


def _is_aligned(place: Place) -> bool:
    return not any(n % VECTOR for n in (place.offset, *(s for _, s in place.strides)))


def _overlaps(step: Step) -> bool:
    """Whether the step writes memory that it also reads, or the same memory twice."""
    writes = step.writes
    others = [*step.reads, *writes]
    return any(a is not b and overlap(a, b) for a in writes for b in others)
