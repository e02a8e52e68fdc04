"""Fused graph -> Program: kernels in order, static memory with reuse, updates in place.

Every stored value gets a place: an input, an output, or a part of the arena (see arena.py). An
update of an input (a parameter, a running statistic) is computed as early as everything else that
reads the old value has run, and written straight into the input. Where that is not possible, as
for two inputs that exchange their values, it is copied at the end.

Needs: fuse. Establishes: a Program any backend can run.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count

from ..graph import Graph, Loc, Node
from ..kernels import STORING_KINDS, KernelCall, calls_of, copy_call, stores_of, storing_twice
from ..program import LoopStep, Place, Program, Step
from ..types import TensorType
from .arena import lay_out
from .memory import Value, first_of, reads_in_step, share
from .order import is_alias, slice_offset, with_updates_early


def plan_program(graph: Graph) -> Program:
    """The program of a fused graph; inputs and outputs are numbered as the graph's."""
    inputs = [Place("in", i) for i in range(len(graph.inputs))]
    names = {n: i for i, n in enumerate(graph.input_names)}
    outputs = [
        Place("in", names[target]) if target else Place("out", i)
        for i, target in enumerate(graph.output_names)
    ]
    steps, arena = plan_graph(graph, inputs, outputs, Counters())
    return Program(tuple(steps), len(inputs), len(outputs), arena)


class Counters:
    """Numbers for loops and for results that are written in parts, one series per program."""

    def __init__(self) -> None:
        self.loops, self.parts = count(), count(1)


def plan_graph(graph: Graph, inputs: list[Place], outputs: list[Place], counters: Counters):
    """(steps, arena bytes) of a graph whose inputs and outputs have places."""
    planner = _Planner(graph, inputs, outputs, counters)
    planner.collect()
    planner.assign_outputs()
    return planner.finish()


@dataclass(eq=False)
class _Task:
    """A node's kernels, or a scan (no kernels), on values."""

    calls: tuple[KernelCall, ...]
    operands: list[Value]
    results: list[Value]
    node: Node | None = None
    workspace: list[Value] = field(default_factory=list)

    @property
    def is_scan(self) -> bool:
        return not self.calls and self.node is not None and self.node.name == "scan"


class _Planner:
    def __init__(self, graph: Graph, inputs: list[Place], outputs: list[Place], counters):
        self.graph, self.outputs, self.counters = graph, outputs, counters
        self.values: dict[Node, Value] = {}
        self.stored: list[Value] = []
        self.tasks: list[_Task] = []
        for node, place in zip(graph.inputs, inputs, strict=True):
            self.values[node] = Value(node.type, place)
        self.given = {self.values[n].place: self.values[n] for n in graph.inputs}

    # -- what runs -----------------------------------------------------------------------------

    def collect(self) -> None:
        results: dict[Node, list[Value]] = {}
        for node in with_updates_early(self.graph):
            if node.name == "get":
                self.values[node] = results[node.inputs[0]][node.attrs["index"]]
            elif is_alias(node):
                base = self.values[node.inputs[0]]
                self.values[node] = Value(node.type, base=base, offset=slice_offset(node))
            else:
                types = [node.type] if isinstance(node.type, TensorType) else node.type
                made = results[node] = [self._new(t) for t in types]
                calls = () if node.name == "scan" else calls_of(node)
                operands = [self.values[x] for x in node.inputs]
                buffers = calls[0].kernel.buffers if len(calls) == 1 else ()
                workspace = [self._new(b.type) for b in buffers[len(operands) + len(made) :]]
                self.tasks.append(_Task(calls, operands, made, node, workspace))
                self.values[node] = made[0]

    def _new(self, type: TensorType) -> Value:
        value = Value(type)
        self.stored.append(value)
        return value

    # -- results -------------------------------------------------------------------------------

    def assign_outputs(self) -> None:
        """Give each graph output its place, by a copy where its value cannot be written there."""
        wanted = [
            (self.values[n], place)
            for n, place in zip(self.graph.outputs, self.outputs, strict=True)
        ]
        first: list[_Task] = []
        late: list[_Task] = []
        self._set_lives()
        for value, place in wanted:
            if value.root.born >= 0:
                if not self._write_to(value, place) and not self._write_twice(value, place):
                    late.append(_copy_task(value, Value(value.type, place)))
            elif value.root.place != place:  # an input handed through
                if place in self.given:  # it is kept until all have read the old value
                    kept = self._new(value.type)
                    first.append(_copy_task(value, kept))
                    late.append(_copy_task(kept, Value(value.type, place)))
                else:
                    first.append(_copy_task(value, Value(value.type, place)))
        self.tasks = [*first, *self.tasks, *late]
        self._set_lives()

    def _write_to(self, value: Value, place: Place) -> bool:
        """Let the kernel of `value` write it to `place`, if no one needs what is there by then."""
        root = value.root
        if root.place is not None or not value.is_whole:
            return root.place == place
        task, old = self.tasks[root.born], self.given.get(place)
        if old is not None:
            if task.is_scan or old.dies > root.born:
                return False
            if old.dies == root.born:
                if not reads_in_step(task.calls, task.operands, task.results, old, root):
                    return False
        root.place = place
        return True

    def _write_twice(self, value: Value, place: Place) -> bool:
        """Let the kernel of `value` write it to `place` too: a new place, no input's."""
        task = self.tasks[value.root.born]
        if place in self.given or len(task.calls) != 1 or not value.is_whole:
            return False
        number = task.results.index(value.root)
        (call,) = task.calls
        if call.kernel.kind not in STORING_KINDS or len(stores_of(call.kernel, number)) != 1:
            return False
        count = len(task.operands) + len(task.results)
        task.calls = (storing_twice(call, number, count),)
        task.results.append(Value(value.root.type, place))
        return True

    def _set_lives(self) -> None:
        for value in (*self.given.values(), *self.stored):
            value.born = value.dies = -1
        for t, task in enumerate(self.tasks):
            for v in task.operands:
                v.root.dies = t
            for v in (*task.results, *task.workspace):
                v.born, v.dies = t, max(t, v.dies)

    # -- memory --------------------------------------------------------------------------------

    def finish(self):
        from .plan_scan import ScanPlan

        loops: dict[int, ScanPlan] = {}
        scratch: dict[int, Value] = {}
        for t, task in enumerate(self.tasks):
            if task.is_scan:
                loops[t] = ScanPlan(task.node, self.counters)
                scratch[t] = Value(bytes_type(loops[t].arena), born=t, dies=t)
            else:
                share(task.calls, task.operands, task.results, t)
        free = [v for v in self.stored if v.place is None and v.shares is None]
        arena = lay_out([*free, *scratch.values()])
        for v in self.stored:
            if v.shares is not None:
                v.place = first_of(v).place
        steps: list[Step | LoopStep] = []
        for t, task in enumerate(self.tasks):
            if task.is_scan:
                steps.extend(loops[t].steps_at(task.operands, task.results, scratch[t].where))
            else:
                steps.extend(self._steps(task))
        return steps, arena

    def _steps(self, task: _Task) -> list[Step]:
        values = [*task.operands, *task.results, *task.workspace]
        loc = task.node.loc if task.node is not None else Loc()
        part = next(self.counters.parts) if len(task.calls) > 1 else 0
        steps = []
        for call in task.calls:
            places = tuple(values[k].where.moved(offset) for k, offset in call.arguments)
            sizes = tuple(values[k].type.nbytes - offset for k, offset in call.arguments)
            step = Step(
                call.kernel, places, sizes, loc.scope, loc.line, part, node=task.node
            )
            steps.append(step)
        return steps


def _copy_task(value: Value, target: Value) -> _Task:
    return _Task((copy_call(value.type),), [value], [target])


def bytes_type(count: int) -> TensorType:
    from ..types import uint8

    return TensorType((count,), uint8)
