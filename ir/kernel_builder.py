"""Builds kernel expressions: the `k` that every op's `element` / `scalar` rule receives.

Equal expressions are one object (hash-consing), conditions that the index ranges decide disappear,
and reads under `guarded` carry their condition so that they never leave a buffer.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from typing import TYPE_CHECKING, Any

from . import index as indices
from .index import Index, Read, Var
from .loops import ArgReduce, Call, Const, Expr, FromIndex, InRange, Load, Reduce
from .op import attribute_key
from .types import bool_, int64

UNARY = ("neg abs exp log log1p expm1 sin cos tanh erf sqrt sigmoid floor round").split()
BINARY = (
    "add sub mul div pow maximum minimum remainder floor_divide atan2 bitwise_and bitwise_or "
    "bitwise_xor shift_left shift_right"
).split()
COMPARE = "eq lt le".split()


class KernelBuilder:
    """Makes and shares the expressions of one kernel."""

    def __init__(self, domain: tuple[Var, ...] = ()):
        self.domain = domain
        self._pool: dict[tuple, Expr] = {}
        self._guard: Expr | None = None
        self._depth = 0

    def _intern(self, key: tuple, make) -> Expr:
        found = self._pool.get(key)
        if found is None:
            found = self._pool[key] = make()
        return found

    # -- values ----------------------------------------------------------------------------------

    if TYPE_CHECKING:  # a method for each name in UNARY, BINARY and COMPARE: see the end

        def __getattr__(self, name: str) -> Any: ...

    def const(self, value, dtype) -> Expr:
        value = bool(value) if dtype.kind == "b" else value
        value = float(value) if dtype.kind == "f" else value
        if dtype.kind in "iu":
            value = int(value)
        key = ("const", attribute_key({"v": value}), dtype)
        return self._intern(key, lambda: Const(value, dtype))

    def lowest(self, dtype) -> Expr:
        """The value that loses every maximum."""
        if dtype.kind == "f":
            return self.const(float("-inf"), dtype)
        bits = 8 * dtype.itemsize
        return self.const(-(1 << (bits - 1)) if dtype.kind == "i" else 0, dtype)

    def call(self, name: str, *args: Expr, dtype=None) -> Expr:
        dtype = dtype or args[0].dtype
        key = (name, dtype, *map(id, args))
        return self._intern(key, lambda: Call(name, args, dtype))

    def select(self, condition: Expr, a: Expr, b: Expr) -> Expr:
        if isinstance(condition, Const):
            return a if condition.value else b
        return a if a is b else self.call("select", condition, a, b, dtype=a.dtype)

    def cast(self, x: Expr, dtype) -> Expr:
        return x if x.dtype is dtype else self.call("cast", x, dtype=dtype)

    def load(self, buffer, idx: tuple[Index, ...]) -> Expr:
        offset, guard = indices.linear(idx, buffer.type.shape), self._guard
        if guard is not None and not offset.vars & guard.vars and _is_inside(idx, buffer):
            guard = None  # so that what is the same in all lanes stays one number
        key = ("load", buffer, offset, id(guard))
        return self._intern(key, lambda: Load(buffer, offset, guard))

    def random_bits(self, seed: Expr, offset: Expr, at: Index) -> Expr:
        """Threefry-2x32-20 (see nncomp.ir.threefry) of element `at`, as int32."""
        from .types import int32

        return self.call("threefry", seed, offset, self.value_of(at), dtype=int32)

    # -- reductions ------------------------------------------------------------------------------

    def reduce(self, combine: str, extents, body, dtype) -> Expr:
        """`combine` over loops of the given extents; `body(indices)` gives the summand."""
        if 0 in extents:
            return self.const({"add": 0, "mul": 1}[combine], dtype)
        with self._loops(tuple(extents)) as (loops, idx):
            value = body(idx)
        loops = tuple(v for v in loops if v.extent > 1)
        if not loops:
            return value
        key = ("reduce", combine, loops, id(value))
        return self._intern(key, lambda: Reduce(combine, loops, value))

    def argmax(self, extent: int, at, position=None) -> Expr:
        """Index (or `position(index)`) of the first largest `at(index)`."""
        with self._loops((extent,)) as (loops, (i,)):
            value = at(i)
            where = self.value_of(position(i) if position else i)
        if not i.terms:
            return where
        key = ("argmax", loops, id(value), id(where))
        return self._intern(key, lambda: ArgReduce(loops[0], value, where))

    @contextmanager
    def _loops(self, extents: tuple[int, ...]):
        """Fresh loop variables; nesting depth and extent name them, so siblings share theirs."""
        self._depth += 1
        loops = tuple(Var(f"r{self._depth}_{j}", n) for j, n in enumerate(extents))
        try:
            yield loops, tuple(Index.of(v) for v in loops)
        finally:
            self._depth -= 1

    # -- index arithmetic ------------------------------------------------------------------------

    def index(self, value: int) -> Index:
        return Index((), value)

    def value_of(self, index: Index) -> Expr:
        if index.is_const:
            return self.const(index.const, int64)
        return self._intern(("index", index), lambda: FromIndex(index, int64))

    def as_index(self, value: Expr, bound: int) -> Index:
        """An index read from data, forced into range(bound) so that memory stays safe."""
        top = _largest(value.dtype)
        if value.dtype.kind != "u":
            value = self.call("maximum", value, self.const(0, value.dtype))
        if top >= bound:
            value = self.call("minimum", value, self.const(max(bound - 1, 0), value.dtype))
        return Index.of(Read(value, bound))

    def linear(self, idx, shape) -> Index:
        return indices.linear(tuple(idx), tuple(shape))

    def unravel(self, i: Index, shape) -> tuple[Index, ...]:
        return indices.unravel(i, tuple(shape))

    def reshape_index(self, idx, shape, to) -> tuple[Index, ...]:
        """The position in shape `to` of the element at `idx` in `shape`."""
        if 0 in to:
            return tuple(Index() for _ in to)
        found: list[Index] = []
        for old, new in _segments(tuple(shape), tuple(to)):
            found += indices.unravel(indices.linear(tuple(idx[old]), shape[old]), to[new])
        return tuple(found)

    # -- conditions ------------------------------------------------------------------------------

    def index_inside(self, i: Index, extent: int) -> Expr:
        """0 <= i < extent."""
        low, high = i.range
        if 0 <= low and high < extent:
            return self.const(True, bool_)
        if high < 0 or low >= extent or extent <= 0:
            return self.const(False, bool_)
        return self._intern(("inside", i, extent), lambda: InRange(i, 0, extent, bool_))

    def index_lt(self, a: Index, b: Index) -> Expr:
        """a < b."""
        difference = b - a  # a < b is 1 <= b - a
        low, high = difference.range
        if low >= 1:
            return self.const(True, bool_)
        if high < 1:
            return self.const(False, bool_)
        key = ("lt", difference)
        return self._intern(key, lambda: InRange(difference, 1, high + 1, bool_))

    def index_le(self, a: Index, b: Index) -> Expr:
        return self.index_lt(a, b + 1)

    def index_eq(self, a: Index, b: Index) -> Expr:
        return self.index_inside(a - b, 1)

    def both(self, a: Expr, b: Expr) -> Expr:
        for x, y in ((a, b), (b, a)):
            if isinstance(x, Const):
                return y if x.value else x
        return a if a is b else self.call("bitwise_and", a, b)

    def guarded(self, conditions, value, otherwise: Expr) -> Expr:
        """`value()` where all conditions hold; memory read inside it is not touched elsewhere."""
        condition = self.const(True, bool_)
        for c in conditions:
            condition = self.both(condition, c)
        if isinstance(condition, Const):
            return value() if condition.value else otherwise
        before = self._guard
        self._guard = self.both(before, condition) if before else condition
        try:
            inside = value()
        finally:
            self._guard = before
        return self.select(condition, inside, otherwise)


def _is_inside(idx: tuple[Index, ...], buffer) -> bool:
    """Whether a position cannot lie outside of the buffer."""
    ranges = zip((i.range for i in idx), buffer.type.shape, strict=True)
    return all(low >= 0 and high < n for (low, high), n in ranges)


def _segments(shape: tuple[int, ...], to: tuple[int, ...]) -> Iterator[tuple[slice, slice]]:
    """The axes of two shapes of one size, cut into the shortest runs of equal sizes: a position
    in one run says nothing of the others."""
    i = j = 0
    while i < len(shape) or j < len(to):
        first, second = i, j
        i, j = min(i + 1, len(shape)), min(j + 1, len(to))
        while (a := prod(shape[first:i])) != (b := prod(to[second:j])):
            i, j = (i + 1, j) if a < b else (i, j + 1)
        yield slice(first, i), slice(second, j)


def _largest(dtype) -> int:
    return (1 << (8 * dtype.itemsize - (dtype.kind == "i"))) - 1


def _scalar_method(name: str, dtype=None):
    def method(self, *args):
        return self.call(name, *args, dtype=dtype)

    method.__name__ = name
    return method


for _name in (*UNARY, *BINARY):
    setattr(KernelBuilder, _name, _scalar_method(_name))
for _name in COMPARE:
    setattr(KernelBuilder, _name, _scalar_method(_name, bool_))
