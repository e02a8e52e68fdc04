"""What a graph goes through on its way to machine code.

pipeline -> index checks -> split_prepare -> fuse -> plan -> LLVM text
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence

from nncomp.ir.debug import debug
from nncomp.ir.graph import Graph
from nncomp.ir.passes import split_prepare
from nncomp.ir.passes.index_checks import run_checked
from nncomp.ir.passes.plan import plan_program
from nncomp.ir.passes.recompute import MemoryLimitError
from nncomp.ir.passes.run import PassError, announce_passes, dump_text, run_pipeline
from nncomp.ir.program import Program
from nncomp.ir.unpack import Steps, unpack_steps

from ..loop_bodies import packed_for_kernels
from . import pipeline
from .codegen import program_modules, run_nanoseconds
from .looped import looped
from .prepare_parts import cut, first_written, read_last, touched
from .shares import shares_text
from .stored import Recipe
from .target import Target
from .threads import get_num_threads

announce_passes(
    "scan_bodies", "shift_histories", "attention", "choose_layout", "sink_permutes", "save_less",
    "split_cumsum", "split_reductions", "recompute", "fuse", "join_reductions",
    "join_columns",
)  # fmt: skip


class Stages:
    """The stages of one graph; those of its index checks and of its prepared part.

    `add(text, effort)` gets every LLVM module when it is written and gives its number.
    """

    def __init__(
        self,
        graph: Graph,
        constant: Sequence[str],
        target: Target,
        label: str = "",
        add: Callable[[str, int], int] = lambda text, effort: 0,
        runs_once: bool = False,
    ):
        self.graph = graph
        passes = pipeline.cpu_pipeline(target, tuple(constant))
        optimized, check_graph, self.checks = run_checked(graph, passes, label)
        self.checker: Stages | None = None
        if check_graph is not None:
            self.checker = Stages(check_graph, (), target, label + "checks_", add)
        prepare: Graph | None = None
        if constant:
            prepare, optimized = split_prepare(optimized, constant, packed_for_kernels(optimized))
        self.fused_graph = self._kernels(optimized, label)
        self.program: Program = looped(plan_program(self.fused_graph))
        self.parts = cut(self.program) if runs_once and self.checker is None else []
        self.numbers: list[int] = []
        self.modules, self.codes = program_modules(
            self.program,
            target,
            lambda text, effort: self.numbers.append(add(text, effort)),
            self.parts,
            runs_once,
        )
        self.prepared: Stages | None = None  # last, while LLVM works on what takes it longest
        if prepare is not None and prepare.outputs:
            self.prepared = Stages(prepare, (), target, label + "prepare_", add, True)
        self._print()
        self._dump(label)

    def _kernels(self, graph: Graph, label: str) -> Graph:
        limit = 0 if label else debug.memory_limit
        passes = pipeline.within(limit, pipeline.kernel_pipeline())
        try:
            return run_pipeline(graph, passes, label=label + "kernels_")
        except PassError as error:
            if isinstance(error.__cause__, MemoryLimitError):
                raise error.__cause__ from None
            raise

    @property
    def recipe(self) -> Recipe:
        """What is needed to run it besides the object files."""
        results = zip(self.fused_graph.output_names, self.fused_graph.outputs, strict=True)
        names = self.graph.input_names
        prepared, checker = self.prepared, self.checker
        return Recipe(
            inputs=self.program.inputs,
            arena=self.program.arena,
            is_parallel=any(code.is_shared for code in self.codes.values()),
            nanoseconds=run_nanoseconds(self.program, self.codes),
            types=tuple(None if name else node.type for name, node in results),
            objects=len(self.numbers),
            checks=tuple(self.checks),
            positions=tuple(names.index(n) for n in prepared.graph.input_names) if prepared else (),
            parts=read_last(self.parts, self.program.inputs),
            restore=tuple(self._restore()),
            written=first_written(self.parts),
            checker=checker.recipe if checker else None,
            prepared=prepared.recipe if prepared else None,
        )

    def _restore(self) -> Iterator[tuple[int, int, Steps]]:
        """Inputs that only the prepared part reads, and how its results give them back."""
        if self.prepared is None:
            return
        read = touched(self.program.steps)
        if self.checker is not None:
            read |= touched(self.checker.program.steps)
        names = self.graph.input_names
        inner = self.prepared.graph
        for number, (result, steps) in unpack_steps(inner).items():
            position = names.index(inner.input_names[number])
            if position not in read:
                yield position, result, steps

    @property
    def all_numbers(self) -> list[int]:
        """Numbers of the modules in the order in which a Runner takes their objects."""
        inner = [stages.all_numbers for stages in (self.checker, self.prepared) if stages]
        return [*self.numbers, *(number for numbers in inner for number in numbers)]

    def _print(self) -> None:
        """The rungs of NNCOMP_DEBUG below the graph: program, loops, LLVM text."""
        if debug.debug >= 2:
            print(self.program, self._shares(), sep="\n", file=sys.stderr)
        if debug.debug >= 4:
            print(*map(str, self.program.kernels()), sep="\n\n", file=sys.stderr)
        if debug.debug >= 5:
            print(*self.modules, sep="\n\n", file=sys.stderr)

    def _shares(self) -> str:
        return shares_text(self.program, self.codes, get_num_threads())

    def _dump(self, label: str) -> None:
        if not debug.dump:
            return
        dump_text(f"{label}program.txt", f"{self.program}\n\n{self._shares()}")
        for k in self.program.kernels():
            dump_text(f"{label}{k.name}.loops", str(k))
            dump_text(f"{label}{k.name}.ll", self.codes[k.name].text)
        dump_text(f"{label}run.ll", self.modules[-1])
