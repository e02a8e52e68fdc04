"""How an attention kernel is cut: units of work, register tiles, scratch.

A unit is a block of queries of one head. Its scores lie transposed in scratch, a row of queries for
each key: then the softmax runs down the rows with a query per lane, and neither k nor v is copied.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

from .target import Target

MAX_SCRATCH = 256 * 1024  # bytes on the stack of a thread
MAX_ROWS = 14  # keys of a tile
FLOAT = 4


class Walk(NamedTuple):
    """The attributes of an `attention` node by name."""

    batch: tuple[tuple[int, ...], ...]
    rows: tuple[int, int, int]
    keys: tuple[int, int, int, int]
    depth: tuple[int, int]
    width: int
    starts: tuple[int, int, int, int]
    scale: float
    causal: bool
    safe: bool
    drop: tuple = ()


@dataclass(frozen=True)
class AttentionPlan:
    """Sizes in vectors of `lanes` and in rows."""

    walk: Walk
    lanes: int
    query_vectors: int  # of a block of queries
    key_rows: int  # of a tile of scores: keys by query_vectors
    result_rows: int  # of a tile of results: queries by result_vectors
    result_vectors: int

    @property
    def block(self) -> int:
        """Queries of one unit."""
        return self.lanes * self.query_vectors

    @property
    def blocks(self) -> int:
        return -(-self.walk.rows[0] // self.block)

    @property
    def units(self) -> int:
        return prod(e for e, *_ in self.walk.batch) * self.blocks

    @property
    def scratch(self) -> int:
        """Bytes of the queries and the scores of a unit."""
        return self.block * (self.walk.depth[0] + self.walk.keys[0] + 1) * FLOAT

    @property
    def fits(self) -> bool:
        """Whether the scratch may lie on a stack."""
        return self.scratch <= MAX_SCRATCH

    @property
    def work(self) -> float:
        """Multiply-adds of one call."""
        w = self.walk
        return prod(e for e, *_ in w.batch) * w.rows[0] * w.keys[0] * (w.depth[0] + w.width)


def make_attention_plan(attrs: dict[str, Any], target: Target) -> AttentionPlan:
    """The plan for an `attention` node: wide blocks of queries if there are as many and they fit.
    """
    walk = Walk(**attrs)
    lanes, registers = target.vector_bits // 32, target.vector_registers
    most = 4 if lanes == 4 and registers == 32 else 2
    wide = _plan(walk, lanes, registers, most)
    if wide.fits and walk.rows[0] > wide.block // 2:
        return wide
    return _plan(walk, lanes, registers, 1)


@dataclass(frozen=True)
class GradientPlan(AttentionPlan):
    """The plan of the gradients: a unit is a head, which goes through blocks of queries."""

    @property
    def units(self) -> int:
        return prod(e for e, *_ in self.walk.batch)

    @property
    def scratch(self) -> int:
        w = self.walk
        return self.block * (w.depth[0] + w.width + 2 * w.keys[0] + 1) * FLOAT

    @property
    def work(self) -> float:
        w = self.walk
        return prod(e for e, *_ in w.batch) * w.rows[0] * w.keys[0] * (3 * w.depth[0] + 2 * w.width)


def make_gradient_plan(attrs: dict[str, Any], target: Target) -> GradientPlan:
    """The plan for an `attention_grad` node.

    Tiles of keys divide a block, so that the last one of a causal block ends where the block does.
    """
    walk = {name: attrs[name] for name in Walk._fields if name in attrs}
    plan = make_attention_plan(walk, target)
    sizes = vars(plan)
    while True:
        rows = max(r for r in (2, 4, 8) if r <= plan.key_rows or r == 2)
        made = GradientPlan(**sizes | {"key_rows": min(rows, plan.walk.keys[0])})
        if made.fits or sizes["query_vectors"] == 1:
            return made
        sizes = sizes | {"query_vectors": 1}


def _plan(walk: Walk, lanes: int, registers: int, vectors: int) -> AttentionPlan:
    most = min(MAX_ROWS, (registers - 1 - vectors) // vectors)
    keys = walk.keys[0]
    key_rows = -(-keys // -(-keys // most))
    columns = min(-(-walk.width // lanes), 4 if registers >= 32 else 2)
    return AttentionPlan(walk, lanes, vectors, key_rows, 4, columns)
