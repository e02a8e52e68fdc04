"""Index expressions as 32-bit arithmetic, given values for the loop variables.

    places.index(index, {row: %row.3, depth: 16})    ; constants fold, equal parts are computed once

Equal parts are known by the values they were computed from, so code inside a loop has new ones on
each turn; `fork` before a block that may not run.
"""

from __future__ import annotations

from collections.abc import Mapping

from nncomp.ir.index import Index, Quotient, Remainder, Var
from nncomp.ir.loops import Call, Expr, InRange

from ...llvm import Emitter, Value

Env = Mapping[Var, Value]
TRUE = Value("true", "i1")


def number(value: int) -> Value:
    return Value(str(value), "i32")


class Places:
    """Writes indices and conditions on them."""

    def __init__(self, e: Emitter, known: dict | None = None):
        self.e, self.known = e, dict(known or {})

    def fork(self) -> Places:
        """What is known here stays known there, but not the other way round."""
        return Places(self.e, self.known)

    # -- arithmetic on i32, constants folded -----------------------------------------------------

    def add(self, a: Value, b: Value | int) -> Value:
        return self._binary("add", a, b)

    def mul(self, a: Value, b: Value | int) -> Value:
        return self._binary("mul", a, b)

    def div(self, a: Value, b: int) -> Value:
        return self._binary("udiv", a, b)

    def rem(self, a: Value, b: int) -> Value:
        return self._binary("urem", a, b)

    def least(self, a: Value, b: int) -> Value:
        """min(a, b) of non-negative numbers."""
        x = literal(a)
        if x is not None:
            return number(min(x, b))
        return self._once(("min", a.ref, b), lambda: self.e.call(
            "i32", "llvm.umin.i32", a, number(b), hint="least"
        ))

    def below(self, a: Value, b: int) -> Value:
        """a < b as unsigned numbers."""
        x = literal(a)
        if x is not None:
            return Value("true" if 0 <= x < b else "false", "i1")
        make = lambda: self.e.binary("icmp ult", a, number(b), "in")  # noqa: E731
        return self._once(("below", a.ref, b), make)

    def both(self, a: Value, b: Value) -> Value:
        if a.ref == "true" or b.ref == "false":
            return b
        if b.ref == "true" or a.ref == "false":
            return a
        return self._once(("and", a.ref, b.ref), lambda: self.e.binary("and", a, b, "in"))

    def _binary(self, opcode: str, a: Value, b: Value | int) -> Value:
        b = number(b) if isinstance(b, int) else b
        x, y = literal(a), literal(b)
        if x is not None and y is not None:
            return number(_FOLD[opcode](x, y))
        if y == _NEUTRAL[opcode]:
            return a
        if opcode in ("add", "mul") and x == _NEUTRAL[opcode]:
            return b
        if (opcode == "mul" and 0 in (x, y)) or (opcode == "urem" and y == 1):
            return number(0)
        key = (opcode, a.ref, b.ref)
        return self._once(key, lambda: self.e.binary(opcode, a, b, "x"))

    def _once(self, key, make) -> Value:
        if key not in self.known:
            self.known[key] = make()
        return self.known[key]

    # -- indices ---------------------------------------------------------------------------------

    def index(self, index: Index, env: Env) -> Value:
        """The value of an index; it must fit into 32 bits."""
        total = number(index.const)
        for atom, c in index.terms:
            total = self.add(self.mul(self._atom(atom, env), c), total)
        return total

    def _atom(self, atom, env: Env) -> Value:
        if isinstance(atom, Var):
            return env[atom]
        assert isinstance(atom, (Quotient, Remainder)), "places that depend on data are left alone"
        low = atom.of.range[0]
        shift = -(low // atom.by) if low < 0 else 0  # divisions see numbers from 0 on
        inner = self.index(atom.of + shift * atom.by, env)
        if isinstance(atom, Remainder):
            return self.rem(inner, atom.by)
        return self.add(self.div(inner, atom.by), -shift)

    def condition(self, guard: Expr | None, env: Env) -> Value:
        """Whether all comparisons of indices in `guard` hold, as i1."""
        if guard is None:
            return TRUE
        if isinstance(guard, InRange):
            return self.below(self.index(guard.index - guard.low, env), guard.high - guard.low)
        assert isinstance(guard, Call) and guard.name == "bitwise_and"
        a, b = (self.condition(x, env) for x in guard.args)
        return self.both(a, b)


def literal(value: Value) -> int | None:
    """The number a constant is."""
    return None if value.ref.startswith("%") else int(value.ref)


_NEUTRAL = {"add": 0, "mul": 1, "udiv": 1, "urem": None}
_FOLD = {
    "add": lambda a, b: a + b,
    "mul": lambda a, b: a * b,
    "udiv": lambda a, b: a // b,
    "urem": lambda a, b: a % b,
}


def split(index: Index, var: Var) -> tuple[Index, Index]:
    """What of an index does not depend on `var`, and the rest."""
    fixed = Index.make({a: c for a, c in index.terms if var not in a.vars}, index.const)
    return fixed, index - fixed
