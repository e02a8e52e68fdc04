"""Recognizes the gradients of softmax(scale * q k^T + mask) v in what autodiff made of it.

    P = E / T                      E = exp(scores - top), T the spread sums of its rows
    dv = P^T g                     P as it is used, after dropout
    dP = g v^T                     under the same dropout
    dE = dP / T + spread(-sum(dP * (P / T)))
    dS = dE * E                    where the mask lets a key take part, else 0
    dq = dS k,  dk^T = q^T dS      times the scale, which may stand at any of them
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from nncomp.ir.graph import Node
from nncomp.ir.index import Index, Var

from ..walks import at, look_through, loops
from .dropout import undropped
from .joined import Joined, joined
from .pattern import Found, are_private, constant, scaled

Users = Mapping[Node, list[Node]]


@dataclass
class Gradient:
    """The gradient of one operand: `node` is `gain` times it, axes of the position permuted."""

    node: Node
    gain: float
    axes: tuple[int, ...]  # node axis i is axis axes[i] of [*batch, lines, length]


@dataclass
class FoundGradients:
    """What the backward pass of one attention reads and gives; None for what nothing needs."""

    g: Node
    of_q: Gradient | None = None
    of_k: Gradient | None = None
    of_v: Gradient | None = None
    inner: list[Node] = field(default_factory=list)
    joined: Joined | None = None  # what they are parts of

    @property
    def all(self) -> list[Gradient | None]:
        return [self.of_q, self.of_k, self.of_v]

    @property
    def nodes(self) -> list[Node]:
        """What the gradients stand for in the graph."""
        return [self.joined.root] if self.joined else self.parts

    @property
    def parts(self) -> list[Node]:
        return [x.node for x in self.all if x]


def match_gradients(
    node: Node, found: Found, users: Users, results: frozenset[Node]
) -> FoundGradients | None:
    """The gradients of the attention `node`, if only they read its weights and scores."""
    made = _Match(node, found, users, results).match()
    if made is None:
        return None
    inner = (*found.inner, *made.inner)
    if not are_private(inner, [node, *made.parts], users, results):
        return None
    if len(made.parts) == 3 and all(x.axes[-1] == len(x.axes) - 1 for x in made.all if x):
        made.joined = joined(made.parts, users, results)
    return made


class _Match:
    """One try at the gradients of the attention `node`, whose forward parts are `found`."""

    def __init__(self, node: Node, found: Found, users: Users, results: frozenset[Node]):
        self.node, self.found, self.users, self.results = node, found, users, results
        self.used, self.v = node.inputs
        self.weights = found.weights
        self.powers, self.total = self.weights.inputs
        self.scores = self.powers.inputs[0].inputs[0]
        self.inner: list[Node] = []

    def match(self) -> FoundGradients | None:
        """The gradients, if all that reads the weights and scores is part of them."""
        slopes = [u for u in self.users[self.powers] if u.name == "mul"]
        pulled = slopes and self._pulled(slopes[0])
        if not pulled:
            return None
        self.inner.append(slopes[0])
        made = FoundGradients(pulled, inner=self.inner)
        core, _ = scaled(self._unmasked(self.scores))
        slope, gain = self._through_mask_and_scale(slopes[0], core)
        if slope is None or core.name != "matmul":
            return None
        for user in self.users[slope]:
            if user.name != "matmul":
                return None
            left, right = user.inputs
            if left is slope and same(right, core.inputs[1], swapped=True):
                made.of_q = self._chain(user, gain * self.found.scale_of_k, swapped=False)
            elif right is slope and same(left, core.inputs[0], swapped=True):
                made.of_k = self._chain(user, gain * self.found.scale_of_q, swapped=True)
            else:
                return None
        for user in self.users[self.used]:
            if user.name == "permute" and _swaps(user):
                self.inner.append(user)
                (product,) = self.users[user] if len(self.users[user]) == 1 else (user,)
                if product.name != "matmul" or product.inputs[0] is not user:
                    return None
                if not same(product.inputs[1], made.g):
                    return None
                made.of_v = self._chain(product, 1.0, swapped=False)
        return made if any(made.all) else None

    def _pulled(self, slope: Node) -> Node | None:
        """g, if `slope` is (dP / T + spread(-sum(dP * (P / T)))) * E."""
        others = [x for x in slope.inputs if x is not self.powers]
        if len(others) != 1 or others[0].name != "add":
            return None
        for direct, spread in (others[0].inputs, others[0].inputs[::-1]):
            if direct.name == "div" and direct.inputs[1] is self.total:
                pulled = direct.inputs[0]
                product = self._undropped(pulled)
                if product and product.name == "matmul" and self._is_row_term(spread, pulled):
                    g, turned = product.inputs
                    self.inner += [others[0], direct, product]
                    return g if same(turned, self.v, swapped=True) else None
        return None

    def _undropped(self, pulled: Node) -> Node | None:
        """g v^T below the dropout that the weights had."""
        if self.found.drop is None:
            return pulled
        found = undropped(pulled, self.found.drop)
        if found is None:
            return None
        self.inner += found[1]
        return found[0]

    def _is_row_term(self, spread: Node, product: Node) -> bool:
        """spread(-sum(dP * (P / T))), with 0 for rows without any key where the total is safe."""
        if spread.name != "expand":
            return False
        kept, path = spread.inputs[0], [spread]
        if self.found.safe:
            if kept.name != "where" or constant(kept.inputs[1]) != 0.0:
                return False
            if kept.inputs[0] is not self.total.inputs[0].inputs[0]:
                return False
            path.append(kept)
            kept = kept.inputs[2]
        if kept.name != "reshape":
            return False
        terms = kept.inputs[0]
        if terms.name != "sum" or terms.attrs["axes"] != (len(product.shape) - 1,):
            return False
        negative = terms.inputs[0]
        if negative.name != "neg" or negative.inputs[0].name != "mul":
            return False
        factors = negative.inputs[0].inputs
        shares = [x for x in factors if x is not product]
        if len(shares) != 1 or shares[0].name != "div":
            return False
        self.inner += [*path, kept, terms, negative, negative.inputs[0], shares[0]]
        return shares[0].inputs == (self.weights, self.total)

    def _unmasked(self, scores: Node) -> Node:
        """The scores below the mask."""
        if self.found.mask is None:
            return scores
        return next(x for x in scores.inputs if scaled(x)[0].name == "matmul")

    def _through_mask_and_scale(self, slope: Node, core: Node) -> tuple[Node | None, float]:
        """The gradient of the product q k^T, and what it is multiplied by on the way there."""
        gain = 1.0
        if self.found.mask is not None and self.scores.name == "where":
            users = self.users[slope]
            if len(users) != 1 or users[0].name != "where":
                return None, gain
            mask, *sides = users[0].inputs
            zero = sides[0] if self.found.hides else sides[1]
            if mask is not self.scores.inputs[0] or slope not in sides or constant(zero) != 0.0:
                return None, gain
            slope = users[0]
            self.inner.append(slope)
        steps, node = 0, self._unmasked(self.scores)
        while node is not core:  # as many factors as the scores have
            node = next(x for x in node.inputs if constant(x) is None)
            steps += 1
        for _ in range(steps):
            step = self._times_constant(slope)
            if step is None:
                return None, gain
            slope, gain = step[0], gain * step[1]
            self.inner.append(slope)
        return slope, gain

    def _times_constant(self, node: Node) -> tuple[Node, float] | None:
        """The only reader of `node`, if that is a constant multiple of it, and the factor."""
        if len(self.users[node]) != 1 or node in self.results:
            return None
        (user,) = self.users[node]
        if user.name not in ("mul", "div") or user.inputs.count(node) != 1:
            return None
        factor = next(constant(x) for x in user.inputs if x is not node)
        if factor is None or (user.name == "div" and (user.inputs[0] is not node or not factor)):
            return None
        return user, factor if user.name == "mul" else 1.0 / factor

    def _chain(self, node: Node, gain: float, swapped: bool) -> Gradient:
        """The gradient behind the factors and permutes that are all that reads it."""
        rank = len(node.shape)
        axes = (*range(rank - 2), rank - 1, rank - 2) if swapped else tuple(range(rank))
        while True:
            self.inner.append(node)
            step = self._times_constant(node)
            users = self.users[node]
            if step is not None:
                node, gain = step[0], gain * step[1]
            elif len(users) == 1 and users[0].name == "permute" and node not in self.results:
                node = users[0]
                axes = tuple(axes[d] for d in node.attrs["dims"])
            else:
                self.inner.pop()
                return Gradient(node, gain, axes)


def _swaps(node: Node) -> bool:
    rank = len(node.shape)
    return node.attrs["dims"] == (*range(rank - 2), rank - 1, rank - 2)


def same(a: Node, b: Node, swapped: bool = False) -> bool:
    """Whether `a` is `b`, or `b` with its last two axes exchanged, element by element."""
    *batch, rows, columns = b.shape
    outer = loops("b", batch)
    row, column = Var("m", rows), Var("n", columns)
    mine = at(outer, [column], [row]) if swapped else at(outer, [row], [column])
    if a.shape != tuple(batch) + ((columns, rows) if swapped else (rows, columns)):
        return False
    one: tuple[Node, Index] = look_through(a, mine)
    return one == look_through(b, at(outer, [row], [column]))
