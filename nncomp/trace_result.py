"""Traced, what recording a call gives: the graph, its inputs, and how to rebuild the result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from . import inplace
from .ir import Graph, ops
from .trace_guards import Guard
from .trace_slots import Slot
from .trace_values import fresh_containers, map_leaves


@dataclass
class Traced:
    """A recorded call.

    graph          inputs: captures, then arguments, then `rng` if numbers are drawn; outputs:
                   results, then what `graph.output_names` says to overwrite
    captures       the eager tensors behind the first inputs
    arguments      names of the tensors among the arguments, in order
    n_results      number of plain outputs
    requires_grad  for each plain output: may gradients be asked for it
    draws          how many random keys one call takes
    reached        for each plain output: the numbers of the inputs that get a gradient from it
    guards         what must hold for the graph to be used again
    grads          (tensor or argument number, output number): set its .grad to that output
                   (None: to None)
    slots          where each call leaves tensors behind; `structure` is then (what the function
                   returned, [what goes into each slot])
    """

    graph: Graph
    captures: list[Any]
    arguments: list[str]
    n_results: int
    requires_grad: list[bool]
    draws: int
    guards: list[Guard]
    grads: list[tuple[Any, int | None]]
    structure: Any = field(repr=False)
    reached: list[set[int]] = field(default_factory=list)
    slots: list[Slot] = field(default_factory=list)

    def rebuild(self, values: Sequence, arguments: Sequence | None = None) -> Any:
        """What the function returned, with `values` for the plain outputs.

        An output that is an argument, or a view of one, is taken from `arguments` (the tensors of
        this call, in order) if they are given, so that it shares memory as it does eagerly. Lists
        and dicts are new ones at each call. Tensors that stay behind are put in their slots.
        """

        def place(leaf: Any, path: str) -> Any:
            return leaf.take(values, arguments) if isinstance(leaf, Output) else leaf

        whole = map_leaves(fresh_containers(self.structure), place)
        if not self.slots:
            return whole
        result, left = whole
        for slot, value in zip(self.slots, left, strict=True):
            slot.put(value)
        return result


class Output:
    """Where one tensor of the result comes from: a plain output, or memory of the caller."""

    def __init__(
        self,
        number: int | None = None,
        argument: int | None = None,
        capture: Any = None,
        chain: tuple = (),
        base: bool = False,
        history: int | None = None,
    ):
        """`base`: the plain output is memory that several results see, each through its chain.

        `history` is the plain output whose gradient belongs to a result that has one of its own.
        """
        self.number, self.argument, self.capture, self.chain = number, argument, capture, chain
        self.base, self.history = base, history

    def take(self, values: Sequence, arguments: Sequence | None) -> Any:
        """The tensor for the caller."""
        if self.capture is not None:
            source = self.capture
        elif self.argument is not None and arguments is not None:
            source = arguments[self.argument]
        elif self.base:
            source = values[self.number]
        else:
            return values[self.number]
        for op, attrs in self.chain:
            if op is ops.detach:
                source = inplace.alias(source)
            else:
                source = inplace.view(op, source, **attrs)
        if self.history is not None:
            y = values[self.history]
            source._grad_fn, source._output_nr = y._grad_fn, y._output_nr
            source._requires_grad = y._requires_grad
        return source
