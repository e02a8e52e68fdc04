"""Takes the gaps out of sums that skip terms: the gradient of a convolution with a stride.

    for i < n: sum over t < 3 where (i + 1 - t) % 2 == 0 of g[(i + 1 - t) // 2] * w[t]

Only every second t takes part, which ones depends on i. With i + 1 = 2 io + p and t = 2 to + p the
test always holds, and a quarter of the terms is left in two dimensions:

    for io, p: sum over to < 2 where 2 to + p < 3 of g[io - to] * w[2 to + p]

Some (io, p) lie outside of the i there are; `valid` tells which.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from nncomp.ir.collapse import Rebuilder
from nncomp.ir.index import Index, Remainder, Var
from nncomp.ir.loops import Call, Const, Expr, InRange, walk
from nncomp.ir.types import bool_


@dataclass
class Phases:
    """New loops for old ones; conditions on results (`valid`) and on terms (`exists`)."""

    new: dict[Var, Index] = field(default_factory=dict)
    domain: dict[Var, tuple[Var, Var]] = field(default_factory=dict)  # i -> (io, p)
    depth: dict[Var, Var] = field(default_factory=dict)  # t -> to
    valid: list[InRange] = field(default_factory=list)
    exists: list[InRange] = field(default_factory=list)


def find_phases(factors: Sequence[Expr], domain: Sequence[Var], loops: Sequence[Var]) -> Phases:
    """The loops of a sum of products of `factors` that can be renamed to have no gaps."""
    found = Phases()
    for x in walk(factors):
        gap = _gap(x, domain, loops)
        if gap is None or gap[0] in found.new or gap[1] in found.new:
            continue
        i, t, start, by = gap
        outer = Var(f"{i.name}o", (i.extent - 1 + start) // by + 1)
        phase, step = Var(f"{i.name}p", by), Var(f"{t.name}o", -(-t.extent // by))
        row = Index.of(outer) * by + Index.of(phase) - start
        term = Index.of(step) * by + Index.of(phase)
        found.new |= {i: row, t: term}
        found.domain[i], found.depth[t] = (outer, phase), step
        found.valid.append(InRange(row, 0, i.extent, bool_))
        if t.extent % by:
            found.exists.append(InRange(term, 0, t.extent, bool_))
    return found


def _gap(x: Expr, domain, loops) -> tuple[Var, Var, int, int] | None:
    """(i, t, start, by) of a test (i + start - t) % by == 0."""
    if not isinstance(x, InRange) or (x.low, x.high) != (0, 1) or len(x.index.terms) != 1:
        return None
    ((atom, c),) = x.index.terms
    if c != 1 or x.index.const or not isinstance(atom, Remainder):
        return None
    terms = {c: a for a, c in atom.of.terms}
    if set(terms) != {1, -1} or len(atom.of.terms) != 2 or atom.of.const < 0:
        return None
    i, t = terms[1], terms[-1]
    return (i, t, atom.of.const, atom.by) if i in domain and t in loops else None


class Deciding(Rebuilder):
    """A Rebuilder that leaves out conditions that the new loops always meet."""

    def _rebuild(self, expr: Expr) -> Expr:
        made = super()._rebuild(expr)
        if isinstance(made, InRange):
            low, high = made.index.range
            if made.low <= low and high < made.high:
                return self.k.const(True, bool_)
        if isinstance(made, Call) and made.name == "bitwise_and" and made.dtype is bool_:
            a, b = made.args
            return self.k.both(a, b) if Const in (type(a), type(b)) else made
        return made
