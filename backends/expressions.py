"""Kernel expressions to LLVM text: scalar code, or one vector lane per value of a loop variable.

A `Scope` says where code is being written: which loop variables have values, which of them runs
over the lanes of vectors, and what has been computed already. Anything that does not depend on a
loop is computed before it (`hoist`), so the text needs no optimizer. Shared by every LLVM target.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from nncomp.ir.index import Index, Quotient, Read, Remainder, Var
from nncomp.ir.loops import (
    Accumulator,
    ArgReduce,
    Call,
    Const,
    Expr,
    FromIndex,
    InRange,
    Kernel,
    Load,
    Reduce,
)

from .limits import limit_of
from .llvm import Emitter, Value, vector_type
from .memory import address, load_lanes, load_one
from .scalar import compute_type, convert, emit_scalar
from .threefry import emit_threefry


class Isa(NamedTuple):
    """What kernels must know of a machine: 32-bit lanes of a vector, multiply-add in one."""

    width: int
    fma: bool = True


@dataclass(frozen=True)
class Lanes:
    """A loop variable spread over vector lanes: lane k holds base + k; `mask` turns lanes off."""

    var: Var
    count: int
    base: Value
    mask: Value | None


@dataclass
class Scope:
    """Values known at one point of the code; inner scopes see the outer ones."""

    parent: Scope | None = None
    vars: dict[Var, Value] = field(default_factory=dict)
    known: dict[object, Value] = field(default_factory=dict)
    kept: list[Expr] = field(default_factory=list)
    lanes: Lanes | None = None

    def find(self, key) -> Value | None:
        scope: Scope | None = self
        while scope is not None:
            if key in scope.known:
                return scope.known[key]
            scope = scope.parent
        return None

    def bound(self) -> set[Var]:
        outer = self.parent.bound() if self.parent else set()
        return outer | set(self.vars) | ({self.lanes.var} if self.lanes else set())

    def variable(self, var: Var) -> Value:
        scope: Scope | None = self
        while scope is not None:
            if var in scope.vars:
                return scope.vars[var]
            scope = scope.parent
        raise KeyError(var)


class Expressions:
    """Emits the expressions of a kernel; `pointers` are its buffers by slot."""

    def __init__(self, e: Emitter, kernel: Kernel, isa: Isa):
        self.e, self.isa = e, isa
        self.pointers = {b.slot: Value(f"%b{b.slot}", "ptr") for b in kernel.buffers}
        self.scope = Scope()

    # -- scopes ------------------------------------------------------------------------------

    @property
    def lanes(self) -> Lanes | None:
        scope: Scope | None = self.scope
        while scope is not None:
            if scope.lanes:
                return scope.lanes
            scope = scope.parent
        return None

    def enter(self, vars: dict[Var, Value] | None = None, lanes: Lanes | None = None) -> None:
        self.scope = Scope(self.scope, dict(vars or {}), lanes=lanes)

    def leave(self) -> None:
        assert self.scope.parent is not None
        self.scope = self.scope.parent

    def hoist(self, roots: Iterable[Expr]) -> None:
        """Compute here every part of `roots` that depends only on variables bound so far."""
        bound = self.scope.bound()
        seen: set[int] = set()
        stack = list(roots)
        while stack:
            expr = stack.pop()
            if id(expr) in seen or isinstance(expr, Const):
                continue
            seen.add(id(expr))
            if expr.vars <= bound:
                self.value(expr)
            else:
                stack.extend(_needed(expr))

    # -- values ------------------------------------------------------------------------------

    def value(self, expr: Expr) -> Value:
        """The value of an expression: a vector if it depends on the lane variable."""
        found = self.scope.find(id(expr))
        if found is not None:
            return found
        for part in self._missing(expr):
            if id(part) not in self.scope.known:  # one reduction may bring others with it
                self.scope.known[id(part)] = self._compute(part)
                self.scope.kept.append(part)  # ids stay unique while the expression lives
        return self.scope.known[id(expr)]

    def _missing(self, root: Expr) -> list[Expr]:
        """What must be computed for `root`, operands first; reductions see to their own bodies."""
        order: list[Expr] = []
        seen: set[int] = set()
        stack = [(root, False)]
        while stack:
            expr, ready = stack.pop()
            if ready:
                order.append(expr)
            elif id(expr) not in seen and self.scope.find(id(expr)) is None:
                seen.add(id(expr))
                stack.append((expr, True))
                if not isinstance(expr, (Reduce, ArgReduce)):
                    stack.extend((x, False) for x in _needed(expr))
        return order

    def vector(self, expr: Expr) -> Value:
        """`value`, spread over the lanes if it is the same in all of them."""
        return self.spread(self.value(expr))

    def spread(self, value: Value) -> Value:
        lanes = self.lanes
        return self.e.splat(value, lanes.count) if lanes and not value.lanes else value

    def _compute(self, expr: Expr) -> Value:
        if isinstance(expr, Const):
            return self.e.const(compute_type(expr.dtype.name), expr.value)
        if isinstance(expr, FromIndex):
            return self._int64(self.index(expr.index))
        if isinstance(expr, InRange):
            return self._in_range(expr)
        if isinstance(expr, Load):
            return self._load(expr)
        if isinstance(expr, Call):
            return self._call(expr)
        if isinstance(expr, ArgReduce):
            return self.arg_reduce(expr)
        assert not isinstance(expr, Accumulator), "the contraction binds its accumulator"
        return self.reduce(expr)

    def _operands(self, args) -> list[Value]:
        values = [self.value(a) for a in args]
        return [self.spread(v) for v in values] if any(v.lanes for v in values) else values

    def _call(self, expr: Call) -> Value:
        args = self._operands(expr.args)
        if expr.name == "cast":
            names = expr.args[0].dtype.name, expr.dtype.name
            return convert(self.e, args[0], *names)
        if expr.name == "threefry":
            return emit_threefry(self.e, *args)
        limit = limit_of(expr) if expr.name == "select" else None
        if limit is not None:
            x, bound = self._operands((limit.x, limit.bound))
            return self.e.select(self.e.binary(f"fcmp {limit.predicate}", x, bound), bound, x)
        return self._scalar(expr.name, args, expr.args[-1].dtype.name)

    def _scalar(self, name: str, args: list[Value], dtype: str) -> Value:
        """One operation on operands of `dtype`."""
        return emit_scalar(self.e, name, args, dtype, self.isa.fma)

    # -- indices -----------------------------------------------------------------------------

    def index(self, index: Index) -> Value:
        """The value of an index: i64, or a vector of i32 / i64 if it depends on the lanes."""
        key = ("index", index)
        found = self.scope.find(key)
        if found is None:
            found = self.scope.known[key] = self._index(index)
        return found

    def _index(self, index: Index) -> Value:
        lanes = self.lanes
        if lanes and lanes.var in index.vars:
            return self._lane_index(index, lanes)
        total = Value(str(index.const), "i64")
        for atom, c in index.terms:
            part = self._scaled(self._atom(atom), c)
            total = part if total.ref == "0" else self.e.binary("add", total, part, "x")
        return total

    def _scaled(self, value: Value, c: int) -> Value:
        return value if c == 1 else self.e.binary("mul", value, self.e.const(value.type, c), "x")

    def _atom(self, atom) -> Value:
        if isinstance(atom, Var):
            return self.scope.variable(atom)
        if isinstance(atom, Read):
            return self._int64(self.value(atom.value), atom.value.dtype.kind == "u")
        inner = self._shifted(atom)
        opcode = "udiv" if isinstance(atom, Quotient) else "urem"
        quotient = self.e.binary(opcode, inner, self.e.const(inner.type, atom.by), "q")
        offset = self._offset(atom) // atom.by if isinstance(atom, Quotient) else 0
        if not offset:
            return quotient
        return self.e.binary("sub", quotient, self.e.const(quotient.type, offset), "q")

    @staticmethod
    def _offset(atom) -> int:
        """A multiple of the divisor that makes the dividend non-negative."""
        low = atom.of.range[0]
        return -(low // atom.by) * atom.by if low < 0 else 0

    def _shifted(self, atom: Quotient | Remainder) -> Value:
        return self.index(atom.of + self._offset(atom))

    def _lane_index(self, index: Index, lanes: Lanes) -> Value:
        low, high = index.range
        scalar = "i32" if -(1 << 31) <= low and high < 1 << 31 else "i64"
        type = vector_type(scalar, lanes.count)
        fixed = Index.make(
            {a: c for a, c in index.terms if lanes.var not in a.vars}, index.const
        )
        step = index.coefficient(lanes.var)
        base = self.index(fixed)
        if step:
            base = self.e.binary("add", base, self._scaled(lanes.base, step), "x")
        total = self.e.splat(self._narrow(base, scalar), lanes.count)
        if step:
            total = self.e.binary("add", total, ramp(type, step), "x")
        for atom, c in index.terms:
            if lanes.var in atom.vars and atom != lanes.var:
                part = self._resize(self._atom(atom), scalar)
                part = part if c == 1 else self.e.binary("mul", part, self.e.const(type, c), "x")
                total = self.e.binary("add", total, part, "x")
        return total

    def _narrow(self, value: Value, scalar: str) -> Value:
        if scalar == value.scalar_type:
            return value
        if not value.ref.startswith("%"):
            return Value(value.ref, scalar)
        return self.e.convert("trunc", value, scalar)

    def _resize(self, value: Value, scalar: str) -> Value:
        have = value.scalar_type
        if have == scalar:
            return value
        return self.e.convert("sext" if int(have[1:]) < int(scalar[1:]) else "trunc", value, scalar)

    def _int64(self, value: Value, unsigned: bool = False) -> Value:
        if value.scalar_type == "i64":
            return value
        return self.e.convert("zext" if unsigned else "sext", value, "i64")

    def _in_range(self, expr: InRange) -> Value:
        shifted = self.index(expr.index - expr.low)
        bound = self.e.const(shifted.type, expr.high - expr.low)
        return self.e.binary("icmp ult", shifted, bound, "in")

    # -- memory ------------------------------------------------------------------------------

    def _load(self, expr: Load) -> Value:
        dtype, lanes = expr.buffer.type.dtype, self.lanes
        if lanes is None or lanes.var not in expr.offset.vars:
            offset = self.index(expr.offset)
            if expr.guard is not None:
                zero, allowed = Value("0", "i64"), self._any(self.value(expr.guard))
                offset = self.e.select(allowed, offset, zero, "safe")
            value = load_one(self.e, dtype, self._address(expr.buffer, offset))
            return self.spread(value) if lanes and lanes.var in expr.vars else value
        mask, at = self._mask(expr.guard), self.place(expr.buffer, expr.offset)
        if expr.guard is not None and not at.lanes:
            # Some CPUs are slow to load nothing from a page that is not there.
            allowed = self._any(self.value(expr.guard))
            at = self.e.select(allowed, at, self.pointers[expr.buffer.slot], "safe")
        return load_lanes(self.e, dtype, at, lanes.count, mask)

    def place(self, buffer, index: Index) -> Value:
        """Where the lanes of an index lie: the first one's address if they are neighbours."""
        lanes = self.lanes
        if lanes and lanes.var in index.vars:
            if index.coefficient(lanes.var) == 1 and index.is_affine_in(lanes.var):
                return self._address(buffer, self.index_at_base(index))
        return self._address(buffer, self.index(index))

    def _any(self, condition: Value) -> Value:
        """Whether a condition holds in some lane."""
        if not condition.lanes:
            return condition
        return self.e.call("i1", f"llvm.vector.reduce.or.v{condition.lanes}i1", condition)

    def index_at_base(self, index: Index) -> Value:
        """A lane-affine index at lane 0, as a scalar."""
        lanes = self.lanes
        assert lanes is not None
        step = index.coefficient(lanes.var)
        fixed = Index.make({a: c for a, c in index.terms if a != lanes.var}, index.const)
        return self.e.binary("add", self.index(fixed), self._scaled(lanes.base, step), "x")

    def _address(self, buffer, offset: Value) -> Value:
        return address(self.e, buffer.type.dtype, self.pointers[buffer.slot], offset)

    def _mask(self, guard: Expr | None) -> Value | None:
        """Lanes to touch: those of the loop's tail and those the guard allows; None for all."""
        lanes = self.lanes
        assert lanes is not None
        if guard is None:
            return lanes.mask
        allowed = self.vector(guard)
        if lanes.mask is None:
            return allowed
        return self.e.binary("and", allowed, lanes.mask, "m")

    # -- reductions: filled in by the loops of backends.reductions ------------------------------

    def reduce(self, expr) -> Value:
        raise NotImplementedError

    def arg_reduce(self, expr) -> Value:
        raise NotImplementedError


def _needed(expr: Expr) -> Sequence[Expr]:
    """The operands whose values are read: a limit does without its comparison."""
    limit = limit_of(expr) if isinstance(expr, Call) and expr.name == "select" else None
    return expr.operands if limit is None else (limit.x, limit.bound)


def ramp(type: str, step: int) -> Value:
    """<0, step, 2*step, ...>."""
    like = Value("", type)
    items = ", ".join(f"{like.scalar_type} {k * step}" for k in range(like.lanes))
    return Value(f"<{items}>", type)
