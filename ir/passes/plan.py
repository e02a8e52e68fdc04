"""Fused graph -> Program: kernels in order, static memory with reuse, updates in place.

Liveness decides the arena: a value lives from the step that writes it to the last that reads it;
offsets are given greedily, large values first (as in TFLite's and TVM's planners). A map kernel may
write over an operand that dies there if it reads it only at the element it writes. An update of an
input (a parameter, a running statistic) is written straight into it when nothing reads it later.

Needs: fuse. Establishes: a Program any backend can run.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from itertools import accumulate

from ..graph import Graph, Loc, Node, input_node
from ..loops import Kernel, Load, walk
from ..lower import lower_map, lower_node
from ..op import attribute_key
from ..program import LoopStep, Place, Program, Step
from ..types import TensorType

ALIGN = 64


@dataclass
class Value:
    """A stored result while planning: who wrote it, who reads it last, where it will be."""

    type: TensorType
    place: Place | None = None
    born: int = -1
    dies: int = -1
    shares: Value | None = None  # written over this one


def plan_program(graph: Graph) -> Program:
    """The program of a fused graph; inputs and outputs are numbered as the graph's."""
    inputs = [Place("in", i) for i in range(len(graph.inputs))]
    names = {n: i for i, n in enumerate(graph.input_names)}
    outputs = [
        Place("in", names[target]) if target else Place("out", i)
        for i, target in enumerate(graph.output_names)
    ]
    steps, arena = _plan(graph, inputs, outputs, [0])
    return Program(tuple(steps), len(inputs), len(outputs), arena)


def _plan(graph: Graph, inputs: list[Place], outputs: list[Place], loops: list[int]):
    """(steps, arena bytes) of a graph whose inputs and outputs have places."""
    planner = _Planner(graph, inputs, outputs, loops)
    planner.collect()
    planner.assign_outputs()
    return planner.finish()


class _Planner:
    def __init__(self, graph: Graph, inputs, outputs, loops):
        self.graph, self.outputs, self.loops = graph, outputs, loops
        self.values: dict[Node, Value] = {}
        self.stored: list[Value] = []
        self.steps: list[tuple] = []  # (node, kernel or None, [operand Values], [result Values])
        for node, place in zip(graph.inputs, inputs, strict=True):
            self.values[node] = Value(node.type, place)

    # -- what runs -----------------------------------------------------------------------------

    def collect(self) -> None:
        for node in _updates_last(self.graph):
            if node.name == "get":
                continue
            if node.name == "reshape":
                self.values[node] = self._of(node.inputs[0])
                continue
            operands = [self._of(x) for x in node.inputs]
            results = [self._new(t) for t in result_types(node)]
            kernel = None if node.name == "scan" else kernel_of(node)
            self.steps.append((node, kernel, operands, results))
            self.values[node] = results if isinstance(node.type, tuple) and not isinstance(
                node.type, TensorType
            ) else results[0]  # type: ignore[assignment]
            for get in self._gets(node):
                self.values[get] = results[get.attrs["index"]]

    def _gets(self, node: Node) -> list[Node]:
        if not hasattr(self, "_users"):
            self._users = self.graph.users()
        return [u for u in self._users[node] if u.name == "get"]

    def _of(self, node: Node) -> Value:
        return self.values[node]

    def _new(self, type: TensorType) -> Value:
        value = Value(type)
        self.stored.append(value)
        return value

    # -- results -------------------------------------------------------------------------------

    def assign_outputs(self) -> None:
        """Give each graph output its place, by a copy where its value cannot be written there."""
        wanted = [
            (self._of(n), place) for n, place in zip(self.graph.outputs, self.outputs, strict=True)
        ]
        late: list[tuple] = []
        for value, place in wanted:
            if value.place is not None and value.place != place:  # an input handed through
                first = self._new(value.type) if place.base == "in" else Value(value.type, place)
                self.steps.insert(0, (None, copy_kernel(value.type), [value], [first]))
                if place.base == "in":
                    late.append((first, place))
        for value, place in wanted:
            self._set_liveness()
            if value.place is None and self._may_write(value, place):
                value.place = place
            elif value.place != place and value.born >= 0:
                late.append((value, place))
        for value, place in late:
            step = (None, copy_kernel(value.type), [value], [Value(value.type, place)])
            self.steps.append(step)
        self._set_liveness()

    def _may_write(self, value: Value, place: Place) -> bool:
        """Whether the kernel of `value` may write it to `place` (an input, perhaps still read)."""
        _, kernel, operands, results = self.steps[value.born]
        if kernel is None:
            return place.base != "in"
        target = next((v for v in self.values.values() if _is_at(v, place)), None)
        if target is None:
            return True
        if target.dies > value.born:
            return False
        return target.dies < value.born or _reads_in_step(kernel, operands, results, target, value)

    def _set_liveness(self) -> None:
        for v in self.values.values():
            for x in v if isinstance(v, list) else [v]:
                x.dies = -1
        for v in self.stored:
            v.born = v.dies = -1
        for t, (_, _, operands, results) in enumerate(self.steps):
            for v in operands:
                v.dies = t
            for v in results:
                v.born, v.dies = t, max(t, v.dies)

    # -- memory --------------------------------------------------------------------------------

    def finish(self):
        loops = {}  # step number -> (inner steps, inner arena bytes, carries)
        scratch: dict[int, Value] = {}
        self._share()
        for t, (node, kernel, _, _) in enumerate(self.steps):
            if kernel is None:
                loops[t] = _ScanPlan(node, self.loops)
                scratch[t] = Value(_bytes(loops[t].arena), born=t, dies=t)
                self.stored.append(scratch[t])
        arena = lay_out([v for v in self.stored if v.place is None and v.shares is None])
        for v in self.stored:
            if v.shares is not None:
                v.place = _root(v).place
        steps: list[Step | LoopStep] = []
        for t, (node, kernel, operands, results) in enumerate(self.steps):
            if kernel is None:
                steps.extend(loops[t].steps_at(operands, results, scratch[t]))
                continue
            values = [*operands, *results]
            places = tuple(v.place for v in values)
            sizes = tuple(v.type.nbytes for v in values)
            loc = node.loc if node is not None else Loc()
            steps.append(Step(kernel, places, sizes, loc.scope, loc.line))
        return steps, arena

    def _share(self) -> None:
        """Let results of map kernels take over operands that die there."""
        for t, (_, kernel, operands, results) in enumerate(self.steps):
            if kernel is None or kernel.kind == "scatter":
                continue
            taken: set[int] = set()
            for result in results:
                if result.place is not None:
                    continue
                for operand in operands:
                    reusable = operand.place is None and operand.dies == t and operand.born >= 0
                    if not reusable or id(operand) in taken:
                        continue
                    same = operand.type.nbytes == result.type.nbytes
                    if same and _reads_in_step(kernel, operands, results, operand, result):
                        result.shares = operand
                        taken.add(id(operand))
                        root = _root(result)
                        root.dies = max(root.dies, result.dies)
                        break


def _root(value: Value) -> Value:
    while value.shares is not None:
        value = value.shares
    return value


def _is_at(value, place: Place) -> bool:
    return isinstance(value, Value) and value.place == place


def _reads_in_step(kernel: Kernel, operands, results, operand: Value, result: Value) -> bool:
    """Whether the kernel reads `operand` only at the element of `result` it writes then."""
    if kernel is None or operand.type.nbytes != result.type.nbytes:
        return False
    if kernel.kind == "contract":
        if any(operands[b.slot] is operand for b in (kernel.extra.a, kernel.extra.b)):
            return False
    elif kernel.kind != "map":
        return False
    if operand.type.dtype.itemsize != result.type.dtype.itemsize:
        return False
    slots = {k for k, v in enumerate(operands) if v is operand}
    number = next(k for k, v in enumerate(results) if v is result)
    store = kernel.stores[number]
    for s in kernel.stores:
        for x in walk(s.roots):
            if isinstance(x, Load) and x.buffer.slot in slots:
                if x.offset != store.offset or s.vars != store.vars:
                    return False
    return True


def lay_out(values: list[Value]) -> int:
    """Offsets for values by lifetime, large ones first at the lowest free spot; returns the size."""
    placed: list[tuple[int, int, Value]] = []
    total = 0
    for v in sorted(values, key=lambda v: -v.type.nbytes):
        size = -(-max(v.type.nbytes, 1) // ALIGN) * ALIGN
        offset = 0
        for begin, end, other in sorted(placed, key=lambda p: p[0]):
            if other.born <= v.dies and v.born <= other.dies:
                if offset + size <= begin:
                    break
                offset = max(offset, end)
        placed.append((offset, offset + size, v))
        v.place = Place("arena", 0, offset)
        total = max(total, offset + size)
    return total


def _bytes(count: int) -> TensorType:
    from ..types import uint8

    return TensorType((count,), uint8)


def result_types(node: Node) -> list[TensorType]:
    return [node.type] if isinstance(node.type, TensorType) else list(node.type)


def _updates_last(graph: Graph) -> list[Node]:
    """The nodes; those whose results are only updates of inputs come last, so that all readers of
    the old values have run and the updates can be written in place."""
    users = graph.users()
    updates = {n for n, name in zip(graph.outputs, graph.output_names, strict=True) if name}
    updates -= {n for n, name in zip(graph.outputs, graph.output_names, strict=True) if not name}

    def only_update(node: Node) -> bool:
        if node.name == "get":
            return node in updates and not users[node]
        return bool(users[node]) and all(only_update(u) for u in users[node] if u.name == "get") and (
            all(u.name == "get" for u in users[node])
        )

    last = {n for n in graph.nodes if n.name == "fused" and only_update(n)}
    return [n for n in graph.nodes if n not in last] + [n for n in graph.nodes if n in last]


# -- kernels ---------------------------------------------------------------------------------------

_KERNELS: dict[tuple, Kernel] = {}


def kernel_of(node: Node) -> Kernel:
    """The kernel of a node; equal groups share one, named after what it ends in and its content."""
    if node.name == "fused":
        key = (node.attrs["kind"], structure_key(node.attrs["body"]))
        hint = node.attrs["body"].name
    else:
        key = (node.name, attribute_key(dict(node.attrs)), tuple(x.type for x in node.inputs))
        hint = node.name
    return _cached_kernel(key, hint, lambda name: lower_node(node, name))


def copy_kernel(type: TensorType) -> Kernel:
    x = input_node("x", type)
    body = Graph("copy", [x], [x])
    return _cached_kernel(("copy", type), "copy", lambda name: lower_map(body, name))


def _cached_kernel(key, hint: str, make) -> Kernel:
    found = _KERNELS.get(key)
    if found is None:
        digest = hashlib.sha256(repr(key).encode()).hexdigest()[:12]
        found = _KERNELS[key] = make(f"{hint}_{digest}")
        if len(_KERNELS) > 4096:
            _KERNELS.clear()
    return found


def structure_key(graph: Graph) -> tuple:
    """What a graph computes, without names and source lines."""
    number = {n: i for i, n in enumerate(graph.inputs)}
    rows: list[tuple] = [tuple(n.type for n in graph.inputs)]
    for node in graph.nodes:
        number[node] = len(number)
        attrs = {
            k: structure_key(v) if isinstance(v, Graph) else v for k, v in node.attrs.items()
        }
        rows.append((node.name, attribute_key(attrs), tuple(number[x] for x in node.inputs)))
    return (*rows, tuple(number[x] for x in graph.outputs))


# -- scan ------------------------------------------------------------------------------------------


class _ScanPlan:
    """A scan as a loop step: the body's steps on carries kept in the loop's own scratch memory.

    The scratch holds the carries of this turn, those of the next, and the body's temporaries.
    """

    def __init__(self, node: Node, loops: list[int]):
        a = node.attrs
        body: Graph = a["body"]
        self.node, self.number = node, loops[0]
        loops[0] += 1
        self.carries, self.fixed = a["carries"], a["carries"] + a["consts"]
        self.types = [n.type for n in body.inputs]
        sizes = [-(-max(t.nbytes, 1) // ALIGN) * ALIGN for t in self.types[: self.carries]]
        ends = list(accumulate([*sizes, *sizes], initial=0))
        self.head = ends[-1]
        places = [Place("carry", 0, begin) for begin in ends[:-1]]
        self.now, self.later = places[: self.carries], places[self.carries :]
        given = (Place("operand", i) for i in range(self.carries, len(self.types)))
        stacked = (Place("result", i) for i in range(self.carries, len(body.outputs)))
        self.steps, inner = _plan(body, [*self.now, *given], [*self.later, *stacked], loops)
        self.arena = self.head + inner

    def steps_at(self, operands, results, scratch: Value) -> list:
        """The loop and the copies of carries around it, bound to where everything is."""

        def bound(p: Place) -> Place:
            if p.base == "carry":
                return scratch.place.moved(p.offset)
            if p.base == "arena":
                return scratch.place.moved(self.head + p.offset)
            if p.base in ("operand", "result"):
                return self._slice(p, (operands if p.base == "operand" else results)[p.index])
            return p

        def bind(step):
            if isinstance(step, LoopStep):
                return replace(step, steps=tuple(map(bind, step.steps)))
            return replace(step, places=tuple(map(bound, step.places)))

        def copies(sources, targets):
            rows = zip(self.types, sources, targets, strict=False)
            return [_copy(t, p, q) for t, p, q in rows]

        now, later = [bound(p) for p in self.now], [bound(p) for p in self.later]

        starts = [v.place for v in operands[: self.carries]]
        finals = [v.place for v in results[: self.carries]]
        turn = (*map(bind, self.steps), *copies(later, now))
        loop = LoopStep(self.number, self.node.attrs["length"], self.node.attrs["reverse"], turn)
        return [*copies(starts, now), loop, *copies(now, finals)]

    def _slice(self, p: Place, value: Value) -> Place:
        """Operand or result `value`; stacked ones move by one slice per turn."""
        place = value.place.moved(p.offset)
        strides = (*place.strides, *p.strides)
        if p.base == "result" or p.index >= self.fixed:
            strides = (*strides, (self.number, value.type.nbytes // max(value.type.shape[0], 1)))
        return replace(place, strides=strides)


def _copy(type: TensorType, source: Place, target: Place) -> Step:
    return Step(copy_kernel(type), (source, target), (type.nbytes, type.nbytes))
