"""Reduction loops: serial with an accumulator per lane, or spread over lanes and combined."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nncomp.ir.index import Var
from nncomp.ir.loops import ArgReduce, Call, Expr, Kernel, Load, Reduce, walk

from .expressions import Expressions, Isa, Lanes
from .llvm import Emitter, Value, vector_type
from .scalar import compute_type, emit_scalar

IDENTITY = {"add": 0, "mul": 1}
UNROLL = 4  # vectors per turn of a reduction over lanes: enough to hide the latency of an add


class KernelExpressions(Expressions):
    """Expressions with their reductions."""

    def __init__(self, e: Emitter, kernel: Kernel, isa: Isa):
        super().__init__(e, kernel, isa)
        self.reductions: list[Reduce] = []  # those that may be computed in one loop with others

    def reduce(self, expr: Reduce) -> Value:
        together = [expr, *self._beside(expr)]
        values = self._reduce_all(together)
        for other, value in zip(together[1:], values[1:], strict=True):
            self.scope.known[id(other)] = value
            self.scope.kept.append(other)
        return values[0]

    def _beside(self, expr: Reduce) -> list[Reduce]:
        """Further reductions over the same loops that can be computed by now: what they read is
        read once then, and one need not wait for the other."""
        others = [
            x for x in self.reductions
            if x is not expr and x.loops == expr.loops and x.vars == expr.vars
            and self.scope.find(id(x)) is None
        ]  # fmt: skip
        if not others or not self._is_ready(expr):
            return []
        spread = self._spread_loop(expr)
        return [
            x for x in others
            if x.dtype.itemsize == expr.dtype.itemsize
            and self._is_ready(x) and self._spread_loop(x) == spread
        ]  # fmt: skip

    def _is_ready(self, expr: Reduce) -> bool:
        """Whether nothing in it waits for another reduction or a row of scratch."""
        for x in walk([expr.body]):
            if isinstance(x, (Reduce, ArgReduce)) and self.scope.find(id(x)) is None:
                return False
            if isinstance(x, Load) and x.buffer.slot < 0:
                return False
        return True

    def _reduce_all(self, exprs: list[Reduce]) -> list[Value]:
        """The values of reductions over the same loops."""
        (expr, *_), lanes = exprs, self.lanes
        if lanes and lanes.var in expr.vars:
            return self._one_by_one(exprs, lanes.count)
        if lanes:  # the same in all lanes: leave the lane loop's vectors out of it
            return self._without_lanes(lambda: self._reduce_all(exprs))
        spread = self._spread_loop(expr)
        return self._one_by_one(exprs, 0) if spread is None else self._reduce_lanes(exprs, spread)

    def _one_by_one(self, exprs: list[Reduce], lanes: int) -> list[Value]:
        start = [self._identity(x, lanes) for x in exprs]
        bodies: list[Expr] = [x.body for x in exprs]
        return self._nest(list(exprs[0].loops), bodies, start, self._fold(exprs))

    def _without_lanes(self, compute: Callable[[], Any]) -> Any:
        scope: Any = self.scope
        saved = []
        while scope is not None:
            saved.append((scope, scope.lanes))
            scope.lanes = None
            scope = scope.parent
        try:
            return compute()
        finally:
            for scope, lanes in saved:
                scope.lanes = lanes

    def _identity(self, expr: Reduce, lanes: int) -> Value:
        dtype = expr.dtype
        number = IDENTITY.get(expr.combine)
        if number is None:
            number = lowest(dtype)
        return self.e.const(vector_type(compute_type(dtype.name), lanes), number)

    def _fold(self, exprs: list[Reduce]):
        def fold(carry: list[Value]) -> list[Value]:
            return [self._folded(x, c) for x, c in zip(exprs, carry, strict=True)]

        return fold

    def _folded(self, expr: Reduce, carry: Value) -> Value:
        value = self.value(expr.body)
        value = value if value.lanes == carry.lanes else self.e.splat(value, carry.lanes)
        return self.combine(expr, carry, value)

    def combine(self, expr: Reduce, a: Value, b: Value) -> Value:
        name = expr.combine
        if expr.dtype.kind == "b":
            name = "bitwise_or" if name == "maximum" else "bitwise_and"
        return emit_scalar(self.e, name, [a, b], expr.dtype.name, self.isa.fma)

    def _nest(self, loops: list[Var], roots: list[Expr], carry: list[Value], body) -> list[Value]:
        """Serial loops around `body(carry) -> carry`, each part of `roots` computed where it can
        be.
        """
        self.hoist(roots)
        if not loops:
            return body(carry)
        with self.e.loop(0, loops[0].extent, carry=carry, hint=loops[0].name) as loop:
            self.enter({loops[0]: loop.index})
            loop.next(*self._nest(loops[1:], roots, loop.carry, body))
            self.leave()
        return loop.result

    def _spread_loop(self, expr: Reduce) -> Var | None:
        """The loop whose values go to lanes: one that walks memory contiguously, and is long."""
        best = None
        for var in expr.loops:
            steps = [
                x.offset.coefficient(var)
                for x in walk([expr.body])
                if isinstance(x, Load) and var in x.offset.vars and x.offset.is_affine_in(var)
            ]
            if var.extent >= 4 and (1 in steps or not steps):
                best = var
        return best

    def _reduce_lanes(self, exprs: list[Reduce], var: Var) -> list[Value]:
        serial = [v for v in exprs[0].loops if v is not var]
        unroll = max(UNROLL // len(exprs), 1)
        wide = min(lane_count(self.isa.width, x, var.extent, unroll) for x in exprs)
        start = [self._identity(x, wide) for x in exprs]
        bodies: list[Expr] = [x.body for x in exprs]

        def row(carry: list[Value]) -> list[Value]:
            return self._lane_loop(exprs, var, wide, carry)

        totals = self._nest(serial, bodies, start, row)
        return [self._across(x, total) for x, total in zip(exprs, totals, strict=True)]

    def _lane_loop(
        self, exprs: list[Reduce], var: Var, wide: int, carry: list[Value]
    ) -> list[Value]:
        whole = var.extent // wide * wide
        if whole:
            with self.e.loop(0, whole, wide, carry, var.name) as loop:
                self.enter(lanes=Lanes(var, wide, loop.index, None))
                loop.next(*self._terms(exprs, loop.carry))
                self.leave()
            carry = loop.result
        if whole < var.extent:
            base = Value(str(whole), "i64")
            mask = prefix_mask(var.extent - whole, wide)
            self.enter(lanes=Lanes(var, wide, base, mask))
            terms = self._terms(exprs, carry)
            carry = [self.e.select(mask, t, c) for t, c in zip(terms, carry, strict=True)]
            self.leave()
        return carry

    def _terms(self, exprs: list[Reduce], carry: list[Value]) -> list[Value]:
        """What has been reduced by now with one more term per lane."""
        return [
            self.combine(x, c, self.vector(x.body)) for x, c in zip(exprs, carry, strict=True)
        ]

    def _across(self, expr: Reduce, value: Value) -> Value:
        """Combine the lanes by halving, in one fixed order."""
        count = value.lanes
        while count > 1:
            half = count // 2
            type = vector_type(value.scalar_type, half)
            parts = []
            for first in (0, half):
                picks = ", ".join(f"i32 {first + k}" for k in range(half))
                shuffle = f"shufflevector {value}, {value.type} poison, <{half} x i32> <{picks}>"
                parts.append(self.e.emit(type, shuffle, "half"))
            value, count = self.combine(expr, *parts), half
        return self.e.emit(value.scalar_type, f"extractelement {value}, i64 0", "sum")


def lowest(dtype):
    if dtype.kind == "f":
        return float("-inf")
    return -(1 << (8 * dtype.itemsize - 1)) if dtype.kind == "i" else 0


def prefix_mask(live: int, lanes: int) -> Value:
    """A constant mask, the first `live` lanes on (a variable one is slow where it is emulated)."""
    bits = ", ".join("i1 true" if k < live else "i1 false" for k in range(lanes))
    return Value(f"<{bits}>", vector_type("i1", lanes))


def lane_count(width: int, root: Expr, extent: int, unroll: int = 1) -> int:
    """Lanes for a loop: `unroll` vectors of `width` while the body is small, never far above
    extent.
    """
    heavy = sum(1 for x in walk([root]) if isinstance(x, Call) and x.name not in CHEAP)
    size = sum(1 for _ in walk([root]))
    lanes = width * (unroll if heavy == 0 and size < 24 else max(unroll // 2, 1))
    if unroll > 1 and max(x.dtype.itemsize for x in walk([root])) == 8:
        lanes //= 2
    while lanes > 2 and lanes // 2 >= extent:
        lanes //= 2
    return lanes


CHEAP = frozenset(
    (
        "neg abs add sub mul maximum minimum eq lt le select cast "
        "bitwise_and bitwise_or bitwise_xor"
    ).split()
)
