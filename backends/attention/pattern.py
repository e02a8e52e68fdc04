"""Recognizes softmax(scale * q k^T + mask) v in what it is traced to."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from nncomp.ir.graph import Node
from nncomp.ir.types import DType, float32

from .dropout import Drop, match_dropout

NEVER = float("-inf")


@dataclass(frozen=True)
class Found:
    """The parts of one attention; `k` is transposed, [.., depth, keys]."""

    q: Node
    k: Node
    v: Node
    weights: Node  # the softmax, before dropout
    mask: Node | None  # of the scores' shape: bool, or added
    hides: bool  # True in the mask is where a key takes no part
    scale: float
    safe: bool  # rows that are -inf throughout give 0, not nan
    scale_of_q: float = 1.0  # what the scale holds that q, or k, was multiplied by before
    scale_of_k: float = 1.0
    inner: tuple[Node, ...] = ()  # the weights, the scores and what lies between them
    drop: Drop | None = None  # which weights take no part


def match_attention(node: Node, dtypes: tuple[DType, ...] = (float32,)) -> Found | None:
    """The attention whose result is the matmul `node` of one of `dtypes`; None for anything else.

    The softmax of 16-bit scores may be float32.
    """
    if node.name != "matmul" or node.dtype not in dtypes or not node.type.size:
        return None
    weights, v = node.inputs
    match = _Match(weights, v)
    drop = match.dropped() if node.dtype is float32 else None
    found = match.softmax()
    return found and replace(found, inner=tuple(match.inner), drop=drop)


def are_private(
    inner: Sequence[Node], last: Sequence[Node], users: Mapping[Node, list[Node]], results
) -> bool:
    """Whether nothing but each other and `last` reads the nodes in `inner`."""
    known = {*inner, *last}
    return all(n not in results and all(u in known for u in users[n]) for n in inner)


class _Match:
    """One try: `inner` collects the nodes that the fused node makes superfluous."""

    def __init__(self, weights: Node, v: Node):
        self.weights, self.v = weights, v
        self.inner: list[Node] = []

    def dropped(self) -> Drop | None:
        """The dropout of the weights, which are then those before it."""
        found = match_dropout(self.weights)
        if found is None:
            return None
        drop, self.weights, inner = found
        self.inner += inner
        return drop

    def softmax(self) -> Found | None:
        """exp(scores - top) / total, along the last axis."""
        self.weights = self._uncast(self.weights)
        if self.weights.name != "div":
            return None
        powers, total = self.weights.inputs
        if powers.name != "exp" or powers.inputs[0].name != "sub":
            return None
        difference = powers.inputs[0]
        scores, top = difference.inputs
        total_is_safe = self._per_row(total, "sum", powers, (0.0, 1.0))
        top_is_safe = self._per_row(top, "amax", scores, (NEVER, 0.0))
        if total_is_safe is None or total_is_safe != top_is_safe:
            return None
        self.inner += [self.weights, powers, difference]
        found = self._scores(scores)
        return found and replace(found, safe=total_is_safe)

    def _per_row(self, spread: Node, reduction: str, of: Node, swap) -> bool | None:
        """Whether `spread` is the reduction of each row with `swap[0]` replaced by `swap[1]`; None
        if it is neither that nor the reduction as it is."""
        if spread.name != "expand":
            return None
        kept, path = spread.inputs[0], [spread]
        safe = kept.name == "where"
        if safe:
            test, value, other = kept.inputs
            if constant(value) != swap[1] or test.name != "eq" or other not in test.inputs:
                return None
            if swap[0] not in map(constant, test.inputs):
                return None
            path += [kept, test]
            kept = other
        if kept.name != "reshape" or kept.inputs[0].name != reduction:
            return None
        reduced, axis = kept.inputs[0], len(of.shape) - 1
        same = reduced.inputs[0] is of and reduced.attrs["axes"] == (axis,)
        if not same or kept.shape != (*of.shape[:-1], 1):
            return None
        self.inner += [*path, kept, reduced]
        return safe

    def _scores(self, scores: Node) -> Found | None:
        """Scores without a mask, with one to choose by, or with one to add."""
        plain = self._product(scores)
        if plain is not None:
            return plain
        if scores.name == "where":
            self.inner.append(scores)
            mask, a, b = scores.inputs
            hides = constant(a) == NEVER
            if hides or constant(b) == NEVER:
                found = self._product(b if hides else a)
                return found and replace(found, mask=mask, hides=hides)
        if scores.name == "add":
            self.inner.append(scores)
            for product, mask in (scores.inputs, scores.inputs[::-1]):
                found = self._product(product)
                if found is not None:
                    return replace(found, mask=mask)
        return None

    def _uncast(self, node: Node) -> Node:
        """Without a cast between the dtype of the values and float32."""
        if node.name != "cast" or {node.dtype, node.inputs[0].dtype} != {self.v.dtype, float32}:
            return node
        self.inner.append(node)
        return node.inputs[0]

    def _product(self, scores: Node) -> Found | None:
        """q k^T, scaled before or after."""
        scores = self._uncast(scores)
        core, after = scaled(scores)
        if core.name != "matmul" or not math.isfinite(after):
            return None
        while scores is not core:
            self.inner.append(scores)
            scores = next(x for x in scores.inputs if constant(x) is None)
        self.inner.append(core)
        (q, before), (k, beside) = map(scaled, core.inputs)
        scale = after * before * beside
        if not math.isfinite(scale):
            return None
        return Found(q, k, self.v, self.weights, None, False, scale, False, before, beside)


def constant(node: Node) -> float | None:
    """The number that a float or bool node is everywhere."""
    if node.name != "full" or node.dtype.kind not in "fb":
        return None
    return node.attrs["value"]


def scaled(node: Node) -> tuple[Node, float]:
    """What `node` is a constant multiple of, and the factor."""
    factor = 1.0
    while node.name in ("mul", "div"):
        a, b = node.inputs
        numbers = constant(a), constant(b)
        if numbers[1] is not None and (node.name == "mul" or numbers[1] != 0):
            factor = factor * numbers[1] if node.name == "mul" else factor / numbers[1]
            node = a
        elif numbers[0] is not None and node.name == "mul":
            factor, node = factor * numbers[0], b
        else:
            break
    return node, factor
