"""Recognizes sums of products in kernels: matmul, the convolutions, whatever has their form.

    y[i, j] = f(sum over k.. of a(batch.., i.., k..) * b(batch.., j.., k..), i, j)

The loops are sorted by which operand reads them and joined: one loop each for the batch, the rows
(of a), the columns (of b) and the depth. What an index needs of the old loops it finds by division,
which the index algebra takes away again wherever an operand is walked evenly.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod

from nncomp.ir.index import Index, Quotient, Remainder, Var, unravel
from nncomp.ir.kernel_builder import KernelBuilder
from nncomp.ir.loops import (
    Accumulator,
    ArgReduce,
    Call,
    Const,
    Expr,
    InRange,
    Kernel,
    Load,
    Reduce,
    Store,
    index_reads,
    roots_of,
    walk,
)
from nncomp.ir.types import DType, bool_

from .phases import Deciding, find_phases

PRODUCTS = frozenset(("matmul", "conv", "conv_transpose", "conv_weight"))
SECTOR = 8  # floats that memory gives at once
INDEX_LIMIT = 1 << 31  # elements of a buffer that 32-bit offsets reach


@dataclass(frozen=True)
class Operand:
    """One factor over (batch, its side, depth): read from memory as it lies, or computed.

    `load` is None for one that must be computed; `guard` says where it is 0 instead.
    """

    value: Expr
    load: Load | None
    guard: Expr | None
    side: Var
    depth: Var
    near: str = ""  # side | depth: along which neighbours mostly are neighbours in memory

    @property
    def dtype(self) -> DType:
        """Of what is put into shared memory: narrow floats stay narrow until multiplied."""
        return self.load.dtype if self.load else self.value.dtype

    @property
    def steps(self) -> tuple[int, int]:
        """Elements from neighbour to neighbour along the side and the depth; 0 if uneven."""
        if self.load is None:
            return 0, 0
        offset, guarded = self.load.offset, self.guard.vars if self.guard else frozenset()
        found = (
            offset.coefficient(v) if offset.is_affine_in(v) and v not in guarded else 0
            for v in (self.side, self.depth)
        )
        along_side, along_depth = found
        return along_side, along_depth


@dataclass(frozen=True)
class Product:
    """A kernel's one sum of products; `stores` are written once per (batch, row, column)."""

    kernel: Kernel
    batch: Var
    rows: Var
    columns: Var
    depth: Var
    a: Operand
    b: Operand
    dtype: DType  # of the factors, as multiplied
    accumulator: Accumulator
    stores: tuple[Store, ...]
    valid: Expr | None = None  # which (batch, row, column) there are; None: all

    def swapped(self) -> Product:
        """The same with rows for columns."""
        return Product(
            self.kernel, self.batch, self.columns, self.rows, self.depth, self.b, self.a,
            self.dtype, self.accumulator, self.stores, self.valid,
        )  # fmt: skip


def find_product(kernel: Kernel) -> Product | None:
    """The sum of products `kernel` is built around; None if it is anything else.

    The columns are the side along which neighbours of the first result lie nearest.
    """
    if kernel.kind != "map":
        return None
    total = _only_sum(kernel)
    if total is None or not isinstance(total.body, Call) or total.body.name != "mul":
        return None
    if any(s.vars != frozenset(kernel.domain) for s in kernel.stores):
        return None
    if total.vars != frozenset(kernel.domain) or _reads_indices(kernel):
        return None
    if any(b.type.size >= INDEX_LIMIT for b in kernel.buffers):
        return None
    return _Sides(kernel, total).product()


def _only_sum(kernel: Kernel) -> Reduce | None:
    reductions = [
        x for x in walk(roots_of(kernel.stores)) if isinstance(x, (Reduce, ArgReduce, Accumulator))
    ]
    if len(reductions) != 1 or not isinstance(reductions[0], Reduce):
        return None
    (total,) = reductions
    return total if total.combine == "add" else None


def _reads_indices(kernel: Kernel) -> bool:
    """Whether places depend on data."""
    values = walk(roots_of(kernel.stores))
    indices = [s.offset for s in kernel.stores]
    indices += [x.offset for x in values if isinstance(x, Load)]
    return any(index_reads(i) for i in indices)


class _Sides:
    """Sorts the loops of a sum of products."""

    def __init__(self, kernel: Kernel, total: Reduce):
        self.kernel, self.total = kernel, total
        self.factors: Sequence[Expr] = total.body.args  # type: ignore[attr-defined]
        self.phases = find_phases(self.factors, kernel.domain, total.loops)
        phases = self.phases.domain
        self.loops = [v for old in kernel.domain for v in phases.get(old, (old,))]
        self.depth = [self.phases.depth.get(v, v) for v in total.loops]
        self.new = {v: Index.of(v) for v in kernel.domain} | self.phases.new

    def product(self) -> Product | None:
        k = KernelBuilder()
        factors = self._rebuilt(k, self.factors)
        for _ in self.kernel.domain:
            cut = self._cut(factors)
            if cut is None:
                break
            factors = self._rebuilt(k, self.factors)
        x, y = (f.vars for f in factors)
        if self.phases.exists:  # both factors are 0 where a term does not exist
            gaps = frozenset(v for test in self.phases.exists for v in test.vars)
            x, y = x | gaps, y | gaps
        shared = [v for v in self.loops if v in x and v in y]
        rows = [v for v in self.loops if v in x and v not in y]
        columns = [v for v in self.loops if v in y and v not in x]
        return self._joined(k, shared, rows, columns)

    def _cut(self, factors: Iterable[Expr]) -> tuple[Var, int] | None:
        """Cut a loop that both factors read, where one of them only reads its quotient."""
        x, y = (f.vars for f in factors)
        for var in self.loops:
            if var not in x or var not in y:
                continue
            for by in _divisors(factors, var):
                if var.extent % by == 0 and 1 < by < var.extent:
                    outer, inner = Var(f"{var.name}o", var.extent // by), Var(f"{var.name}i", by)
                    place = self.loops.index(var)
                    self.loops[place : place + 1] = [outer, inner]
                    parts = Index.of(outer) * by + Index.of(inner)
                    self.new = {v: i.substitute({var: parts}) for v, i in self.new.items()}
                    return var, by
        return None

    def _rebuilt(self, k: KernelBuilder, values: Iterable[Expr]) -> list[Expr]:
        rebuilder = Deciding(k, self.new)
        return [rebuilder.value(x) for x in values]

    def _joined(self, k: KernelBuilder, shared, rows, columns) -> Product:
        joined: list[Var] = []
        new: dict[Var, Index] = {}
        groups = zip(
            ("batch", "row", "column", "depth"),
            (shared, rows, columns, self.depth),
            strict=True,
        )
        for name, loops in groups:
            var = Var(name, prod(v.extent for v in loops))
            parts = unravel(Index.of(var), tuple(v.extent for v in loops))
            new.update(zip(loops, parts, strict=True))
            joined.append(var)
        whole = {v: i.substitute(new) for v, i in self.new.items()}
        whole |= {v: new[v] for v in self.total.loops if v in new}
        batch, row, column, depth = joined
        rebuilder = Deciding(k, whole)
        accumulator = Accumulator(self.total.dtype, (batch, row, column))
        a, b = (rebuilder.value(f) for f in self.factors)
        rebuilder.instead[id(self.total)] = accumulator
        stores = tuple(map(rebuilder.store, self.kernel.stores))
        exists = self._tests(k, self.phases.exists, new)
        left, right = (
            _operand(k, value, exists, side, depth, _near(factor, loops, self.depth))
            for value, side, factor, loops in zip(
                (a, b), (row, column), self._rebuilt(k, self.factors), (rows, columns), strict=True
            )
        )
        found = Product(
            self.kernel, batch, row, column, depth, left, right, self.total.dtype, accumulator,
            stores, self._tests(k, self.phases.valid, new),
        )  # fmt: skip
        offset = self.kernel.stores[0].offset.substitute(self.new)
        along = [abs(_step(offset, loops)) or INDEX_LIMIT for loops in (rows, columns)]
        return found.swapped() if along[0] < along[1] else found


    @staticmethod
    def _tests(k: KernelBuilder, tests: Iterable[InRange], new: dict[Var, Index]) -> Expr | None:
        """All of the tests, in terms of the joined loops."""
        whole: Expr = k.const(True, bool_)
        for test in tests:
            index = test.index.substitute(new)
            low, high = index.range
            if low < test.low or high >= test.high:
                whole = k.both(whole, InRange(index, test.low, test.high, bool_))
        return None if isinstance(whole, Const) else whole


def _step(offset: Index, loops: Sequence[Var]) -> int:
    """Elements from one turn of the innermost loop to the next, 0 if uneven."""
    if not loops or not offset.is_affine_in(loops[-1]):
        return 0
    return offset.coefficient(loops[-1])


def _near(factor: Expr, side: Sequence[Var], depth: Sequence[Var]) -> str:
    """Along which of its loops more of a factor's elements lie in one sector of memory."""
    loads = [x for x in walk([factor]) if isinstance(x, Load)]
    if not loads:
        return "side"
    shares = [0.0, 0.0]
    for k, loops in enumerate((side, depth)):
        step = abs(_step(loads[0].offset, loops))
        shares[k] = min(loops[-1].extent, SECTOR) / step if step else 0.0
    return "side" if shares[0] >= shares[1] else "depth"


def _divisors(values: Iterable[Expr], var: Var) -> list[int]:
    """Numbers by which the values divide the loop variable `var` itself."""
    found: dict[int, None] = {}
    indices: list[Index] = []
    for x in walk(values):
        if isinstance(x, Load):
            indices.append(x.offset)
        elif isinstance(x, InRange):
            indices.append(x.index)
    while indices:
        for atom, _ in indices.pop().terms:
            if isinstance(atom, (Quotient, Remainder)):
                if atom.of == Index.of(var):
                    found[atom.by] = None
                indices.append(atom.of)
    return sorted(found)


def _operand(
    k: KernelBuilder, value: Expr, exists: Expr | None, side: Var, depth: Var, near: str
) -> Operand:
    """The factor, 0 where it does not exist, as a guarded load if it is one."""
    found = _plain(value, side, depth, near)
    if exists is None:
        return found
    zero = k.const(0, value.dtype)
    if found.load is None:
        return Operand(k.select(exists, value, zero), None, None, side, depth, near)
    guard = k.both(found.guard, exists) if found.guard else exists
    load = Load(found.load.buffer, found.load.offset, guard)
    value = k.select(guard, k.cast(load, value.dtype), zero)
    return Operand(value, load, guard, side, depth, near)


def _plain(value: Expr, side: Var, depth: Var, near: str) -> Operand:
    """The factor with widening casts taken off."""
    core = value
    while isinstance(core, Call) and core.name == "cast":
        if not _widens(core.args[0].dtype, core.dtype):
            break
        core = core.args[0]
    if isinstance(core, Load) and _is_index_test(core.guard):
        return Operand(value, core, core.guard, side, depth, near)
    if isinstance(core, Call) and core.name == "select":
        condition, inside, outside = core.args
        is_zero = isinstance(outside, Const) and outside.value == 0
        if is_zero and isinstance(inside, Load) and inside.guard is condition:
            if _is_index_test(condition):
                return Operand(value, inside, condition, side, depth, near)
    return Operand(value, None, None, side, depth, near)


def _widens(narrow: DType, wide: DType) -> bool:
    return narrow.kind == wide.kind == "f" and narrow.itemsize == 2 and wide.name == "float32"


def _is_index_test(guard: Expr | None) -> bool:
    """Whether a condition is made of comparisons of indices alone."""
    if guard is None or isinstance(guard, InRange):
        return True
    return isinstance(guard, Call) and guard.name == "bitwise_and" and all(
        map(_is_index_test, guard.args)
    )
