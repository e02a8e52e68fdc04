"""How a map kernel walks its loops: units that threads share, vector lanes, serial loops.

Chosen from the access patterns: loops that all results and reductions depend on come first, so that
nothing is computed twice; the loop that walks most memory contiguously runs over the lanes.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from nncomp.ir.collapse import merge, merge_reductions
from nncomp.ir.cost import scalar_cost
from nncomp.ir.index import Index, Var
from nncomp.ir.loops import ArgReduce, Call, Kernel, Load, Reduce, Store, roots_of, walk

CHUNK, LEAST = 2048, 128  # elements of the lane loop in one unit of work, and where each is slow
PLAIN = 8  # vector instructions for an element that are nothing special
COLUMNS = 256  # the same where each is the result of a reduction


@dataclass(frozen=True)
class Schedule:
    """`rows` are flattened and shared between threads; in each, `loops` are nested in order.

    `lane` is one of the loops (None: reductions run over the lanes instead). If it is the only one
    it may be cut into units. `scratch` is computed first in every row.
    """

    rows: tuple[Var, ...]
    loops: tuple[Var, ...]
    lane: Var | None
    stores: tuple[Store, ...]
    chunk: int = 0  # elements of the lane loop in one unit; 0: all
    scratch: tuple[Store, ...] = ()

    @property
    def units(self) -> int:
        return prod(v.extent for v in self.rows) * self.chunks

    @property
    def chunks(self) -> int:
        """In how many units the lane loop of a row is cut."""
        return -(-self.lane.extent // self.chunk) if self.lane and self.chunk else 1


def make_schedule(kernel: Kernel) -> Schedule:
    """Choose loop order and lane variable; a kernel without elements has no units."""
    stores = kernel.stores
    if not any(s.buffer.type.size for s in stores):
        return Schedule((Var("none", 0),), (), None, stores)
    shared = _shared_loops(kernel.domain, stores)
    order = [v for v in kernel.domain if v in shared]
    order += [v for v in kernel.domain if v not in shared]
    order, stores = merge(order, stores)
    stores = merge_reductions(stores)
    shared = _shared_loops(order, stores)
    lane = _lane_variable(order, stores)
    rows = tuple(v for v in order if v in shared and v != lane)
    first = (lane,) if lane in shared else ()
    loops = (*first, *(v for v in order if v not in shared))
    chunk = (COLUMNS if _reduces(stores) else _chunk(stores)) if first else 0
    return Schedule(rows, loops, lane, stores, chunk)


def _chunk(stores) -> int:
    """Elements of a unit: fewer where each is much work, but whole vectors."""
    work = sum(scalar_cost(x.name) for x in walk(roots_of(stores)) if isinstance(x, Call))
    chunk = CHUNK
    while chunk > LEAST and chunk * work > CHUNK * PLAIN:
        chunk //= 2
    return chunk


def _reduces(stores) -> bool:
    return any(isinstance(x, (Reduce, ArgReduce)) for x in walk(roots_of(stores)))


def _shared_loops(domain, stores) -> set[Var]:
    """Loops that every result and every reduction depends on."""
    shared = set(domain)
    for s in stores:
        shared &= s.vars
    for x in walk(roots_of(stores)):
        if isinstance(x, (Reduce, ArgReduce)):
            shared &= x.vars
    return shared


def _lane_variable(order: list[Var], stores) -> Var | None:
    """The loop that walks most memory contiguously; None to vectorize the reductions instead."""
    best, best_score = None, 0.0
    for var in order:
        score = sum(_store_score(s, var) for s in stores)
        for x in walk(roots_of(stores)):
            if isinstance(x, Load) and var in x.offset.vars:
                score += _step_score(x.offset, var) * _repeats(x)
        if score >= best_score and score > 0:
            best, best_score = var, score
    return best


def _store_score(store: Store, var: Var) -> float:
    return _step_score(store.offset, var) * 2 if var in store.offset.vars else 0.0


def _step_score(index: Index, var: Var) -> float:
    if not index.is_affine_in(var):
        return -0.5
    return 1.0 if index.coefficient(var) == 1 else -1.0


def _repeats(load: Load) -> float:
    """Loads inside reductions run once per turn: they weigh more than a store."""
    bound = [v for v in load.vars if v.name.startswith("r")]
    return float(min(prod(v.extent for v in bound), 64)) if bound else 1.0
