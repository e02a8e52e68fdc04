"""Runs a list of passes and owns what they share: checks, times, dumps, telling which one failed.

    optimized = run_pipeline(graph, PIPELINE, report)

The switches are rows of `debug.table()`. A pass is a function from Graph to Graph; its name is the
name it has in switches, dumps and errors.
"""

from __future__ import annotations

import difflib
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..debug import debug
from ..graph import Graph
from ..interpret import interpret
from ..printer import print_graph
from ..verify import verify
from ..watch import tell

Pass = Callable[[Graph], Graph]
TOLERANCE = {2: 3e-2, 4: 1e-4, 8: 1e-8}  # by item size of a float, relative to the largest value


class PassError(RuntimeError):
    """A pass that raised, broke the graph or changed its numbers."""

    def __init__(self, name: str, before: Sequence[str], message: str):
        self.pass_name = name
        after = f" (after {', '.join(before)})" if before else ""
        super().__init__(f"pass {name}{after}: {message}")


class Record(NamedTuple):
    """What one pass did: seconds taken, node counts, and whether the graph is a new one."""

    name: str
    seconds: float
    nodes_before: int
    nodes_after: int
    changed: bool

    def __str__(self) -> str:
        nodes = (
            f"{self.nodes_before} -> {self.nodes_after} nodes" if self.changed else "(unchanged)"
        )
        return f"{self.name:<24} {self.seconds * 1e3:9.2f} ms   {nodes}"


def run_pipeline(
    graph: Graph,
    pipeline: Sequence[Pass] | None = None,
    report: list[Record] | None = None,
    label: str = "",
) -> Graph:
    """The graph after all passes (or up to `stop_after`); PassError names the pass that failed.

    `pipeline` defaults to PIPELINE. `report` gets one Record per pass. Dumped files start with
    `label`.
    """
    from . import PIPELINE

    passes = PIPELINE if pipeline is None else pipeline
    _known_passes(passes)
    _dump(label, 0, "trace", graph)
    done: list[str] = []
    for number, step in enumerate(passes, 1):
        name = step.__name__
        start = time.perf_counter()
        new = _apply(step, graph, done)
        record = Record(
            name, time.perf_counter() - start, len(graph.nodes), len(new.nodes), new is not graph
        )
        if report is not None:
            report.append(record)
        _show(record, graph, new)
        _dump(label, number, name, new)
        done.append(name)
        tell("passes", number, len(passes))
        graph = new
        if debug.stop_after == name:
            break
    return graph


_announced: list[str] = []


def announce_passes(*names: str) -> None:
    """Say that passes of these names run in other pipelines, so that switches may name them."""
    _announced.extend(name for name in names if name not in _announced)


def _known_passes(pipeline: Sequence[Pass]):
    """A misspelled pass name in a switch would silently do nothing."""
    from . import PIPELINE

    steps = dict.fromkeys(step.__name__ for step in (*pipeline, *PIPELINE))
    names = list(dict.fromkeys([*steps, *_announced]))
    for switch, wanted in (("print_after", debug.print_after), ("stop_after", debug.stop_after)):
        for name in filter(None, wanted.split(",")):
            if name not in (*names, "all"):
                known = ", ".join(names)
                raise ValueError(f"{switch} names {name}, but the passes are {known}")


def _apply(step: Pass, graph: Graph, done: list[str]) -> Graph:
    name = step.__name__
    try:
        new = step(graph)
        if debug.verify and (new is not graph or not done):
            verify(new)
    except Exception as error:
        raise PassError(name, done, f"{type(error).__name__}: {error}") from error
    if debug.check and new is not graph:
        difference = compare(graph, new)
        if difference:
            raise PassError(name, done, f"changes the numbers: {difference}")
    return new


# -- printing -------------------------------------------------------------------------------------


def _show(record: Record, before: Graph, after: Graph):
    if debug.debug >= 1:
        print(record, file=sys.stderr)
    wanted = debug.print_after.split(",")
    if record.name in wanted or "all" in wanted:
        print(diff(before, after, record.name), file=sys.stderr)
    elif debug.debug >= 3:
        print(f"# after {record.name}\n{print_graph(after)}", file=sys.stderr)


def diff(before: Graph, after: Graph, name: str) -> str:
    """The printed graph with `-` and `+` where it changed; `(unchanged)` if it did nowhere."""
    old, new = (print_graph(g).splitlines() for g in (before, after))
    if old == new:
        return f"# after {name} (unchanged)"
    lines = difflib.ndiff(old, new)
    return "\n".join([f"# after {name}", *(line for line in lines if not line.startswith("?"))])


def _dump(label: str, number: int, name: str, graph: Graph):
    if debug.dump:
        dump_text(f"{label}{number:02}_{name}.ir", print_graph(graph))


def dump_text(name: str, text: str) -> None:
    """Write one stage into the folder of the dump switch, if it is set."""
    if debug.dump:
        folder = Path(debug.dump)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


# -- checking -------------------------------------------------------------------------------------


def compare(before: Graph, after: Graph) -> str:
    """Which output differs on random inputs, by how much; empty if none does.

    Draws twice: numbers of both signs, and positive ones where roots and logarithms are defined.
    """
    for low in (-1.0, 0.1):
        arrays = random_inputs(before, np.random.default_rng(0), low)
        try:
            old = interpret(before, *arrays)
        except IndexError:  # an index input: zero fits every axis that is not empty
            arrays = [np.zeros_like(a) if a.dtype.kind in "iu" else a for a in arrays]
            old = interpret(before, *arrays)
        new = interpret(after, *arrays)
        for i, (a, b) in enumerate(zip(old, new, strict=True)):
            difference = describe_difference(a, b)
            if difference:
                return f"output {i} {difference}"
    return ""


def random_inputs(graph: Graph, rng: np.random.Generator, low: float) -> list[np.ndarray]:
    """Arrays for the inputs: floats in [low, 1), small integers that are likely valid indices."""

    def draw(type):
        if type.dtype.is_floating_point:
            return rng.uniform(low, 1.0, type.shape).astype(type.dtype.numpy)
        return rng.integers(0, 2, type.shape).astype(type.dtype.numpy)

    return [draw(n.type) for n in graph.inputs]


def describe_difference(a: np.ndarray, b: np.ndarray) -> str:
    """Empty if equal within the tolerance of the dtype; nan equals nan."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return f"was {a.dtype}{list(a.shape)}, is {b.dtype}{list(b.shape)}"
    if a.size == 0:
        return ""
    if a.dtype.kind in "iub":
        count = int((a != b).sum())
        return f"differs in {count} of {a.size} elements" if count else ""
    a, b, tol = a.astype(np.float64), b.astype(np.float64), TOLERANCE[a.dtype.itemsize]
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(all="ignore"):
        error = np.where(same, 0.0, np.abs(a - b))
    finite = np.abs(a[np.isfinite(a)])
    scale = 1.0 + (finite.max() if finite.size else 0.0)
    worst = float(np.where(np.isnan(error), np.inf, error).max())
    return f"differs by {worst:.3g} (largest value {scale - 1:.3g})" if worst > tol * scale else ""
