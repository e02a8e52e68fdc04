"""A scan in a Program: the body's steps, repeated, on carries in the loop's own scratch memory.

The scratch holds every carry twice, and the body's temporaries. Turns go in pairs: the first of a
pair reads the carries from one side and writes them to the other, the second the other way round,
so no carry is copied from turn to turn. Stacked operands and results are walked slice by slice.
Contractions go through their weights forwards and backwards in turns: so much of these as fits the
cache is still there from the turn before. The first and the last turn leave out what `turns` finds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from ..graph import Graph, Node
from ..kernels import copy_call
from ..program import LoopStep, Place, Step
from ..types import TensorType
from .memory import Value, padded
from .plan import Counters, plan_graph
from .turns import is_zero, needed_steps, without_zero_products


class ScanPlan:
    """The plan of one scan, before it is known where its operands and results are."""

    def __init__(self, node: Node, counters: Counters):
        a = node.attrs
        self.body: Graph = a["body"]
        self.node, self.counters, self.number = node, counters, next(counters.loops)
        self.carries, self.fixed = a["carries"], a["carries"] + a["consts"]
        self.types = [n.type for n in self.body.inputs]
        sizes = [padded(t.nbytes) for t in self.types[: self.carries]]
        ends = list(accumulate([*sizes, *sizes], initial=0))
        self.offsets = ends[: self.carries], ends[self.carries : -1]  # of the carries, by side
        self.head = ends[-1]
        now, later = ([Place(s, i) for i in range(self.carries)] for s in ("now", "later"))
        given = (Place("operand", i) for i in range(self.carries, len(self.types)))
        stacked = (Place("result", i) for i in range(self.carries, len(self.body.outputs)))
        places = [*now, *given], [*later, *stacked]
        self.steps, inner = plan_graph(self.body, *places, counters)
        self.first, most = self.steps, inner  # the steps of the first turn
        body = self._first_body() if a["length"] > 1 else self.body
        if body is not self.body:
            self.first, most = plan_graph(body, *places, counters)
        self.arena = self.head + max(inner, most)

    def _first_body(self) -> Graph:
        """The body without products with carries that begin as zeros."""
        starts = zip(self.body.inputs, self.node.inputs[: self.carries], strict=False)
        return without_zero_products(self.body, [x for x, start in starts if is_zero(start)])

    def steps_at(self, operands: list[Value], results: list[Value], scratch: Place) -> list:
        """The loop and the copies of carries around it, bound to where everything is."""
        length, reverse = self.node.attrs["length"], self.node.attrs["reverse"]
        starts = [v.where for v in operands[: self.carries]]
        finals = [v.where if _is_read(v) else None for v in results[: self.carries]]
        last = needed_steps(self.steps, [i for i, v in enumerate(finals) if v is not None])

        def turn(number: int, steps: list, pairs: int = 0) -> list:
            """Turn `number`; in a loop over pairs of turns, the one of the first pair."""
            slice = length - 1 - number - 2 * max(pairs - 1, 0) if reverse else number
            step = 2 if pairs else 0
            return _Turn(self, operands, results, scratch, slice, step, number % 2).steps(steps)

        begin, end = int(self.first is not self.steps), length - (len(last) < len(self.steps))
        found = turn(0, self.first) if begin else []
        if begin < end and (end - begin) % 2:
            found += turn(begin, self.steps)
            begin += 1
        if pairs := (end - begin) // 2:
            pair = (*turn(begin, self.steps, pairs), *turn(begin + 1, self.steps, pairs))
            found.append(LoopStep(self.number, pairs, reverse, pair))
        if end < length:
            found += turn(end, last)
        return [
            *self._copies(starts, self._carries(scratch, 0)),
            *found,
            *self._copies(self._carries(scratch, length % 2), finals),
        ]

    def _carries(self, scratch: Place, side: int) -> list[Place]:
        return [scratch.moved(offset) for offset in self.offsets[side]]

    def _copies(self, sources: Sequence[Place], targets: Sequence[Place | None]) -> list[Step]:
        rows = zip(self.types, sources, targets, strict=False)
        return [_copy(t, source, target) for t, source, target in rows if target is not None]


@dataclass
class _Turn:
    """One turn of the body: takes slice number `slice`, in a loop `step` further from time to time;
    reads the carries from `side` and writes them to the other.
    """

    plan: ScanPlan
    operands: list[Value]
    results: list[Value]
    scratch: Place
    slice: int
    step: int
    side: int

    def steps(self, steps: Sequence[Step | LoopStep]) -> list[Step | LoopStep]:
        """The steps of the body, where this turn has its memory."""
        self.parts = {0: 0}  # numbers of results written in parts: new ones for each turn
        return [self._bind(step) for step in steps]

    def _bind(self, step: Step | LoopStep):
        if isinstance(step, LoopStep):
            return replace(step, steps=tuple(map(self._bind, step.steps)))
        if step.part_of not in self.parts:
            self.parts[step.part_of] = next(self.plan.counters.parts)
        places = tuple(map(self._place, step.places))
        back = step.kernel.kind == "contract" and self.side == 1
        return replace(step, places=places, part_of=self.parts[step.part_of], backwards=back)

    def _place(self, p: Place) -> Place:
        plan = self.plan
        if p.base in ("now", "later"):
            side = self.side if p.base == "now" else 1 - self.side
            inner = self.scratch.moved(plan.offsets[side][p.index] + p.offset)
            return replace(inner, strides=(*inner.strides, *p.strides))
        if p.base == "arena":
            inner = self.scratch.moved(plan.head + p.offset)
            return replace(inner, strides=(*inner.strides, *p.strides))
        if p.base == "operand":
            return self._slice(p, self.operands[p.index], plan.body.inputs, p.index >= plan.fixed)
        if p.base == "result":
            return self._slice(p, self.results[p.index], plan.body.outputs, True)
        return p

    def _slice(self, p: Place, value: Value, nodes: Sequence[Node], is_stacked: bool) -> Place:
        """Operand or result `value`; of a stacked one this turn's slice."""
        place = value.where.moved(p.offset)
        strides = (*place.strides, *p.strides)
        if is_stacked:
            nbytes = nodes[p.index].type.nbytes
            place = place.moved(self.slice * nbytes)
            if self.step:
                strides = (*strides, (self.plan.number, self.step * nbytes))
        return replace(place, strides=strides)


def _is_read(value: Value) -> bool:
    """Whether anyone reads a result: the caller, or a later step."""
    place = value.where
    return place.base != "arena" or value.root.dies > value.root.born


def _copy(type: TensorType, source: Place, target: Place) -> Step:
    return Step(copy_call(type).kernel, (source, target), (type.nbytes, type.nbytes))
