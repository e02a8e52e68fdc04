"""Contractions whose columns are read in equal parts: the tiles of all parts, then the epilogue.

A register tile runs the loops over k once for each part, on the same rows of a and on the columns
of b that lie at the same place in each part, and keeps the sums in the first-level cache. The
epilogue of a vector of results then gets one vector of sums from each part.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ..llvm import Emitter, Value, vector_type
from .contract import SIZES, Contraction, Plan
from .contract_index import Index, add, mul, value

Ask = Callable[[Index, int], None]


def one_part(spec: Contraction, parts: int) -> Contraction:
    """The contraction of one of so many parts of the columns."""
    return replace(spec, n=spec.n // parts, products=parts, parts=parts)


class Parts:
    """Keeps the sums of a tile of each part; `plan` is of one part."""

    def __init__(self, e: Emitter, plan: Plan) -> None:
        self.e, self.plan, self.count = e, plan, plan.spec.parts
        rows = max(run.live for run in plan.row_runs) * plan.inner
        self.places = rows * max(-(-run.step // plan.lanes) for run in plan.column_runs)
        self.type = vector_type(plan.scalar, plan.lanes)
        size = self.count * self.places
        self.scratch = e.emit("ptr", f"alloca [{size} x {self.type}], align 64", "parts")

    def multiply(
        self, a: Value, b: Value, multiply: Callable[..., list[Value]], ask: Ask | None
    ) -> None:
        """Compute and keep the sums of all parts from these addresses on.

        `multiply(a, b, ask=)` gives the sums of one part; `ask(i, n)` prefetches share i of n of
        what the epilogue will need.
        """
        e, spec = self.e, self.plan.spec
        step = spec.n // spec.panel * spec.panel_stride if spec.panel else spec.n
        with e.loop(0, self.count, hint="part") as loop:
            there = e.gep(spec.b_type, b, mul(e, loop.index, step))

            def ask_share(turn: Index, turns: int) -> None:
                assert ask is not None
                ask(add(e, mul(e, loop.index, turns), turn), turns * self.count)

            for place, x in enumerate(multiply(a, there, ask=ask_share if ask else None)):
                e.store(x, self._slot(loop.index, place), x.lanes * SIZES[self.plan.scalar])

    def sums(self, place: Index, lanes: int) -> list[Value]:
        """The sums at a place of the tile, a vector of each part."""
        type, align = vector_type(self.plan.scalar, lanes), lanes * SIZES[self.plan.scalar]
        slots = [self._slot(value(part), place) for part in range(self.count)]
        return [self.e.load(type, slot, align, "sum") for slot in slots]

    def _slot(self, part: Value, place: Index) -> Value:
        first = self.e.binary("mul", part, value(self.places))
        return self.e.gep(self.type, self.scratch, add(self.e, first, place))
