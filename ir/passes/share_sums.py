"""Sums of the same values, each times factors of its own, become one sum and the factors.

before:
    graph f(g: f32[64,96], x: f32[64,96], w: f32[96], r: f32[96]) {
      reshape_0 = reshape(w, shape=(1,96))         : f32[1,96]
      expand_0 = expand(reshape_0, shape=(64,96))  : f32[64,96]
      mul_0 = mul(g, expand_0)                     : f32[64,96]
      mul_1 = mul(mul_0, x)                        : f32[64,96]
      sum_0 = sum(mul_1, axes=(0,))                : f32[96]
      reshape_1 = reshape(r, shape=(1,96))         : f32[1,96]
      expand_1 = expand(reshape_1, shape=(64,96))  : f32[64,96]
      mul_2 = mul(x, expand_1)                     : f32[64,96]
      mul_3 = mul(g, mul_2)                        : f32[64,96]
      sum_1 = sum(mul_3, axes=(0,))                : f32[96]
      return sum_0, sum_1
    }
after:
    graph f(g: f32[64,96], x: f32[64,96], w: f32[96], r: f32[96]) {
      mul_0 = mul(g, x)                            : f32[64,96]
      sum_0 = sum(mul_0, axes=(0,))                : f32[96]
      reshape_0 = reshape(w, shape=(1,96))         : f32[1,96]
      reshape_1 = reshape(reshape_0, shape=(96,))  : f32[96]
      mul_1 = mul(sum_0, reshape_1)                : f32[96]
      reshape_2 = reshape(r, shape=(1,96))         : f32[1,96]
      reshape_3 = reshape(reshape_2, shape=(96,))  : f32[96]
      mul_2 = mul(sum_0, reshape_3)                : f32[96]
      return mul_1, mul_2
    }

The gradients of a norm's weight, of its scale and of its mean are such sums: two of them are left
of four or five, and both can be computed in one pass. A factor that is the same along some of the
summed axes only (a channel's, in the sum of a group of channels) cuts the sum in two where the
inner one is shared. A sum of products whose factors are themselves made of such sums is taken
apart, so that it need not wait for them. Values minus their mean add up to nothing.

Only sums of products are taken apart: each product rounds by itself, so the error stays of its
kind, while differences of plain values may cancel exactly.
Needs: cse. Establishes: nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from math import prod
from typing import NamedTuple

from ..graph import Graph, Node, rebuild
from ..op import Elementwise
from ..ops import add, div, expand, mul, neg, reshape
from ..ops import sum as sum_of
from ..rewrite import full_node

DEEPEST, MOST = 12, 4  # operations followed upwards from a sum; products that it is a sum of

Axes = frozenset[int]


class Factor(NamedTuple):
    """A value that is the same along some summed axes; one that is divided by if `inverse`."""

    node: Node
    inverse: bool


@dataclass(frozen=True)
class Term:
    """A product: of `bases`, of `factors` that are the same along all summed axes, and of `partial`
    ones that are the same along some; its sum over the axes `inner` can be shared."""

    bases: tuple[Node, ...] = ()
    factors: tuple[Factor, ...] = ()
    partial: tuple[Factor, ...] = ()
    negative: bool = False
    inner: Axes = frozenset()

    def times(self, other: Term) -> Term:
        return Term(
            self.bases + other.bases,
            self.factors + other.factors,
            self.partial + other.partial,
            self.negative != other.negative,
        )

    @property
    def is_plain(self) -> bool:
        return not self.factors and not self.partial


@dataclass
class _Sums:
    """The sums of a graph as sums of products, and which inner sums several of them share."""

    graph: Graph
    number: dict[Node, int] = field(default_factory=dict)
    level: dict[Node, int] = field(default_factory=dict)  # sums that come before, on one path
    terms: dict[Node, list[Term]] = field(default_factory=dict)
    shared: set[tuple] = field(default_factory=set)
    apart: set[Node] = field(default_factory=set)  # sums of several products

    def find(self) -> dict[Node, list[Term]]:
        """The sums to rewrite, with their products."""
        sums = [n for n in self.graph.nodes if _is_float_sum(n)]
        if not sums:
            return {}
        for k, node in enumerate((*self.graph.inputs, *self.graph.nodes)):
            self.number[node] = k
            before = max((self.level[x] for x in node.inputs), default=0)
            self.level[node] = before + (node.name == "sum")
        self.terms = {n: self._terms(n) for n in sums}
        wanted = Counter(k for n in sums for k in {self.key(t) for t in self.terms[n]})
        for n in sums:
            self.terms[n] = [self._cut_as_wanted(t, wanted) for t in self.terms[n]]
        wanted = Counter(k for n in sums for k in {self.key(t) for t in self.terms[n]})
        self.shared = {k for k, count in wanted.items() if count > 1}
        return {n: terms for n, terms in self.terms.items() if self._is_worth_it(n, terms)}

    def key(self, term: Term) -> tuple:
        """Equal for terms whose inner sums are one."""
        return tuple(sorted(self.number[x] for x in term.bases)), term.inner

    def _is_worth_it(self, node: Node, terms: list[Term]) -> bool:
        axes = frozenset(node.attrs["axes"])
        if node in self.apart:
            return True
        (term,) = terms
        if term.is_plain and term.inner == axes:
            return False
        return self.key(term) in self.shared

    def _terms(self, node: Node) -> list[Term]:
        """The products that a sum is a sum of; one plain one where that is of no use."""
        axes = frozenset(node.attrs["axes"])
        (x,) = node.inputs
        plain = [Term((x,), inner=axes)]
        terms = _products(x, axes, DEEPEST)
        several = len(terms) > 1
        if several:
            if not self._is_late(terms):
                return plain
            terms = [t for t in terms if not _is_centered(t, axes)]
        terms = [replace(t, inner=_inner(t, axes, x.shape)) for t in terms]
        if not all(t.bases and t.inner for t in terms):
            return plain
        if several:
            self.apart.add(node)
        return terms

    def _is_late(self, terms: list[Term]) -> bool:
        """Whether a factor is made of sums of what the bases are made of: then it comes after a
        pass over the same memory."""
        bases = max((self.level[b] for t in terms for b in t.bases), default=0)
        return any(self.level[f.node] > bases for t in terms for f in t.factors)

    def _cut_as_wanted(self, term: Term, wanted: Counter) -> Term:
        """The term with the largest inner part that another sum has, too."""
        bases, inner = self.key(term)
        others = [i for b, i in wanted if b == bases and i < inner and i]
        best = max(others, key=lambda i: (len(i), sorted(i)), default=None)
        return term if best is None else replace(term, inner=best)


def share_sums(graph: Graph) -> Graph:
    """`graph` with such sums computed once; itself if it has none."""
    sums = _Sums(graph)
    found = sums.find()
    if not found:
        return graph
    new: dict[Node, Node] = {n: n for n in graph.inputs}
    made: dict[tuple, Node] = {}

    def inner_sum(term: Term) -> Node:
        key = sums.key(term)
        if key not in made:
            first, *rest = (new[x] for x in sorted(term.bases, key=sums.number.__getitem__))
            for x in rest:
                first = mul(first, x)
            made[key] = sum_of(first, axes=tuple(sorted(term.inner)))
        return made[key]

    def visit(node: Node, operands: tuple[Node, ...]) -> Node | None:
        new.update(zip(node.inputs, operands, strict=True))
        if node in found:
            return _total(node, found[node], new, inner_sum)
        if _is_float_sum(node):
            (term,) = sums.terms[node]
            if term.is_plain and sums.key(term) in sums.shared:
                return made.setdefault(sums.key(term), inner_sum(term))
        return None

    return rebuild(graph, visit)


def _total(node: Node, terms: list[Term], new: dict[Node, Node], inner_sum) -> Node:
    """A sum made of the sums of its products."""
    axes = frozenset(node.attrs["axes"])
    total: Node | None = None
    for term in terms:
        value = _outer_sum(node, term, inner_sum(term), new)
        for factor in term.factors:
            value = _times(value, factor, axes, node.inputs[0].shape, new)
        value = neg(value) if term.negative else value
        total = value if total is None else add(total, value)
    return full_node(0.0, node.type, node.loc) if total is None else total


def _outer_sum(node: Node, term: Term, value: Node, new: dict[Node, Node]) -> Node:
    """The inner sum times what changes along the other axes, summed over those."""
    axes = frozenset(node.attrs["axes"])
    for factor in term.partial:
        value = _times(value, factor, term.inner, node.inputs[0].shape, new)
    if term.inner == axes:
        return value
    kept = [a for a in range(len(node.inputs[0].shape)) if a not in term.inner]
    return sum_of(value, axes=tuple(k for k, a in enumerate(kept) if a in axes))


def _times(value: Node, factor: Factor, axes: Axes, shape, new: dict[Node, Node]) -> Node:
    """`value`, a sum over `axes` of a tensor of `shape`, times a factor that is constant there."""
    if factor.node.name == "full":
        other = full_node(factor.node.attrs["value"], value.type, factor.node.loc)
    else:
        other = new[factor.node.inputs[0]]
        kept = tuple(1 if a in axes else n for a, n in enumerate(shape))
        other = expand(other, shape=kept) if other.shape != kept else other
        other = reshape(other, shape=value.shape) if other.shape != value.shape else other
    return div(value, other) if factor.inverse else mul(value, other)


# -- products that a value is a sum of --------------------------------------------------------


def _products(node: Node, axes: Axes, depth: int) -> list[Term]:
    """`node` as a sum of products, each with what is the same along (some of) `axes` apart."""
    same = _constant_axes(node) & axes
    if same:
        factor = (Factor(node, False),)
        return [Term(factors=factor) if same == axes else Term(partial=factor)]
    if depth and isinstance(node.op, Elementwise) and node.name in _RULES:
        parts = [_products(x, axes, depth - 1) for x in node.inputs]
        terms = list(_RULES[node.name](*parts))
        if 0 < len(terms) <= MOST and not all(t.is_plain for t in terms):
            return terms
    return [Term((node,))]


def _product(a: list[Term], b: list[Term]) -> Iterator[Term]:
    if len(a) == 1 or len(b) == 1:
        few, many = (a, b) if len(a) == 1 else (b, a)
        if len(many) == 1 or not (few[0].bases or few[0].partial):
            yield from (x.times(y) for x in a for y in b)


def _quotient(a: list[Term], b: list[Term]) -> Iterator[Term]:
    (first, *others) = b
    if others or first.bases or first.negative:
        return
    factors = tuple(Factor(f.node, not f.inverse) for f in first.factors)
    partial = tuple(Factor(f.node, not f.inverse) for f in first.partial)
    yield from (x.times(Term((), factors, partial)) for x in a)


def _sum(a: list[Term], b: list[Term]) -> list[Term]:
    """Nothing where a term is no product: plain values may cancel."""
    terms = [*a, *b]
    return terms if all(t.bases and t.factors for t in terms) else []


def _negated(terms: list[Term]) -> list[Term]:
    return [replace(t, negative=not t.negative) for t in terms]


_RULES: dict[str, Callable[..., Iterable[Term]]] = {
    "mul": _product,
    "div": _quotient,
    "neg": _negated,
    "add": lambda a, b: _sum(a, b),
    "sub": lambda a, b: _sum(a, _negated(b)),
}


def _is_float_sum(node: Node) -> bool:
    return node.name == "sum" and node.dtype.kind == "f" and node.dtype.itemsize >= 4


def _constant_axes(node: Node) -> Axes:
    """The axes along which a broadcast node repeats one value."""
    if node.name == "full":
        return frozenset(range(len(node.shape)))
    if node.name != "expand" or len(node.inputs[0].shape) != len(node.shape):
        return frozenset()
    pairs = zip(node.inputs[0].shape, node.shape, strict=True)
    return frozenset(a for a, (few, many) in enumerate(pairs) if few == 1 != many)


def _inner(term: Term, axes: Axes, shape: tuple[int, ...]) -> Axes:
    """The axes along which all partial factors of a term are the same."""
    for factor in term.partial:
        axes &= _constant_axes(factor.node)
    return axes if prod(shape[a] for a in axes) > 1 else frozenset()


def _is_centered(term: Term, axes: Axes) -> bool:
    """Whether a term is made of values minus their own mean over `axes`, apart from factors."""
    if len(term.bases) != 1 or term.partial or term.bases[0].name != "sub":
        return False
    x, mean = term.bases[0].inputs
    if not axes <= _constant_axes(mean) or mean.name != "expand":
        return False
    while mean.name in ("expand", "reshape"):
        (mean,) = mean.inputs
    if mean.name not in ("mul", "div") or mean.inputs[1].name != "full":
        return False
    total, number = mean.inputs[0], mean.inputs[1].attrs["value"]
    while total.name == "reshape":
        (total,) = total.inputs
    if total.name != "sum" or total.inputs[0] is not x or frozenset(total.attrs["axes"]) != axes:
        return False
    count = prod(x.shape[a] for a in axes)
    return number == count if mean.name == "div" else abs(number * count - 1) < 1e-6
