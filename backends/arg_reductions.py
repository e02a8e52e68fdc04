"""argmax loops: the first largest value and its place, per lane, then the best of all lanes.

A nan counts as largest, and the first of equals wins, whatever the number of lanes. What is carried
is the turn of the loop; the wanted position is computed from it at the end.
"""

from __future__ import annotations

from nncomp.ir.collapse import Rebuilder
from nncomp.ir.index import Index, Read
from nncomp.ir.kernel_builder import KernelBuilder
from nncomp.ir.loops import Accumulator, ArgReduce, Load, walk
from nncomp.ir.types import int64

from .expressions import Lanes, ramp
from .llvm import Value, vector_type
from .reductions import KernelExpressions, lane_count, lowest, prefix_mask
from .scalar import compute_type, emit_scalar

UNROLL = 2


class ArgExpressions(KernelExpressions):
    """Expressions with all their reductions."""

    def arg_reduce(self, expr: ArgReduce) -> Value:
        lanes = self.lanes
        if lanes and lanes.var not in expr.vars:
            return self._without_lanes(lambda: self.arg_reduce(expr))
        if lanes or not self._can_spread(expr):
            turn = self._serial(expr, lanes.count if lanes else 0)
        else:
            turn = self._spread(expr)
        return self._position(expr, self._int64(turn))

    def _position(self, expr: ArgReduce, turn: Value) -> Value:
        """The wanted position at the turn that was found (one per lane, maybe)."""
        found = Accumulator(int64, (self.lanes.var,) if turn.lanes and self.lanes else ())
        self.scope.known[id(found)] = turn
        self.scope.kept.append(found)
        there = {expr.loop: Index.of(Read(found, expr.loop.extent))}
        return self.value(Rebuilder(KernelBuilder(), there).value(expr.position))

    def _can_spread(self, expr: ArgReduce) -> bool:
        """Whether the loop is long and reads neighbours, so that its turns can go to the lanes."""
        loop = expr.loop
        return loop.extent >= 8 and all(
            x.offset.coefficient(loop) == 1 and x.offset.is_affine_in(loop)
            for x in walk([expr.body])
            if isinstance(x, Load) and loop in x.offset.vars
        )

    def _start(self, expr: ArgReduce, count: int, first: Value) -> list[Value]:
        dtype = expr.body.dtype
        return [self.e.const(vector_type(compute_type(dtype.name), count), lowest(dtype)), first]

    def _serial(self, expr: ArgReduce, count: int) -> Value:
        """One turn after the other, in each lane of the surrounding loop."""
        type = "i32" if expr.loop.extent < 1 << 31 else "i64"
        start = self._start(expr, count, self.e.const(vector_type(type, count), 0))

        def better(carry: list[Value]) -> list[Value]:
            turn = self.scope.variable(expr.loop)
            turn = turn if type == "i64" else self.e.convert("trunc", turn, type)
            turn = self.e.splat(turn, count) if count else turn
            return self._keep(expr, carry, [self.spread(self.value(expr.body)), turn])

        return self._nest([expr.loop], [expr.body], start, better)[1]

    def _spread(self, expr: ArgReduce) -> Value:
        """The turns over the lanes; then the best lane, by halving."""
        loop, e = expr.loop, self.e
        wide = lane_count(self.isa.width, expr.body, loop.extent, UNROLL)
        type = vector_type("i32" if loop.extent < 1 << 31 else "i64", wide)
        self.hoist([expr.body])
        carry = self._start(expr, wide, ramp(type, 1))
        whole = loop.extent // wide * wide
        if whole:
            with e.loop(0, whole, wide, carry, loop.name) as turns:
                term = self._term(expr, Lanes(loop, wide, turns.index, None), type)
                turns.next(*self._keep(expr, turns.carry, term))
            carry = turns.result
        if whole < loop.extent:
            mask = prefix_mask(loop.extent - whole, wide)
            term = self._term(expr, Lanes(loop, wide, Value(str(whole), "i64"), mask), type)
            kept = self._keep(expr, carry, term)
            carry = [e.select(mask, new, old) for new, old in zip(kept, carry, strict=True)]
        return self._best_lane(expr, carry)

    def _term(self, expr: ArgReduce, lanes: Lanes, type: str) -> list[Value]:
        """The values of the lanes, and their turns."""
        self.enter(lanes=lanes)
        value = self.vector(expr.body)
        self.leave()
        scalar = Value("", type).scalar_type
        base = lanes.base
        if scalar != base.type:
            base = self.e.convert("trunc", base, scalar) if base.ref[0] == "%" else base
            base = Value(base.ref, scalar)
        return [value, self.e.binary("add", self.e.splat(base, lanes.count), ramp(type, 1))]

    def _keep(self, expr: ArgReduce, old: list[Value], new: list[Value]) -> list[Value]:
        """The later candidate only where it is larger, or the first nan."""
        wins = self._larger(expr, old[0], new[0])
        return [self.e.select(wins, a, b) for a, b in zip(new, old, strict=True)]

    def _larger(self, expr: ArgReduce, old: Value, new: Value) -> Value:
        dtype = expr.body.dtype
        if dtype.kind == "f":  # not (new <= old), but not from nan to anything
            above = self.e.binary("fcmp ugt", new, old)
            return self.e.binary("and", above, self.e.binary("fcmp ord", old, old))
        return emit_scalar(self.e, "lt", [old, new], dtype.name)

    def _best_lane(self, expr: ArgReduce, carry: list[Value]) -> Value:
        e, (values, turns) = self.e, carry
        count = values.lanes
        while count > 1:
            count //= 2
            (a, i), (b, j) = (
                [_part(e, v, first, count) for v in (values, turns)] for first in (0, count)
            )
            wins, loses = self._larger(expr, a, b), self._larger(expr, b, a)
            tied = e.binary("xor", e.binary("or", wins, loses), e.const(wins.type, True))
            earlier = e.binary("and", tied, e.binary("icmp slt", j, i))
            wins = e.binary("or", wins, earlier)
            values, turns = e.select(wins, b, a), e.select(wins, j, i)
        return e.emit(turns.scalar_type, f"extractelement {turns}, i64 0", "turn")


def _part(e, value: Value, first: int, count: int) -> Value:
    picks = ", ".join(f"i32 {first + k}" for k in range(count))
    cut = f"shufflevector {value}, {value.type} poison, <{count} x i32> <{picks}>"
    return e.emit(vector_type(value.scalar_type, count), cut, "half")

