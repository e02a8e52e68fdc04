"""How many neighbours one thread takes at once: what 16 bytes hold, where all accesses allow it."""

from __future__ import annotations

from collections.abc import Iterable

from nncomp.ir.index import Index, Var
from nncomp.ir.loops import Expr, Load, Store, walk

from .expressions import is_aligned

BYTES = 16
MOST = 8


def lanes_for(lane: Var, stores: Iterable[Store], values: Iterable[Expr] = ()) -> int:
    """Elements per thread along `lane`, 1 if any access to memory would have to be taken apart."""
    stores = tuple(stores)
    roots = [r for s in stores for r in s.roots] + list(values)
    accesses = [(x.offset, x.dtype.itemsize) for x in walk(roots) if isinstance(x, Load)]
    accesses += [(s.offset, s.buffer.type.dtype.itemsize) for s in stores]
    touching = [(i, size) for i, size in accesses if lane in i.vars]
    if not touching:
        return 1
    count = min(BYTES // max(size for _, size in touching), MOST)
    while count > 1 and not _fits(lane, count, touching):
        count //= 2
    return count


def _fits(lane: Var, count: int, touching: list[tuple[Index, int]]) -> bool:
    if lane.extent % count:
        return False
    return all(is_aligned(index, lane, count) for index, _ in touching)
