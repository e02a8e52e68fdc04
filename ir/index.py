"""Index expressions: integer arithmetic over loop variables, kept in affine normal form.

An `Index` is `c0 + c1*a1 + c2*a2 + ...` over atoms: loop variables, quotients and remainders that
could not be resolved, and integers read from memory. Every atom has a known range, which is what
lets `reshape` chains collapse back to plain strides: `(8*i + j) // 8 == i` when 0 <= j < 8.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import gcd
from typing import Any

_NONE: frozenset = frozenset()


@dataclass(frozen=True)
class Var:
    """A loop variable that runs over range(extent)."""

    name: str
    extent: int

    def __hash__(self) -> int:
        return hash(self.name)

    @property
    def range(self) -> tuple[int, int]:
        return 0, max(self.extent - 1, 0)

    @property
    def vars(self) -> frozenset[Var]:
        return frozenset((self,))

    def show(self, name) -> str:
        return self.name

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Quotient:
    """floor(of / by) that did not simplify."""

    of: Index
    by: int

    @property
    def range(self) -> tuple[int, int]:
        low, high = self.of.range
        return low // self.by, high // self.by

    @property
    def vars(self) -> frozenset[Var]:
        return self.of.vars

    def show(self, name) -> str:
        return f"({self.of.show(name)})//{self.by}"


@dataclass(frozen=True)
class Remainder:
    """of modulo by, in [0, by), that did not simplify."""

    of: Index
    by: int

    @property
    def range(self) -> tuple[int, int]:
        return 0, self.by - 1

    @property
    def vars(self) -> frozenset[Var]:
        return self.of.vars

    def show(self, name) -> str:
        return f"({self.of.show(name)})%{self.by}"


@dataclass(frozen=True)
class Read:
    """An index computed from data (a kernel expression), known to lie in range(bound)."""

    value: Any  # loops.Expr
    bound: int

    @property
    def range(self) -> tuple[int, int]:
        return 0, max(self.bound - 1, 0)

    @property
    def vars(self) -> frozenset[Var]:
        return self.value.vars

    def show(self, name) -> str:
        return f"[{name(self.value)}]"


@dataclass(frozen=True)
class Index:
    """const + sum of coefficient * atom; `terms` sorted by atom, coefficients non-zero."""

    terms: tuple[tuple[Any, int], ...] = ()
    const: int = 0
    vars: frozenset[Var] = field(default=frozenset(), compare=False, repr=False)

    @staticmethod
    def of(atom) -> Index:
        if isinstance(atom, Var) and atom.extent == 1:
            return Index((), 0)
        return Index(((atom, 1),), 0, atom.vars)

    @staticmethod
    def make(terms: dict, const: int) -> Index:
        kept = [(a, c) for a, c in _join_division(terms).items() if c]
        if len(kept) < 2:
            return Index(tuple(kept), const, kept[0][0].vars if kept else _NONE)
        kept.sort(key=_order)
        return Index(tuple(kept), const, _NONE.union(*[a.vars for a, _ in kept]))

    @property
    def range(self) -> tuple[int, int]:
        """Smallest and largest value it can take."""
        low = high = self.const
        for atom, c in self.terms:
            a, b = atom.range
            low, high = low + min(a * c, b * c), high + max(a * c, b * c)
        return low, high

    @property
    def is_const(self) -> bool:
        return not self.terms

    def coefficient(self, var: Var) -> int:
        """Factor of a loop variable outside quotients, remainders and reads."""
        return dict(self.terms).get(var, 0)

    def is_affine_in(self, var: Var) -> bool:
        """Whether `var` occurs at most as a plain term."""
        return not any(var in a.vars and a != var for a, _ in self.terms)

    def __add__(self, other: Index | int) -> Index:
        if isinstance(other, int):
            return Index(self.terms, self.const + other, self.vars) if other else self
        if not other.terms:
            return self + other.const
        if not self.terms:
            return other + self.const
        terms = dict(self.terms)
        for atom, c in other.terms:
            terms[atom] = terms.get(atom, 0) + c
        return Index.make(terms, self.const + other.const)

    __radd__ = __add__

    def __mul__(self, factor: int) -> Index:
        if not factor:
            return Index()
        if factor == 1:
            return self
        return Index(tuple((a, c * factor) for a, c in self.terms), self.const * factor, self.vars)

    def __sub__(self, other: Index | int) -> Index:
        return self + (-other if isinstance(other, int) else other * -1)

    def __floordiv__(self, by: int) -> Index:
        if by == 1:
            return self
        whole, rest = self._split(by)
        low, high = rest.range
        if low // by == high // by:
            return whole + low // by
        coarse = _coarse_part(rest, by)
        if coarse:
            high_part, _, unit = coarse
            return whole + high_part // (by // unit)
        return whole + Index.of(_quotient(rest, by))

    def __mod__(self, by: int) -> Index:
        if by == 1:
            return Index()
        _, rest = self._split(by)
        low, high = rest.range
        if low // by == high // by:
            return rest - (low // by) * by
        coarse = _coarse_part(rest, by)
        if coarse:
            high_part, low_part, unit = coarse
            return (high_part % (by // unit)) * unit + low_part
        return Index.of(Remainder(rest, by))

    def _split(self, by: int) -> tuple[Index, Index]:
        """self == whole * by + rest, with every multiple of `by` in whole."""
        whole, rest = {}, {}
        for atom, c in self.terms:
            quotient, left = divmod(c, by)
            if left == 0:
                whole[atom] = quotient
            else:
                rest[atom] = c
        return Index.make(whole, self.const // by), Index.make(rest, self.const % by)

    def substitute(self, new: dict[Var, Index]) -> Index:
        """The index with loop variables replaced (also inside quotients and remainders)."""
        if not any(v in new for v in self.vars):
            return self
        total = Index((), self.const)
        for atom, c in self.terms:
            if isinstance(atom, Var):
                part = new.get(atom, Index.of(atom))
            elif isinstance(atom, Quotient):
                part = atom.of.substitute(new) // atom.by
            elif isinstance(atom, Remainder):
                part = atom.of.substitute(new) % atom.by
            else:
                part = Index.of(atom)
            total = total + part * c
        return total

    def show(self, name) -> str:
        """Its text, with `name(x)` for each value x read from memory."""
        parts = [a.show(name) if c == 1 else f"{c}*{a.show(name)}" for a, c in self.terms]
        if self.const or not parts:
            parts.append(str(self.const))
        return " + ".join(parts)

    def __str__(self) -> str:
        return self.show(lambda _: "..")


def _order(term) -> str:
    """Terms are kept in one order, so that equal sums compare equal."""
    if type(term[0]) is Var:
        return term[0].name
    return term[0].show(lambda value: value.signature)


def _coarse_part(rest: Index, by: int) -> tuple[Index, Index, int] | None:
    """rest == high * unit + low with 0 <= low < unit and unit dividing `by`, if there is such a
    unit.
    """
    for unit in sorted({gcd(c, by) for _, c in rest.terms} - {1, by}, reverse=True):
        high, low = rest._split(unit)
        if high.terms and low.range[0] >= 0 and low.range[1] < unit:
            return high, low, unit
    return None


def _quotient(rest: Index, by: int) -> Quotient:
    """floor(floor(x / a) / b) is floor(x / (a * b))."""
    if len(rest.terms) == 1 and not rest.const:
        atom, c = rest.terms[0]
        if c == 1 and isinstance(atom, Quotient):
            return Quotient(atom.of, atom.by * by)
    return Quotient(rest, by)


def _join_division(terms: dict) -> dict:
    """by*c * (x // by) + c * (x % by) is c * x."""
    again = True
    while again:
        again = False
        for atom in [a for a in terms if type(a) is Remainder]:
            partner, c = _quotient(atom.of, atom.by), terms[atom]
            if c and not atom.of.const and terms.get(partner) == c * atom.by:
                del terms[atom], terms[partner]
                for inner, k in atom.of.terms:
                    terms[inner] = terms.get(inner, 0) + k * c
                    again = again or type(inner) is Quotient
    return terms


def linear(idx: tuple[Index, ...], shape: tuple[int, ...]) -> Index:
    """Row-major offset of a position in an array of `shape`."""
    total = Index()
    for i, n in zip(idx, shape, strict=True):
        if total.terms or total.const:
            total = total * n + i
        else:
            total = i
    return total


def unravel(i: Index, shape: tuple[int, ...]) -> tuple[Index, ...]:
    """The position with row-major offset i; the inverse of `linear`."""
    out = []
    for k, n in enumerate(reversed(shape)):
        out.append(i % n if k < len(shape) - 1 else i)
        i = i // n
    return tuple(reversed(out))
