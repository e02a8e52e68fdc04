"""Where values are stored: lifetimes, and what may be written over what.

A value lives from the step that writes it to the last that reads it (offsets in the arena: see
arena.py). A map kernel may write over an operand that dies there if it reads it only at the element
it writes.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..kernels import KernelCall, stores_of
from ..loops import Kernel, Load, walk
from ..program import Place
from ..types import TensorType

ALIGN = 64


@dataclass(eq=False)
class Value:
    """A stored result: who writes it (-1: nobody here), who reads it last, where it is.

    With `base`, it is part of another value, `offset` bytes from its beginning.
    """

    type: TensorType
    place: Place | None = None
    base: Value | None = None
    offset: int = 0
    born: int = -1
    dies: int = -1
    shares: Value | None = None  # written over this one

    @property
    def root(self) -> Value:
        """The value whose memory this is (part of)."""
        value = self
        while value.base is not None:
            value = value.base
        return value

    @property
    def where(self) -> Place:
        """Its place, once all places are known."""
        value, offset = self, 0
        while value.base is not None:
            value, offset = value.base, offset + value.offset
        assert value.place is not None
        return value.place.moved(offset) if offset else value.place

    @property
    def is_whole(self) -> bool:
        """Whether it is all of its root, perhaps under another shape."""
        return self.type.nbytes == self.root.type.nbytes


def padded(nbytes: int) -> int:
    return -(-max(nbytes, 1) // ALIGN) * ALIGN


def share(calls, operands: list[Value], results: list[Value], step: int) -> None:
    """Let results of a step take over operands that die there."""
    taken: set[int] = set()
    for result in (r for r in results if r.place is None):
        for operand in operands:
            old = operand.root
            reusable = old.place is None and old.dies == step and 0 <= old.born < step
            if not reusable or id(old) in taken or not operand.is_whole:
                continue
            if reads_in_step(calls, operands, results, old, result):
                result.shares = old
                taken.add(id(old))
                first = first_of(result)
                first.dies = max(first.dies, result.dies)
                break


def first_of(value: Value) -> Value:
    """The value that this one, over several steps perhaps, is written over."""
    while value.shares is not None:
        value = value.shares
    return value


def reads_in_step(
    calls: tuple[KernelCall, ...],
    operands: list[Value],
    results: list[Value],
    old: Value,
    new: Value,
) -> bool:
    """Whether a step reads `old` only at the element of `new` that it writes right then."""
    if len(calls) != 1 or old.type.nbytes != new.type.nbytes:
        return False
    if old.type.dtype.itemsize != new.type.dtype.itemsize:
        return False
    kernel = calls[0].kernel
    reading = [k for k, v in enumerate(operands) if v.root is old]
    slots = {b.slot for b in kernel.buffers if calls[0].arguments[b.slot][0] in reading}
    if not _reads_by_stores(kernel, slots) or not all(operands[k].is_whole for k in reading):
        return False
    stores = stores_of(kernel, next(k for k, v in enumerate(results) if v is new))
    if len(stores) != 1:  # a concat has several, sums of quadrants have none
        return False
    (store,) = stores
    if kernel.kind == "rows" and store.buffer.slot in kernel.extra.sums:
        return False
    for s in kernel.stores:
        for x in walk(s.roots):
            if isinstance(x, Load) and x.buffer.slot in slots:
                if x.offset != store.offset or s.vars != store.vars:
                    return False
    return True


def _reads_by_stores(kernel: Kernel, slots: set[int]) -> bool:
    """Whether a kernel reads these buffers for the elements it stores, and in no other way."""
    if kernel.kind in ("contract", "winograd"):
        sums = kernel.extra.sums if kernel.kind == "contract" else ()
        return all(x.slot not in slots for x in (kernel.extra.a, kernel.extra.b, *sums))
    return kernel.kind in ("map", "rows")
