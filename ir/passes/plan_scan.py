"""A scan in a Program: the body's steps, repeated, on carries in the loop's own scratch memory.

The scratch holds the carries of this turn, those of the next, and the body's temporaries. Stacked
operands and results are walked by one slice per turn.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import accumulate

from ..graph import Graph, Node
from ..kernels import copy_call
from ..program import LoopStep, Place, Step
from ..types import TensorType
from .memory import Value, padded
from .plan import Counters, plan_graph


class ScanPlan:
    """The plan of one scan, before it is known where its operands and results are."""

    def __init__(self, node: Node, counters: Counters):
        a = node.attrs
        self.body: Graph = a["body"]
        self.node, self.number = node, next(counters.loops)
        self.carries, self.fixed = a["carries"], a["carries"] + a["consts"]
        self.types = [n.type for n in self.body.inputs]
        sizes = [padded(t.nbytes) for t in self.types[: self.carries]]
        ends = list(accumulate([*sizes, *sizes], initial=0))
        self.head = ends[-1]
        places = [Place("carry", 0, begin) for begin in ends[:-1]]
        self.now, self.later = places[: self.carries], places[self.carries :]
        given = (Place("operand", i) for i in range(self.carries, len(self.types)))
        stacked = (Place("result", i) for i in range(self.carries, len(self.body.outputs)))
        inputs, outputs = [*self.now, *given], [*self.later, *stacked]
        self.steps, inner = plan_graph(self.body, inputs, outputs, counters)
        self.arena = self.head + inner

    def steps_at(self, operands: list[Value], results: list[Value], scratch: Place) -> list:
        """The loop and the copies of carries around it, bound to where everything is."""

        def bound(p: Place) -> Place:
            if p.base == "carry":
                return scratch.moved(p.offset)
            if p.base == "arena":
                inner = scratch.moved(self.head + p.offset)
                return replace(inner, strides=(*inner.strides, *p.strides))
            if p.base in ("operand", "result"):
                return self._slice(p, (operands if p.base == "operand" else results)[p.index])
            return p

        def bind(step):
            if isinstance(step, LoopStep):
                return replace(step, steps=tuple(map(bind, step.steps)))
            return replace(step, places=tuple(map(bound, step.places)))

        now, later = [bound(p) for p in self.now], [bound(p) for p in self.later]
        starts = [v.where for v in operands[: self.carries]]
        finals = [v.where for v in results[: self.carries]]
        turn = (*map(bind, self.steps), *self._copies(later, now))
        loop = LoopStep(self.number, self.node.attrs["length"], self.node.attrs["reverse"], turn)
        return [*self._copies(starts, now), loop, *self._copies(now, finals)]

    def _slice(self, p: Place, value: Value) -> Place:
        """Operand or result `value`; stacked ones move by one slice per turn."""
        place = value.where.moved(p.offset)
        strides = (*place.strides, *p.strides)
        if p.base == "result" or p.index >= self.fixed:
            nodes = self.body.outputs if p.base == "result" else self.body.inputs
            strides = (*strides, (self.number, nodes[p.index].type.nbytes))
        return replace(place, strides=strides)

    def _copies(self, sources: list[Place], targets: list[Place]) -> list[Step]:
        rows = zip(self.types, sources, targets, strict=False)
        return [_copy(t, source, target) for t, source, target in rows]


def _copy(type: TensorType, source: Place, target: Place) -> Step:
    return Step(copy_call(type).kernel, (source, target), (type.nbytes, type.nbytes))
