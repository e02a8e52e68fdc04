"""Merges neighbouring loops that walk memory like one: `[8,128]` contiguous becomes `[1024]`.

    y[128*i0 + i1] = neg(x[128*i0 + i1])  over i0<8, i1<128    ->    y[i] = neg(x[i])  over i<1024
"""

from __future__ import annotations

from .index import Index, Quotient, Read, Remainder, Var
from .kernel_builder import KernelBuilder
from .loops import (
    Accumulator,
    ArgReduce,
    Call,
    Const,
    Expr,
    FromIndex,
    InRange,
    Load,
    Reduce,
    Store,
    roots_of,
    walk,
)


def indices_of(stores) -> list[Index]:
    """Every index expression the stores use."""
    found = [s.offset for s in stores]
    for expr in walk(roots_of(stores)):
        if isinstance(expr, Load):
            found.append(expr.offset)
        elif isinstance(expr, (FromIndex, InRange)):
            found.append(expr.index)
    return found


def mergeable(index: Index, outer: Var, inner: Var) -> bool:
    """Whether the index sees the pair only as outer * extent(inner) + inner."""
    if outer not in index.vars and inner not in index.vars:
        return True
    if index.coefficient(outer) != index.coefficient(inner) * inner.extent:
        return False
    nested = (a for a, _ in index.terms if isinstance(a, (Quotient, Remainder)))
    return all(mergeable(a.of, outer, inner) for a in nested)


def merge(order: list[Var], stores: tuple[Store, ...]) -> tuple[list[Var], tuple[Store, ...]]:
    """Merge neighbours of the loop order `order` where every index allows it."""
    order = list(order)
    position = len(order) - 1
    while position > 0:
        outer, inner = order[position - 1], order[position]
        if all(mergeable(i, outer, inner) for i in indices_of(stores)) and _together(
            stores, outer, inner
        ):
            joined = Var(f"{outer.name}_{inner.name}", outer.extent * inner.extent)
            stores = substitute(stores, {outer: Index(), inner: Index.of(joined)})
            order[position - 1 : position + 1] = [joined]
        position -= 1
    return order, stores


def merge_reductions(stores: tuple[Store, ...]) -> tuple[Store, ...]:
    """The same for the loops that reductions bind."""
    pairs = {
        pair
        for e in walk(roots_of(stores))
        if isinstance(e, Reduce)
        for pair in zip(e.loops, e.loops[1:], strict=False)
    }
    for outer, inner in sorted(pairs, key=str, reverse=True):
        if all(mergeable(i, outer, inner) for i in indices_of(stores)) and _bound_together(
            stores, outer, inner
        ):
            joined = Var(f"{outer.name}_{inner.name}", outer.extent * inner.extent)
            stores = substitute(stores, {outer: Index(), inner: Index.of(joined)}, joined)
            return merge_reductions(stores)
    return stores


def _bound_together(stores, outer: Var, inner: Var) -> bool:
    """Every loop nest that binds one of the two binds both, next to each other."""
    for e in walk(roots_of(stores)):
        loops = e.loops if isinstance(e, Reduce) else (e.loop,) if isinstance(e, ArgReduce) else ()
        if (outer in loops or inner in loops) and (outer, inner) not in zip(
            loops, loops[1:], strict=False
        ):
            return False
    return True


def _together(stores, outer: Var, inner: Var) -> bool:
    """Both loops surround every store and every reduction alike (a row value keeps its own loop).
    """
    pair = {outer, inner}
    for s in stores:
        if len(pair & s.vars) == 1:
            return False
    return all(
        len(pair & e.vars) != 1
        for e in walk(roots_of(stores))
        if isinstance(e, (Reduce, ArgReduce))
    )


def substitute(stores, new: dict[Var, Index], joined: Var | None = None) -> tuple[Store, ...]:
    """The stores with loop variables replaced by indices over other variables.

    Reductions over replaced variables run over `joined` instead.
    """
    rebuilder = Rebuilder(KernelBuilder(), new, joined)
    return tuple(map(rebuilder.store, stores))


class Rebuilder:
    """Expressions once more, made by the builder `k`, with loop variables replaced.

    What `instead` says of an expression's id takes its place.
    """

    def __init__(self, k: KernelBuilder, new: dict[Var, Index], joined: Var | None = None):
        self.k, self.new, self.joined = k, new, joined
        self.instead: dict[int, Expr] = {}
        self._memo: dict[int, Expr] = {}

    def store(self, s: Store) -> Store:
        value = self.value(s.value)
        for root in s.roots:
            self.value(root)
        return Store(s.buffer, self.index(s.offset), value)

    def value(self, root: Expr) -> Expr:
        for expr in walk([root]):
            if id(expr) not in self._memo:
                self._memo[id(expr)] = self.instead.get(id(expr)) or self._rebuild(expr)
        return self._memo[id(root)]

    def free(self, root: Expr) -> Expr:
        """`value`, but a variable that a reduction binds stays, as does what has none to replace.

        For expressions that the builder `k` made.
        """
        closed = [x for x in walk([root]) if not any(v in self.new for v in x.vars)]
        self._memo.update((id(x), x) for x in closed)
        return self.value(root)

    def index(self, i: Index) -> Index:
        total = Index((), i.const)
        for atom, c in i.terms:
            if isinstance(atom, Read):
                part = Index.of(Read(self._memo[id(atom.value)], atom.bound))
            elif isinstance(atom, Quotient):
                part = self.index(atom.of) // atom.by
            elif isinstance(atom, Remainder):
                part = self.index(atom.of) % atom.by
            else:
                part = self.new.get(atom, Index.of(atom))
            total = total + part * c
        return total

    def _rebuild(self, expr: Expr) -> Expr:
        k, memo = self.k, self._memo
        key: tuple
        if isinstance(expr, Const):
            return k.const(expr.value, expr.dtype)
        if isinstance(expr, FromIndex):
            return k.value_of(self.index(expr.index))
        if isinstance(expr, InRange):
            i = self.index(expr.index)
            key = ("range", i, expr.low, expr.high)
            return k._intern(key, lambda: InRange(i, expr.low, expr.high, expr.dtype))
        if isinstance(expr, Load):
            offset, guard = self.index(expr.offset), memo[id(expr.guard)] if expr.guard else None
            key = ("load", expr.buffer, offset, id(guard))
            return k._intern(key, lambda: Load(expr.buffer, offset, guard))
        if isinstance(expr, Call):
            return k.call(expr.name, *(memo[id(a)] for a in expr.args), dtype=expr.dtype)
        if isinstance(expr, Reduce):
            loops, joined = expr.loops, self.joined
            if joined is not None:
                loops = tuple(dict.fromkeys(joined if v in self.new else v for v in loops))
            body = memo[id(expr.body)]
            key = ("reduce", expr.combine, loops, id(body))
            return k._intern(key, lambda: Reduce(expr.combine, loops, body))
        if isinstance(expr, ArgReduce):
            body, at = memo[id(expr.body)], memo[id(expr.position)]
            key = ("argmax", expr.loop, id(body), id(at))
            return k._intern(key, lambda: ArgReduce(expr.loop, body, at))
        assert isinstance(expr, Accumulator)
        return expr
