"""Where everything lives at a run of an exported program: the workspace, the state, the constants.

A workspace holds, in this order: the pool of threads if there is one, the table of pointers, the
results of the index checks, and the arena. Its size is that of the level that needs most.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from nncomp.ir.types import TensorType

from ..stages import Stages
from .blob import LINE, Blob
from .program import Entry, LevelProgram, Request, used_inputs
from .threads import ALIGN

# "input", "output": number; "state", "weights", "scratch", "prepared": offset
Place = tuple[str, int]


@dataclass(frozen=True)
class StateEntry:
    """One tensor of the state and its offset in it."""

    name: str
    type: TensorType
    offset: int


@dataclass
class LevelTables:
    """Of one level: what the slots of its programs point to, None for those that nobody reads."""

    name: str
    main: list[Place | None]
    check: list[Place | None]
    lengths: list[tuple[int, TensorType]]  # what each pair of check results is compared with
    prepare: list[Place | None]  # of the program that packs constants when the program starts
    prepared_bytes: int


@dataclass
class Layout:
    """All that the interface must know."""

    request: Request
    levels: list[LevelTables]
    state: list[StateEntry]
    state_bytes: int
    state_image: int  # offset of the state's first values among the constants
    results: int  # workspace offsets
    arena: int
    workspace: int  # bytes
    pool: int = 0  # bytes at the front of the workspace

    @property
    def prepared_bytes(self) -> int:
        """Memory for constants that are packed when the program starts; 0 for none."""
        most = max(level.prepared_bytes for level in self.levels)
        return most + LINE if most else 0


def lay_out(request: Request, programs: Sequence[LevelProgram], blob: Blob, pool: int) -> Layout:
    """Give everything its place; constants are added to `blob`."""
    state, state_bytes, image = _state(request)
    offsets = {entry.name: entry.offset for entry in state}
    slots = max(len(t) for p in programs for t in _slot_counts(p))
    checks = max(len(p.stages.checks) for p in programs)
    results = pool + _up(8 * slots)
    arena = results + _up(2 * 8 * checks)
    levels = [_level(request, p, offsets, blob, results, arena) for p in programs]
    most = max(max(s.program.arena for s in _both(p.stages)) for p in programs)
    at = blob.add(image) if state_bytes else 0
    return Layout(
        request, levels, state, state_bytes, at, results, arena, arena + most + ALIGN, pool
    )


def _slot_counts(p: LevelProgram) -> list[range]:
    programs = (s.program for s in _both(p.stages))
    return [range(x.inputs + x.outputs + 1) for x in programs]


def _both(stages: Stages) -> list[Stages]:
    return [stages, *([stages.checker] if stages.checker else [])]


def _state(request: Request) -> tuple[list[StateEntry], int, np.ndarray]:
    """Places of the state's tensors, bytes of all, and their first values."""
    entries, at = [], 0
    for entry in request.of_role("state"):
        entries.append(StateEntry(entry.name, entry.type, at))
        at += _up(entry.type.nbytes)
    image = np.zeros(at, np.uint8)
    for made, entry in zip(entries, request.of_role("state"), strict=True):
        data = np.ascontiguousarray(entry.array).reshape(-1).view(np.uint8)
        image[made.offset : made.offset + entry.type.nbytes] = data
    return entries, at, image


def _level(
    request: Request, p: LevelProgram, offsets: dict[str, int], blob: Blob, results: int, arena: int
) -> LevelTables:
    numbers = {e.name: i for i, e in enumerate(request.of_role("input"))}

    def inputs(stages: Stages, extra: Sequence[np.ndarray | Place] = ()) -> list[Place | None]:
        """Places of a program's inputs: those of the graph, then what was prepared."""
        used = used_inputs(stages.program)
        places: list[Place | None] = []
        for i, name in enumerate(stages.graph.input_names):
            entry = entries[name]
            places.append(_place(entry, numbers, offsets, blob) if i in used else None)
        for i, x in enumerate(extra, len(places)):
            place = x if isinstance(x, tuple) else ("weights", blob.add(x))
            places.append(place if i in used else None)
        return places

    stages, entries = p.stages, {e.name: e for e in request.entries}
    prepare: list[Place | None] = []
    prepared: Sequence[np.ndarray | Place] = p.prepared or ()
    size = 0
    if p.prepared is None and stages.prepared is not None:
        packed, size = _packed(stages.prepared)
        prepare, prepared = [*inputs(stages.prepared), *packed], packed[:-1]
    outputs: list[Place | None] = []
    for name in stages.fused_graph.output_names:
        outputs.append(None if name else ("output", sum(x is not None for x in outputs)))
    main = [*inputs(stages, prepared), *outputs, ("scratch", arena)]
    check: list[Place | None] = []
    lengths = []
    if stages.checker is not None:
        checker = stages.checker
        count = checker.program.outputs
        places = [("scratch", results + 8 * i) for i in range(count)]
        check = [*inputs(checker), *places, ("scratch", arena)]
        types = [node.type for node in checker.fused_graph.outputs]
        lengths = [(c.length, t) for c, t in zip(stages.checks, types[::2], strict=True)]
    return LevelTables(p.level.name, main, check, lengths, prepare, size)


def _packed(stages: Stages) -> tuple[list[Place], int]:
    """Places of what the program of constants makes, then of its arena; bytes of all.

    Its table of pointers lies before them.
    """
    program = stages.program
    at, places = _up(8 * (program.inputs + program.outputs + 1)), []
    for node in stages.fused_graph.outputs:
        places.append(("prepared", at))
        at += _up(node.type.nbytes)
    return [*places, ("prepared", at)], at + _up(program.arena)


def _place(entry: Entry, numbers: dict[str, int], offsets: dict[str, int], blob: Blob) -> Place:
    if entry.role == "input":
        return "input", numbers[entry.name]
    if entry.role == "state":
        return "state", offsets[entry.name]
    return "weights", blob.add(np.ascontiguousarray(entry.array))


def _up(size: int) -> int:
    return -(-size // LINE) * LINE
