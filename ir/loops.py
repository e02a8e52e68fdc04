"""The kernel level: scalar expressions over loop variables and buffers.

A `Kernel` computes its stores for every point of its `domain`. Expressions are immutable and shared
(equal ones are one object), so what is computed once is written once; a `Reduce` binds loop
variables of its own. Nothing here knows vectors, threads or a device: backends choose those.

    kernel rows(x: f32[8,128], out y: f32[8,128]) over i0<8, i1<128 {
      y[128*i0 + i1] = div(exp(sub(x[...], max_{i1<128} x[...])), ...)
    }
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .digest import blake2b
from .index import Index, Var
from .types import DType, TensorType


class Expr:
    """A scalar value; `vars` are the loop variables it depends on. Compare with `is`."""

    __slots__ = ("dtype", "vars", "_signature")
    dtype: DType
    vars: frozenset[Var]
    _signature: str

    @property
    def operands(self) -> tuple[Expr, ...]:
        """Expressions this one is computed from, those inside index expressions included."""
        return ()

    def show(self, name: Naming) -> str:
        """Its text, with `name(x)` for each operand x."""
        raise NotImplementedError

    def __str__(self) -> str:
        return self.show(lambda x: x.show(lambda _: ".."))

    @property
    def signature(self) -> str:
        """Equal for equal expressions, in every process."""
        for x in walk([self]):
            if getattr(x, "_signature", None) is None:
                text = f"{type(x).__name__} {x.dtype.name} {x.show(lambda y: y._signature)}"
                x._signature = blake2b(text.encode(), digest_size=8).hexdigest()
        return self._signature


Naming = Callable[[Expr], str]


class Const(Expr):
    __slots__ = ("value",)

    def __init__(self, value, dtype: DType):
        self.value, self.dtype, self.vars = value, dtype, frozenset()

    def show(self, name: Naming) -> str:
        return str(self.value)


class FromIndex(Expr):
    """The integer value of an index expression, as int64."""

    __slots__ = ("index",)

    def __init__(self, index: Index, dtype: DType):
        self.index, self.dtype, self.vars = index, dtype, index.vars

    @property
    def operands(self):
        return index_reads(self.index)

    def show(self, name: Naming) -> str:
        return f"({self.index.show(name)})"


class InRange(Expr):
    """bool: low <= index < high; with `step` also (index - low) % step == 0."""

    __slots__ = ("index", "low", "high")

    def __init__(self, index: Index, low: int, high: int, dtype: DType):
        self.index, self.low, self.high = index, low, high
        self.dtype, self.vars = dtype, index.vars

    @property
    def operands(self):
        return index_reads(self.index)

    def show(self, name: Naming) -> str:
        return f"({self.low} <= {self.index.show(name)} < {self.high})"


class Load(Expr):
    """Element `offset` of a buffer; where the bool `guard` is false it is not read and gives 0."""

    __slots__ = ("buffer", "offset", "guard")

    def __init__(self, buffer: Buffer, offset: Index, guard: Expr | None):
        self.buffer, self.offset, self.guard = buffer, offset, guard
        self.dtype = buffer.type.dtype
        self.vars = offset.vars | (guard.vars if guard else frozenset())

    @property
    def operands(self):
        return (*index_reads(self.offset), *((self.guard,) if self.guard else ()))

    def show(self, name: Naming) -> str:
        guard = f" if {name(self.guard)}" if self.guard else ""
        return f"{self.buffer.name}[{self.offset.show(name)}]{guard}"


class Call(Expr):
    """A scalar operation by name (backends.scalar knows them all)."""

    __slots__ = ("name", "args")

    def __init__(self, name: str, args: tuple[Expr, ...], dtype: DType):
        self.name, self.args, self.dtype = name, args, dtype
        self.vars = frozenset().union(*(a.vars for a in args)) if args else frozenset()

    @property
    def operands(self):
        return self.args

    def show(self, name: Naming) -> str:
        return f"{self.name}({', '.join(map(name, self.args))})"


class Reduce(Expr):
    """`combine` (add, mul, maximum) of `body` over all values of the bound `loops`."""

    __slots__ = ("combine", "loops", "body")

    def __init__(self, combine: str, loops: tuple[Var, ...], body: Expr):
        self.combine, self.loops, self.body = combine, loops, body
        self.dtype, self.vars = body.dtype, body.vars - frozenset(loops)

    @property
    def operands(self):
        return (self.body,)

    def show(self, name: Naming) -> str:
        bound = ",".join(f"{v}<{v.extent}" for v in self.loops)
        return f"{self.combine}_{{{bound}}} {name(self.body)}"


class ArgReduce(Expr):
    """`position` (int64) at the first largest `body` over the bound `loop`; nan counts as largest.
    """

    __slots__ = ("loop", "body", "position")

    def __init__(self, loop: Var, body: Expr, position: Expr):
        self.loop, self.body, self.position = loop, body, position
        self.dtype = position.dtype
        self.vars = (body.vars | position.vars) - {loop}

    @property
    def operands(self):
        return self.body, self.position

    def show(self, name: Naming) -> str:
        where = f"{self.loop}<{self.loop.extent}"
        return f"argmax_{{{where}}} {name(self.body)} at {name(self.position)}"


class Accumulator(Expr):
    """The finished sum of the contraction a kernel is built around, at the current position; of one
    whose columns are read in parts (see parts.py) that of part number `part`.
    """

    __slots__ = ("part",)

    def __init__(self, dtype: DType, loops: tuple[Var, ...], part: int = 0):
        self.dtype, self.vars, self.part = dtype, frozenset(loops), part

    def show(self, name: Naming) -> str:
        return f"acc.{self.part}" if self.part else "acc"


@dataclass(frozen=True)
class Buffer:
    """A dense row-major array a kernel reads or writes; `slot` is its place in the argument list.
    """

    name: str
    slot: int
    type: TensorType


@dataclass(frozen=True)
class Contract:
    """The contraction of a kernel: operand buffers, the loop per result axis, and its strides."""

    a: Buffer
    b: Buffer
    loops: tuple[Var | None, ...]  # None for an axis of length 1
    geometry: dict[str, Any]  # attributes of the `contract` op
    sums: tuple[Buffer, ...] = ()  # of the quadrants of a and b
    made: Buffer | None = None  # for the sums of the quadrants of the first result

    def show(self, name: Naming) -> str:
        axes = ",".join(str(v) if v else "1" for v in self.loops)
        operands = ", ".join(x.name for x in (self.a, self.b, *self.sums))
        return f"acc[{axes}] = contract({operands}, {self.geometry})"


@dataclass(frozen=True)
class Slide:
    """The sliding window of a kernel: operand buffers, the loop per result axis, its geometry."""

    name: str  # of the op: depthwise, group_conv, window_conv, window_max
    a: Buffer
    b: Buffer | None  # the weights
    loops: tuple[Var | None, ...]  # None for an axis of length 1
    geometry: dict[str, Any]  # attributes of the op

    def show(self, name: Naming) -> str:
        axes = ",".join(str(v) if v else "1" for v in self.loops)
        operands = ", ".join(x.name for x in (self.a, self.b) if x)
        return f"acc[{axes}] = {self.name}({operands}, {self.geometry})"


@dataclass(frozen=True)
class Attend:
    """The geometry of an attention kernel; its buffers are q, k, v, the mask if any, the result.

    That of its gradients has the result's gradient between v and the mask.
    """

    geometry: dict[str, Any]  # attributes of the op

    def show(self, name: Naming) -> str:
        return f"attention({self.geometry})"


@dataclass(frozen=True)
class Scatter:
    """For every `entry`: put `source` at line `index` of the result, or combine it with what is
    there.
    """

    line: Var
    entry: Var
    index: Expr
    source: Expr
    combine: str  # put | add | mul | maximum | minimum

    def show(self, name: Naming) -> str:
        loop = f"{self.entry}<{self.entry.extent}"
        return f"{self.combine} {name(self.source)} at {self.line} = {name(self.index)} for {loop}"


@dataclass(frozen=True)
class Rows:
    """Which buffers (by slot) of a kernel over blocks of rows get sums over the rows of a block."""

    sums: frozenset[int]

    def show(self, name: Naming) -> str:
        return f"sums over i in {', '.join(f'slot {s}' for s in sorted(self.sums))}"


@dataclass(frozen=True)
class Sort:
    """The rows of `a` along `axis` are put in order; the result is where their elements were."""

    a: Buffer
    axis: int
    descending: bool

    def show(self, name: Naming) -> str:
        way = "descending" if self.descending else "ascending"
        return f"argsort({self.a.name}, axis={self.axis}, {way})"


@dataclass(frozen=True)
class Store:
    """buffer[offset] = value at every point of the domain that `offset` depends on."""

    buffer: Buffer
    offset: Index
    value: Expr

    @property
    def vars(self) -> frozenset[Var]:
        return self.offset.vars | self.value.vars

    @property
    def roots(self) -> tuple[Expr, ...]:
        """What must be computed for it: the value, and data that the offset depends on."""
        return self.value, *index_reads(self.offset)

    def show(self, name: Naming) -> str:
        return f"{self.buffer.name}[{self.offset.show(name)}] = {name(self.value)}"

    def __str__(self) -> str:
        return self.show(str)


@dataclass(frozen=True, eq=False)
class Kernel:
    """One compiled unit: `kind` says which code generator runs it, `extra` is what that one needs.
    """

    name: str
    kind: str  # map | rows | contract | window | attention | scatter | sort
    buffers: tuple[Buffer, ...]
    outputs: int  # the last `outputs` buffers are written
    domain: tuple[Var, ...]
    stores: tuple[Store, ...]
    extra: Any = field(default=None)

    def __str__(self) -> str:
        from .kernel_text import kernel_text

        return kernel_text(self)


def index_reads(index: Index) -> tuple[Expr, ...]:
    """The data-dependent parts of an index expression."""
    out: list[Expr] = []
    for atom, _ in index.terms:
        inner = getattr(atom, "of", None)
        if inner is not None:
            out.extend(index_reads(inner))
        elif hasattr(atom, "value"):
            out.append(atom.value)
    return tuple(out)


def roots_of(stores) -> list[Expr]:
    return [root for s in stores for root in s.roots]


def walk(roots) -> list[Expr]:
    """Every expression reachable from `roots`, operands first, each once."""
    order: list[Expr] = []
    seen: set[int] = set()
    stack: list[tuple[Expr, bool]] = [(r, False) for r in roots]
    while stack:
        expr, ready = stack.pop()
        if ready:
            order.append(expr)
        elif id(expr) not in seen:
            seen.add(id(expr))
            stack.append((expr, True))
            stack.extend((x, False) for x in expr.operands)
    return order
