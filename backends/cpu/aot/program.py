"""A graph with its constants, compiled for one level: code, prepared weights, pointer tables.

`Request` is what the front end asks for. `compile_level` gives the code; `tables` says what each
slot of a program's pointer table points to in an exported file.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from nncomp.ir.graph import Graph
from nncomp.ir.program import Program, steps_of
from nncomp.ir.types import TensorType

from .. import Runner, compile
from ..object_maker import ObjectMaker
from ..stages import Stages
from .levels import Level, runs_here


@dataclass(frozen=True)
class Entry:
    """One input of the graph: given at each call, constant, or kept from call to call as state."""

    name: str
    type: TensorType
    role: str  # "input", "constant" or "state"
    array: np.ndarray | None = field(default=None, compare=False)  # value of the latter two


@dataclass
class Request:
    """A graph to export. `draws`: how far a run moves the random key in the state named `rng`."""

    name: str
    graph: Graph
    entries: tuple[Entry, ...]  # one per graph input
    outputs: tuple[str, ...]  # names of the plain outputs
    draws: int = 0
    prepare: bool = True  # work on constants beforehand

    @property
    def constant(self) -> tuple[str, ...]:
        """Names of the inputs that work may be done on beforehand."""
        if not self.prepare:
            return ()
        return tuple(sorted(e.name for e in self.entries if e.role == "constant"))

    def of_role(self, role: str) -> list[Entry]:
        """The entries with one role, in order."""
        return [e for e in self.entries if e.role == role]

    @property
    def output_types(self) -> list[TensorType]:
        """Types of the plain outputs."""
        pairs = zip(self.graph.outputs, self.graph.output_names, strict=True)
        return [node.type for node, name in pairs if not name]


@dataclass
class LevelProgram:
    """The code of one level, and what its constants were turned into."""

    level: Level
    stages: Stages
    prepared: list[np.ndarray] | None  # None: the file does that when it starts


def compile_level(request: Request, level: Level, prepare: bool = True) -> LevelProgram:
    """Graph passes, kernels and LLVM text for a level; with `prepare`, its prepared constants."""
    stages = Stages(request.graph, request.constant, level.target)
    return LevelProgram(level, stages, _prepare(stages, request, level) if prepare else None)


def _prepare(stages: Stages, request: Request, level: Level) -> list[np.ndarray]:
    """Run what the constants alone decide: with the level's own code where this machine can."""
    if stages.prepared is None:
        return []
    inner = stages.prepared
    values = {e.name: e.array for e in request.entries}
    arrays = [np.ascontiguousarray(values[n]) for n in inner.graph.input_names]
    if not runs_here(level):
        return compile(inner.graph)(arrays)
    with ObjectMaker(level.target) as maker:
        numbers = [maker.add(text) for text in inner.modules]
        objects = maker.objects(numbers)
    recipe = inner.recipe._replace(objects=len(objects), checker=None, checks=())
    return Runner(recipe, iter(objects), lambda: inner)(arrays)


def used_inputs(program: Program) -> set[int]:
    """Numbers of the inputs that steps read or write."""
    return {
        place.index for step in steps_of(program.steps) for place in step.places
        if place.base == "in"
    }  # fmt: skip
