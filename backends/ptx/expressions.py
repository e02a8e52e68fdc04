"""Kernel expressions in one GPU thread: one element, or the few neighbours of a 16-byte vector.

What differs from the CPU: indices have 32 bits where they fit (a 64-bit division is a long
routine), guards choose a safe address instead of masking, float64 functions are written out, and
reductions are serial here: groups.py spreads them over threads.
"""

from __future__ import annotations

from nncomp.ir.collapse import indices_of
from nncomp.ir.index import Index, Quotient, Read, Remainder, Var
from nncomp.ir.loops import Accumulator, ArgReduce, Call, Expr, Kernel, Load, Reduce, Store

from ..arg_reductions import ArgExpressions
from ..expressions import Isa
from ..llvm import Value, vector_type
from ..memory import load_one, store
from ..scalar import compute_type, emit_scalar, memory_type
from .emitter import PtxEmitter

LIMIT = 1 << 31
ISA = Isa(4, True)


def index_type(kernel: Kernel) -> str:
    """i32 if all indices of the kernel fit, else i64."""
    sizes = [b.type.size for b in kernel.buffers]
    sizes += [x for i in indices_of(kernel.stores) for x in _ends(i)]
    total = 1
    for v in kernel.domain:
        total *= v.extent
    return "i32" if max([total, *sizes], default=0) < LIMIT // 2 else "i64"


def _ends(index: Index) -> list[int]:
    """How large the index and what it divides become."""
    found = [abs(end) for end in index.range]
    for atom, c in index.terms:
        found.append(abs(c) * max(map(abs, atom.range)))
        if isinstance(atom, (Quotient, Remainder)):
            found += [*_ends(atom.of), abs(atom.by)]
    return found


def is_aligned(index: Index, lane: Var, count: int) -> bool:
    """Whether neighbours in `lane`, `count` at a time, begin at multiples of `count` elements."""
    if index.coefficient(lane) != 1 or not index.is_affine_in(lane):
        return False
    return index.const % count == 0 and all(c % count == 0 for a, c in index.terms if a != lane)


class GpuExpressions(ArgExpressions):
    """Emits the expressions of a kernel for one thread."""

    def __init__(self, e: PtxEmitter, kernel: Kernel):
        super().__init__(e, kernel, ISA)
        self.kernel = kernel
        self.written = {b.slot for b in kernel.buffers[len(kernel.buffers) - kernel.outputs :]}

    @property
    def index_type(self) -> str:
        """The LLVM type of indices and loop variables."""
        return self.e.index_type

    def bind(self, accumulator: Accumulator, value: Value) -> None:
        """Give the finished sum of a product its value in the present scope."""
        self.scope.known[id(accumulator)] = value
        self.scope.kept.append(accumulator)

    def store(self, s: Store) -> None:
        """Write a store's value to its place."""
        value, dtype, lanes = self.value(s.value), s.buffer.type.dtype, self.lanes
        if lanes is None or lanes.var not in s.vars:
            store(self.e, dtype, value, self.place(s.buffer, s.offset))
            return
        value = self.spread(value)
        if is_aligned(s.offset, lanes.var, lanes.count):
            at = self._address(s.buffer, self.index_at_base(s.offset))
            raw = _raw(self.e, dtype, value)
            self.e.store(raw, at, dtype.itemsize * lanes.count)
            return
        for k, offset in enumerate(self._offsets(s.offset)):
            one = self.e.emit(value.scalar_type, f"extractelement {value}, i32 {k}", "one")
            store(self.e, dtype, one, self._address(s.buffer, offset))

    # -- indices ---------------------------------------------------------------------------------

    def _index(self, index: Index) -> Value:
        lanes = self.lanes
        if lanes and lanes.var in index.vars:
            return self._lane_index(index, lanes)
        total = self.e.index(index.const)
        for atom, c in index.terms:
            part = self._scaled(self._atom(atom), c)
            total = part if total.ref == "0" else self.e.binary("add", total, part, "x")
        return total

    def _atom(self, atom) -> Value:
        if isinstance(atom, Read):
            value = self.value(atom.value)
            return self._sized(value, atom.value.dtype.kind == "u")
        return super()._atom(atom)

    def _sized(self, value: Value, unsigned: bool) -> Value:
        """An index that was read, in the type of indices."""
        have, want = int(value.scalar_type[1:]), int(self.index_type[1:])
        if have == want:
            return value
        opcode = "trunc" if have > want else "zext" if unsigned else "sext"
        return self.e.convert(opcode, value, self.index_type)

    # -- memory ----------------------------------------------------------------------------------

    def _load(self, expr: Load) -> Value:
        lanes, dtype = self.lanes, expr.buffer.type.dtype
        if not expr.buffer.type.size:
            return self.spread_if(expr, self.e.const(compute_type(dtype.name), 0))
        if lanes is None or lanes.var not in expr.vars:
            return self._one(expr)
        if lanes.var not in expr.offset.vars and not self._is_spread(expr.guard):
            return self.spread(self._one(expr))
        if expr.guard is None and is_aligned(expr.offset, lanes.var, lanes.count):
            at = self._address(expr.buffer, self.index_at_base(expr.offset))
            return self._wide(dtype, at, lanes.count)
        return self._one_by_one(expr, lanes.count)

    def spread_if(self, expr: Expr, value: Value) -> Value:
        """The value in all lanes, if the expression depends on them."""
        lanes = self.lanes
        return self.spread(value) if lanes and lanes.var in expr.vars else value

    def _is_spread(self, guard: Expr | None) -> bool:
        return guard is not None and self.lanes.var in guard.vars

    def _one(self, expr: Load) -> Value:
        """The same element in all lanes."""
        return load_one(self.e, expr.dtype, self._address(expr.buffer, self._safe(expr)))

    def _safe(self, expr: Load) -> Value:
        """The offset of a load, or 0 where its guard is false."""
        offset = self.index(expr.offset)
        if expr.guard is None:
            return offset
        return self.e.select(self.value(expr.guard), offset, self.e.index(0), "safe")

    def _wide(self, dtype, at: Value, count: int) -> Value:
        raw = vector_type("i16" if dtype.name == "bfloat16" else memory_type(dtype.name), count)
        return _computed(self.e, dtype, self.e.load(raw, at, dtype.itemsize * count))

    def _one_by_one(self, expr: Load, count: int) -> Value:
        """Lanes that are no neighbours, or perhaps not allowed, or not aligned."""
        dtype, e = expr.buffer.type.dtype, self.e
        offsets = self._offsets(expr.offset)
        guard = None if expr.guard is None else self.vector(expr.guard)
        type = vector_type(compute_type(dtype.name), count)
        total = Value("poison", type)
        for k, offset in enumerate(offsets):
            if guard is not None:
                allowed = e.emit("i1", f"extractelement {guard}, i32 {k}", "allowed")
                offset = e.select(allowed, offset, e.const(offset.type, 0), "safe")
            one = load_one(e, dtype, self._address(expr.buffer, offset))
            total = e.emit(type, f"insertelement {total}, {one}, i32 {k}", "l")
        return total

    def _offsets(self, index: Index) -> list[Value]:
        """The offset of each lane."""
        lanes = self.lanes
        at = self.index(index)
        if not at.lanes:
            return [at] * lanes.count
        return [
            self.e.emit(at.scalar_type, f"extractelement {at}, i32 {k}", "at")
            for k in range(lanes.count)
        ]

    # -- calls and reductions --------------------------------------------------------------------

    def _call(self, expr: Call) -> Value:
        from .double_math import DOUBLE_MATH

        if expr.name in DOUBLE_MATH and expr.args[-1].dtype.name == "float64":
            args = self._operands(expr.args)
            return self._by_lane(DOUBLE_MATH[expr.name], args)
        return super()._call(expr)

    def _by_lane(self, emit, args: list[Value]) -> Value:
        """A scalar routine, once per lane."""
        e, count = self.e, args[0].lanes
        if not count:
            return emit(e, *args)
        total = Value("poison", args[0].type)
        for k in range(count):
            ones = [e.emit(a.scalar_type, f"extractelement {a}, i32 {k}", "one") for a in args]
            total = e.emit(total.type, f"insertelement {total}, {emit(e, *ones)}, i32 {k}", "v")
        return total

    def reduce(self, expr: Reduce) -> Value:
        """One term after the other, in each lane that the reduction depends on."""
        lanes = self.lanes
        if lanes and lanes.var not in expr.vars:
            return self._without_lanes(lambda: self.reduce(expr))
        start = self._identity(expr, lanes.count if lanes else 0)
        return self._nest(list(expr.loops), [expr.body], [start], self._fold([expr]))[0]

    def _can_spread(self, expr: ArgReduce) -> bool:
        return False

    def _serial(self, expr: ArgReduce, count: int) -> Value:
        """The turn of the first largest value, one turn after the other."""
        type = vector_type(self.index_type, count)
        start = self._start(expr, count, self.e.const(type, 0))

        def better(carry: list[Value]) -> list[Value]:
            turn = self.scope.variable(expr.loop)
            turn = self.e.splat(turn, count) if count else turn
            value = self.value(expr.body)
            value = self.e.splat(value, count) if count and not value.lanes else value
            return self._keep(expr, carry, [value, turn])

        return self._nest([expr.loop], [expr.body], start, better)[1]

    def combined(self, expr: Reduce, a: Value, b: Value) -> Value:
        """Two partial results as one."""
        return self.combine(expr, a, b)


def _raw(e: PtxEmitter, dtype, value: Value) -> Value:
    """A computed vector as memory holds it."""
    from ..scalar import to_memory

    raw = to_memory(e, value, dtype.name)
    return e.convert("bitcast", raw, "i16") if dtype.name == "bfloat16" else raw


def _computed(e: PtxEmitter, dtype, raw: Value) -> Value:
    """A loaded vector in the type that is computed in."""
    from ..scalar import from_memory

    raw = e.convert("bitcast", raw, "bfloat") if dtype.name == "bfloat16" else raw
    return from_memory(e, raw, dtype.name)


__all__ = ["GpuExpressions", "emit_scalar", "index_type", "is_aligned"]
