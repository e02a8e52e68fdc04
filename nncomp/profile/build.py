"""From measured times to the report: work, traffic and roofline of each kernel.

A kernel's roofline is the longer of two times: its FLOPs at the peak, and its bytes each at the
bandwidth of the memory they come from. The ceilings are those of the threads that it runs on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from ..ir.graph import NOWHERE, Loc, Node
from ..ir.loops import Buffer
from ..ir.program import Step
from ..ir.work import kernel_flops, traffic
from .report import Ceiling, KernelProfile, Level, Machine, Report
from .reuse import distances, event_of
from .sources import Sources
from .words import Origins, all_locs, homes_of, main_loc, ops_text


def machine_of(cpu: str, code_for: str, roofs: Sequence[Any]) -> Machine:
    """The machine, from the backend's measurements."""
    return Machine(cpu, code_for, tuple(map(_ceiling, roofs)))


def _ceiling(roof: Any) -> Ceiling:
    levels = tuple(
        Level(x.name, None if x.capacity == float("inf") else int(x.capacity), x.gigabytes)
        for x in roof.levels
    )
    return Ceiling(roof.threads, roof.gflops, levels)


def make_report(
    title: str, timing: Any, machine: Machine, origins: Origins, sources: Sources
) -> Report:
    """The report of a backend's timing (steps with their runs, and whole calls)."""
    homes = homes_of(sources.graph)
    pieces = _pieces(timing.steps, machine)
    kernels = [_Kernel(list(group)) for group in _by_node(pieces).values()]
    order = sorted(kernels, key=lambda k: -k.ms)
    rank = {id(k): place + 1 for place, k in enumerate(order)}
    total = sum(k.ms for k in kernels)
    rows = tuple(
        k.profile(i, rank[id(k)], 100 * k.ms / total if total else 0.0, origins, homes)
        for i, k in enumerate(kernels)
    )
    sources.steps = [k.first.step for k in kernels]
    return Report(
        title, rows, machine, median(timing.calls), min(timing.calls), total,
        sum(k.min_ms for k in rows), timing.threads, len(timing.calls), timing.meetings, sources,
    )  # fmt: skip


@dataclass(frozen=True)
class _Piece:
    """One step of the program: what it does in all its turns, and how long it took."""

    timed: Any
    number: int  # among the calls that compute its node
    flops: int
    bytes: int
    compute_ms: float  # at least
    memory_ms: dict[str, float]  # at least, by level


def _pieces(steps: Sequence[Any], machine: Machine) -> list[_Piece]:
    moved = [traffic(t.step.kernel) for t in steps]
    rows = zip(steps, moved, strict=True)
    ways = distances([event_of(t.step, m, t.loops) for t, m in rows])
    out, calls = [], Counter[tuple[int, int]]()
    for t, sizes, way in zip(steps, moved, ways, strict=True):
        place = (t.step.part_of, id(t.step.node))
        number = calls[place] if t.step.part_of else 0
        calls[place] += 1
        ceiling, turns = machine.ceiling(t.threads), t.turns
        flops = kernel_flops(t.step.node, number) * turns
        compute = flops / (ceiling.gflops * 1e6) * (2 if _is_double(t.step) else 1)
        memory = {x.name: 0.0 for x in ceiling.levels}
        for size, distance in zip(sizes, way, strict=True):
            level = level_of(ceiling, distance)
            memory[level.name] += turns * size / (level.gigabytes_per_second * 1e6)
        out.append(_Piece(t, number, flops, sum(sizes) * turns, compute, memory))
    return out


def _by_node(pieces: Sequence[_Piece]) -> dict[tuple, list[_Piece]]:
    """The pieces of one kernel and node together: parts of a result, turns of an unrolled loop."""
    groups: dict[tuple, list[_Piece]] = {}
    for number, piece in enumerate(pieces):
        step = piece.timed.step
        place = number if step.node is None else id(step.node)
        groups.setdefault((place, step.kernel.name), []).append(piece)
    return groups


class _Kernel:
    """The pieces of one line of the report, added up."""

    def __init__(self, pieces: list[_Piece]):
        self.pieces, self.first = pieces, pieces[0].timed
        self.runs = [sum(times) for times in zip(*(p.timed.runs for p in pieces), strict=True)]
        self.ms = median(self.runs)
        waits = zip(*(p.timed.waits for p in pieces), strict=True)
        self.wait_ms = median(map(sum, waits))

    def profile(
        self, number: int, rank: int, share: float, origins: Origins, homes: dict[Node, Loc]
    ) -> KernelProfile:
        """The line."""
        step: Step = self.first.step
        flops, size = sum(p.flops for p in self.pieces), sum(p.bytes for p in self.pieces)
        compute = sum(p.compute_ms for p in self.pieces)
        levels = {n: sum(p.memory_ms[n] for p in self.pieces) for n in self.pieces[0].memory_ms}
        memory = sum(levels.values())
        fastest, loc = max(min(self.runs), 1e-9), main_loc(step.node, homes.get(step.node, NOWHERE))
        return KernelProfile(
            number=number,
            kernel=step.kernel.name,
            kind=step.kernel.kind,
            ops=ops_text(step.node, origins, self.pieces[0].number),
            scope=loc.scope,
            line=loc.line,
            locs=tuple(" ".join(part for part in x if part) for x in all_locs(step.node)),
            calls=sum(p.timed.turns for p in self.pieces),
            threads=self.first.threads,
            ms=self.ms,
            min_ms=min(self.runs),
            share=share,
            rank=rank,
            flops=flops,
            bytes=size,
            gflops_per_second=flops / fastest / 1e6,
            gigabytes_per_second=size / fastest / 1e6,
            intensity=flops / size if size else None,
            percent_of_peak=100 * compute / fastest,
            percent_of_bandwidth=100 * memory / fastest,
            percent_of_roofline=100 * max(compute, memory) / fastest,
            bound="compute" if compute > memory else "memory",
            level=max(levels, key=levels.__getitem__),
            wait_ms=self.wait_ms,
        )


def _is_double(step: Step) -> bool:
    """Whether it computes in float64, of which a vector holds half as many."""
    kernel = step.kernel
    results = kernel.buffers[len(kernel.buffers) - kernel.outputs :]
    center = getattr(kernel.extra, "a", None)
    found = [*results, center] if isinstance(center, Buffer) else results
    return any(b.type.dtype.name == "float64" for b in found)


def level_of(ceiling: Ceiling, distance: int) -> Level:
    """The nearest level that holds data after `distance` bytes were touched."""
    return next(x for x in ceiling.levels if x.capacity is None or distance <= x.capacity)
