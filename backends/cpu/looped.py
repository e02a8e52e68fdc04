"""Products in loops over time share rows between threads, as the cells around them do.

A turn of a recurrent layer is a product with a weight and a cell. Where threads share the columns
of the product and the rows of the cell, half of what a thread reads was written by another one,
which costs as much as the cell itself while the threads' CPUs lie far apart. Where they share rows
in both, each thread walks through the whole weight; that comes from the third-level cache while
the thread multiplies, and is there from the turn before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import prod

from nncomp.ir.loops import Contract, Kernel
from nncomp.ir.program import LoopStep, Program, Step

FEWEST = 8  # rows that are worth sharing; a product of fewer waits for its weight
KEPT = 8 << 20  # bytes of a weight that the third-level cache keeps from turn to turn


def looped(program: Program) -> Program:
    """The program with such products marked for their plan (see `Contraction.looped`)."""
    chosen = {step.kernel.name for step in _products(program.steps)}
    return replace(program, steps=_marked(program.steps, chosen)) if chosen else program


def _products(items: Sequence[Step | LoopStep], loop: int | None = None) -> Iterator[Step]:
    """Products in loops whose right operand is the same in each turn."""
    for item in items:
        if isinstance(item, LoopStep):
            yield from _products(item.steps, item.number)
        elif loop is not None and isinstance(item.kernel.extra, Contract):
            place = item.places[item.kernel.buffers.index(item.kernel.extra.b)]
            rows = prod(extent for extent, _ in item.kernel.extra.geometry["m"])
            moves = rows < FEWEST or any(number == loop for number, _ in place.strides)
            if not moves and item.kernel.extra.b.type.nbytes <= KEPT:
                yield item


def _marked(items: Sequence[Step | LoopStep], chosen: set[str]) -> tuple[Step | LoopStep, ...]:
    found: list[Step | LoopStep] = []
    for item in items:
        if isinstance(item, LoopStep):
            item = replace(item, steps=_marked(item.steps, chosen))
        elif item.kernel.name in chosen:
            item = replace(item, kernel=_mark(item.kernel))
        found.append(item)
    return tuple(found)


def _mark(kernel: Kernel) -> Kernel:
    geometry = {**kernel.extra.geometry, "looped": True}
    name = f"{kernel.name}_looped"
    return replace(kernel, name=name, extra=replace(kernel.extra, geometry=geometry))
