"""The CPU backend: graph passes, kernels as LLVM text, objects from the cache, a thread pool.

compile(graph) -> Runner: stages (passes, kernels, LLVM text) -> objects -> link, or, for a graph
that was compiled before, the stored program -> link
"""

from __future__ import annotations

import contextvars
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from nncomp.ir import watch
from nncomp.ir.graph import Graph
from nncomp.ir.index_check import raise_wrong
from nncomp.ir.program import Program

from . import stored
from .early import expect_compile as expect_compile
from .pages import give_back
from .target import host_target

if TYPE_CHECKING:
    from .stages import Stages

GiveUp = Callable[[np.ndarray], None]


class Runner:
    """A compiled graph. Call it with C-contiguous arrays in input order."""

    def __init__(
        self,
        recipe: stored.Recipe,
        objects: Iterator[bytes],
        make_stages: Callable[[], Stages],
        constant: Sequence[str] = (),
    ):
        from .executable import Executable, aligned_empty
        from .jit import link
        from .pool import runtime_symbols

        self._make_stages, self.constant = make_stages, tuple(constant)
        program = Program((), recipe.inputs, len(recipe.types), recipe.arena)
        library = link([next(objects) for _ in range(recipe.objects)], runtime_symbols())
        types = list(recipe.types)
        self.executable = Executable(program, library, types, recipe.is_parallel)
        self.nanoseconds = recipe.nanoseconds
        self.checks, self._positions = recipe.checks, recipe.positions
        self.parts, self.written = recipe.parts, recipe.written
        self.restore = {i: (result, steps) for i, result, steps in recipe.restore}
        self.checker: Runner | None = None
        if recipe.checker is not None:
            self.checker = Runner(recipe.checker, objects, lambda: self.stages.checker)
        self.prepared: Runner | None = None
        if recipe.prepared is not None:
            self.prepared = Runner(recipe.prepared, objects, lambda: self.stages.prepared)
            self.prepared.executable.empty = aligned_empty

    @functools.cached_property
    def stages(self) -> Stages:
        """How the program came about; gone through again where it was taken from the disk."""
        return self._make_stages()

    @property
    def graph(self) -> Graph:
        """The graph that was compiled."""
        return self.stages.graph

    @property
    def fused_graph(self) -> Graph:
        """The Graph of kernels."""
        return self.stages.fused_graph

    @property
    def program(self) -> Program:
        """The kernels in order, and where each value lives."""
        return self.stages.program

    @property
    def modules(self) -> list[str]:
        """LLVM text of the kernels, then of the function that calls them."""
        return self.stages.modules

    @property
    def codes(self) -> dict:
        """The `Code` of each kernel by name."""
        return self.stages.codes

    def prepare(
        self,
        arrays: Sequence[np.ndarray],
        done: Callable[[list[int], list[np.ndarray], GiveUp], None] = lambda *told: None,
    ) -> list[np.ndarray]:
        """What the constant inputs alone decide (packed weights, folded norms); reuse it.

        `done(inputs, results, give_up)` is told from time to time of inputs that are not needed any
        more; `give_up(array)` takes the memory of one.
        """
        if self.prepared is None:
            return []
        inner: list = [arrays[i] for i in self._positions]
        parts = self.prepared.parts
        if not parts:
            results = self.prepared(inner)
            inner.clear()
            done(list(self._positions), results, give_back)
            return results

        def part_done(part: int, results: list[np.ndarray], give_up: GiveUp) -> None:
            for i in parts[part]:
                inner[i] = None
            done([self._positions[i] for i in parts[part]], results, give_up)

        from .prepare_parts import run_parts

        return run_parts(self.prepared.executable, inner, self.prepared.written, part_done)

    def __call__(
        self, arrays: Sequence[np.ndarray], prepared=(), threads: int | None = None
    ) -> list:
        """New result arrays; updates of inputs are written into them and give None.

        IndexError, before anything is written, for an index tensor that points outside its axis.
        """
        if self.checker is not None:
            raise_wrong(self.checks, self.checker(arrays, (), threads))
        return self.executable([*arrays, *prepared], threads)


def compile(graph: Graph, constant: Sequence[str] = (), label: str = "") -> Runner:
    """Compile a graph for this machine; `constant` inputs may be prepared once (see
    Runner.prepare).
    """
    from ..cache import default_cache

    cache = default_cache()
    is_first = expect_compile() and (cache is None or cache.is_empty())
    if is_first:
        from . import stages as stages_module  # noqa: F401  while LLVM is loaded
    target = host_target()
    context = contextvars.copy_context()  # the switches as they are now

    def again() -> Stages:
        return context.copy().run(_stages, graph, constant, target)

    def key() -> str | None:
        return None if cache is None else stored.program_key(graph, constant, target)

    before = None if is_first else key()
    found = stored.load(cache, before) if before is not None else None
    if found is not None:
        recipe, objects = found
        return Runner(recipe, iter(objects), again, constant)
    from . import entry
    from .library_pages import LARGE, drop_library_pages
    from .object_maker import ObjectMaker
    from .pool import runtime_symbols

    try:
        with ObjectMaker(target, cache) as maker:
            maker.begin(runtime_symbols, entry.available)
            stages = _stages(graph, constant, target, label, maker.add)
            name = key() if is_first else before  # of no use on an empty disk, so now, beside LLVM
            recipe, objects = stages.recipe, maker.objects(stages.all_numbers)
    finally:
        watch.end()
    if stages.program.arena + sum(x.type.nbytes for x in graph.inputs) >= LARGE:
        drop_library_pages()
    if name is not None:
        stored.save(cache, name, recipe, objects)
    return Runner(recipe, iter(objects), lambda: stages, constant)


def before_split(graph: Graph) -> Graph:
    """A graph of forward and backward together, before each becomes a program of its own: what
    takes both to be seen."""
    from .layout_attention import fuse_attention

    return fuse_attention(graph, host_target())


def _stages(graph: Graph, *rest) -> Stages:
    from .stages import Stages

    return Stages(graph, *rest)
