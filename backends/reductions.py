"""Reduction loops: serial with an accumulator per lane, or spread over lanes and combined."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nncomp.ir.index import Var
from nncomp.ir.loops import Call, Expr, Load, Reduce, walk

from .expressions import Expressions, Lanes
from .llvm import Value, vector_type
from .scalar import compute_type, emit_scalar

IDENTITY = {"add": 0, "mul": 1}
UNROLL = 4  # vectors per turn of a reduction over lanes: enough to hide the latency of an add


class KernelExpressions(Expressions):
    """Expressions with their reductions."""

    def reduce(self, expr: Reduce) -> Value:
        lanes = self.lanes
        if lanes and lanes.var in expr.vars:
            start = self._identity(expr, lanes.count)
            return self._nest(list(expr.loops), [expr.body], [start], self._fold(expr))[0]
        if lanes:  # the same in all lanes: leave the lane loop's vectors out of it
            return self._without_lanes(lambda: self.reduce(expr))
        spread = self._spread_loop(expr)
        if spread is None:
            start = self._identity(expr, 0)
            return self._nest(list(expr.loops), [expr.body], [start], self._fold(expr))[0]
        return self._reduce_lanes(expr, spread)

    def _without_lanes(self, compute: Callable[[], Value]) -> Value:
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

    def _fold(self, expr: Reduce):
        def fold(carry: list[Value]) -> list[Value]:
            lanes = carry[0].lanes
            value = self.value(expr.body)
            value = value if value.lanes == lanes else self.e.splat(value, lanes)
            return [self.combine(expr, carry[0], value)]

        return fold

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

    def _reduce_lanes(self, expr: Reduce, var: Var) -> Value:
        serial = [v for v in expr.loops if v is not var]
        wide = lane_count(self.isa.width, expr, var.extent, UNROLL)
        start = self._identity(expr, wide)

        def row(carry: list[Value]) -> list[Value]:
            return self._lane_loop(expr, var, wide, carry[0])

        total = self._nest(serial, [expr.body], [start], row)[0]
        return self._across(expr, total)

    def _lane_loop(self, expr: Reduce, var: Var, wide: int, carry: Value) -> list[Value]:
        whole = var.extent // wide * wide
        if whole:
            with self.e.loop(0, whole, wide, [carry], var.name) as loop:
                self.enter(lanes=Lanes(var, wide, loop.index, None))
                loop.next(self.combine(expr, loop.carry[0], self.vector(expr.body)))
                self.leave()
            carry = loop.result[0]
        if whole < var.extent:
            base = Value(str(whole), "i64")
            mask = prefix_mask(var.extent - whole, wide)
            self.enter(lanes=Lanes(var, wide, base, mask))
            term = self.combine(expr, carry, self.vector(expr.body))
            carry = self.e.select(mask, term, carry)
            self.leave()
        return [carry]

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
