"""Index arithmetic that folds at compile time what is already known.

An `Index` is a Python int or an i64 `Value` of the function being written. Every helper gives an
int back whenever it can, so a kernel of static shape holds only the arithmetic that really depends
on run-time numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from nncomp.backends.llvm import Emitter, Value

Index = Value | int


def value(index: Index) -> Value:
    """The index as an operand."""
    return index if isinstance(index, Value) else Value(str(index), "i64")


def add(e: Emitter, a: Index, b: Index) -> Index:
    if isinstance(a, int) and isinstance(b, int):
        return a + b
    if a == 0 or b == 0:
        return a if b == 0 else b
    return e.binary("add nsw", value(a), value(b), "x")


def mul(e: Emitter, a: Index, b: int) -> Index:
    if isinstance(a, int):
        return a * b
    if b in (0, 1):
        return a if b else 0
    return e.binary("mul nsw", a, value(b), "x")


def low(e: Emitter, a: Index, b: Index) -> Index:
    """The smaller one."""
    if isinstance(a, int) and isinstance(b, int):
        return min(a, b)
    return e.intrinsic("smin", value(a), value(b), hint="x")


def high(e: Emitter, a: Index, b: Index) -> Index:
    """The larger one."""
    if isinstance(a, int) and isinstance(b, int):
        return max(a, b)
    return e.intrinsic("smax", value(a), value(b), hint="x")


def dot(e: Emitter, indices: Sequence[Index], strides: Sequence[int]) -> Index:
    """Sum of index * stride, the known part folded into one constant."""
    known, total = 0, 0
    for index, stride in zip(indices, strides, strict=True):
        if isinstance(index, int):
            known += index * stride
        else:
            total = add(e, total, mul(e, index, stride))
    return add(e, total, known)


def unravel(e: Emitter, index: Index, extents: Sequence[int]) -> list[Index]:
    """The row-major digits of a flat index; digits of extent 1 are the int 0."""
    digits: list[Index] = [0] * len(extents)
    moving = [i for i, extent in enumerate(extents) if extent > 1]
    for place, i in reversed(list(enumerate(moving))):
        extent = extents[i]
        if place == 0:
            digits[i] = index
        elif isinstance(index, int):
            index, digits[i] = divmod(index, extent)
        else:
            digits[i] = e.binary("urem", index, value(extent), "x")
            index = e.binary("udiv", index, value(extent), "x")
    return digits


def each(
    e: Emitter,
    begin: Index,
    end: Index,
    body: Callable[[Index], None],
    hint: str = "i",
    down: Value | None = None,
) -> None:
    """`for i in range(begin, end): body(i)`, with no loop around a count known to be 0 or 1.

    Where `down` (an i1) is given and true, from the last one down.
    """
    if isinstance(begin, int) and isinstance(end, int) and end - begin <= 1:
        if begin < end:
            body(begin)
        return
    with e.loop(value(begin), value(end), hint=hint) as loop:
        i = loop.index
        if down is not None:
            last = add(e, add(e, begin, end), -1)
            i = e.select(down, e.binary("sub", value(last), i, hint), i, hint)
        body(i)


@contextmanager
def each_unit(e: Emitter, begin: Value, end: Value) -> Iterator[tuple[Value, Value]]:
    """The loop over units begin..end, or with begin > end over end..begin from the last one down:
    the unit, and whether it goes down.
    """
    down = e.binary("icmp sgt", begin, end, "down")
    one, minus = value(1), value(-1)
    first = e.select(down, e.binary("add", begin, minus), begin, "first")
    step = e.select(down, minus, one, "step")
    count = e.binary("mul", e.binary("sub", end, begin), step, "count")
    with e.loop(0, count, hint="unit") as loop:
        yield e.binary("add", first, e.binary("mul", loop.index, step), "unit"), down
