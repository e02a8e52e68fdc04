"""Contractions: one description for matmul, convolution and their gradients, and its plan.

    c[batch.., m.., n] = sum over k.. of a[batch.., m.., k..] * b[batch.., k.., n]

Every index is an affine walk over `a` and `b`, so a convolution over a padded NHWC image is the
same thing as a matmul: its rows are pixels, its k is (kh, kw, channel). `make_plan` chooses the
register tile and cuts the result into units of work; `contract_emit` writes the code.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple, Protocol

from .contract_units import CACHE, SECOND_CACHE, cut_units

PAIR = "i32"  # two bfloat16 terms, one beside the other
SIZES = {"float": 4, "double": 8, "half": 2, "bfloat": 2, PAIR: 4}
WAY, WAYS = 4096, 8  # first-level cache: bytes after which addresses meet again; lines that fit
PAGE = 4096
LARGE = 16 << 20  # bytes of an operand that the third-level cache hardly keeps
FIRST_CACHE = 16 * 1024  # bytes of b to keep in the first-level cache
# bytes of b a cycle that come from the second-level cache, and from beyond it: the first time, and
# again for each row tile
NEAR, FAR, AGAIN = 28, 25, 12
# bytes of a from which on no team keeps it near, so that each column tile fetches it again: at so
# many bytes a cycle, beside the work; cycles of a step are then so many at least
LARGE_LEFT, BESIDE, LEAST = 2 << 20, 80, 12
TRIED, EQUAL = 4, 1.02  # tilings that are cut into units: so many, this near to the best one
MAX_ROWS = 16  # limits of a tile, to keep the code small
MAX_VECTORS, MAX_PACKED_VECTORS = 16, 8  # wide rows of b in place are worth more than panels
PIECE = 256  # bytes of a row that an epilogue reads of several parts, or it waits for more lines
STREAM_NS = 40  # bytes a nanosecond from beyond, of one thread of many


class Target(Protocol):
    """What a plan needs to know of the machine."""

    vector_bits: int
    vector_registers: int


class Dim(NamedTuple):
    """An extent and its strides, in elements, into a and b."""

    extent: int
    a: int = 0
    b: int = 0


@dataclass(frozen=True)
class Contraction:
    """c[batch.., m.., n] = sum over k.. of a[batch.., m.., k..] * b[batch.., k.., n].

    `batch` strides both operands (groups of a convolution are a batch dim), `m` strides a, `k`
    strides both; columns are contiguous in b. With `panel` 0, b is used as it lies. With
    `panel` P > 0, b is packed in panels of P columns: column n lies at
    (n // P) * panel_stride + n % P, zero padded to a whole panel; so element (p, k, j) of packed b
    lies at p * panel_stride + k_linear * P + j and `k` strides b by multiples of P.
    `a_type`, `b_type` are LLVM scalar types; half and bfloat accumulate in float, and so do PAIRs
    of bfloat, of which an element holds two terms of the sum. Each tile is computed `products`
    times, from other parts of a and b; or of b alone, if these are `parts` of the columns. A
    `looped` one runs over and over with the same b. `c` is no part of it: finished values go to a
    callback.
    """

    batch: tuple[Dim, ...]
    m: tuple[Dim, ...]
    n: int
    k: tuple[Dim, ...]
    panel: int = 0
    panel_stride: int = 0
    a_type: str = "float"
    b_type: str = "float"
    products: int = 1
    parts: int = 1
    looped: bool = False

    @property
    def scalar(self) -> str:
        """The type of the accumulators."""
        return "double" if "double" in (self.a_type, self.b_type) else "float"

    @property
    def rows(self) -> int:
        return math.prod(d.extent for d in self.m)

    @property
    def depth(self) -> int:
        return math.prod(d.extent for d in self.k)

    @property
    def terms(self) -> int:
        """Products of numbers that a result is made of, one at least."""
        return max(self.depth, 1) * self.products


class Run(NamedTuple):
    """Equal tiles in a row: numbers first .. first + count - 1."""

    first: int
    count: int
    start: int  # index of the first tile's first element along the cut axis
    step: int  # elements of the cut axis from tile to tile
    live: int  # elements of a tile that exist (less than step only for the last columns)


class Merged(NamedTuple):
    """Neighbouring dims that walk as one, and the positions they had."""

    dim: Dim
    members: tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """How a contraction is cut: register tiles in runs of equal ones, and units of tiles."""

    spec: Contraction
    scalar: str
    lanes: int
    m: tuple[Merged, ...]
    k: tuple[Dim, ...]
    cut: int  # position in `m` of the dim that row tiles cut; later dims lie whole in a tile
    row_runs: tuple[Run, ...]
    column_runs: tuple[Run, ...]
    row_block: int  # tiles of one unit
    column_block: int
    rows_outer: bool  # unit numbers count columns fastest
    units: int
    nanoseconds: float = 0.0  # of all units on one thread, roughly
    loss: float = 0.0  # share of that which threads lose to unequal shares and to units

    @property
    def lines(self) -> int:
        """Times the cut dim is walked: the product of the extents before it."""
        return math.prod(d.dim.extent for d in self.m[: self.cut])

    @property
    def inner(self) -> int:
        """Rows of a tile for each index of the cut dim."""
        return math.prod(d.dim.extent for d in self.m[self.cut + 1 :])

    @property
    def row_tiles(self) -> int:
        return self.lines * sum(run.count for run in self.row_runs)

    @property
    def column_tiles(self) -> int:
        return sum(run.count for run in self.column_runs)

    @property
    def shares_rows(self) -> bool:
        """Whether the first units are the first rows: threads then share the rows."""
        batches = math.prod(d.extent for d in self.spec.batch)
        return self.rows_outer and self.row_block < self.row_tiles and batches == 1

    @property
    def row_bytes(self) -> int:
        """Bytes of a that a row tile reads."""
        rows = self.row_runs[0].live * self.inner
        return rows * self.spec.terms // self.spec.parts * SIZES[self.spec.a_type]

    @property
    def column_bytes(self) -> int:
        """Bytes of b that a column tile reads."""
        return self.column_runs[0].step * self.spec.terms * SIZES[self.spec.b_type]

    @property
    def tile_nanoseconds(self) -> float:
        """Of a tile at 3 GHz; or, for few rows, of the stream of b."""
        vectors = _vectors(self.column_runs[0].live, self.lanes)
        work = self.spec.terms * _cycles(self.row_runs[0].live * self.inner, vectors) / 3
        return max(work, self.column_bytes / STREAM_NS / self.row_tiles) + 20


def merge(dims: Sequence[Dim]) -> tuple[Merged, ...]:
    """Drop dims of extent 1 and join neighbours that are one walk; at least one dim is left."""
    merged: list[Merged] = []
    for i, dim in enumerate(dims):
        if dim.extent == 1:
            continue
        if merged:
            last, members = merged[-1]
            if (last.a, last.b) == (dim.a * dim.extent, dim.b * dim.extent):
                joined = Dim(last.extent * dim.extent, dim.a, dim.b)
                merged[-1] = Merged(joined, (*members, i))
                continue
        merged.append(Merged(dim, (i,)))
    return tuple(merged) or (Merged(Dim(1), ()),)


def panel_width(target: Target, type: str, n: int) -> int:
    """Columns of a panel to pack `n` columns of LLVM scalar type `type` with."""
    lanes = _lanes(target, "double" if type == "double" else "float")
    if 2 * lanes < n <= 3 * lanes:
        return 3 * lanes
    if n > lanes:
        return 2 * lanes
    return min(lanes, max(4, 1 << (max(n, 1) - 1).bit_length()))


def wants_packed(contraction: Contraction, target: Target) -> bool:
    """Whether copying b into panels first costs less than reading it as it lies.

    `contraction` describes b as it lies (`panel` 0).
    """
    spec = contraction
    steps = [d.dim.b for d in merge(spec.k) if d.dim.extent > 1]
    # Rows of b a page apart are slow to walk down, and they crowd into few sets of the cache: the
    # loss is 5 % for short columns, up to 50 % for long ones and up to 90 % where b comes from far,
    # and the copy costs as much as some 40 rows. Nearer rows lose as much where they crowd in the
    # second-level cache, and 3 to 6 % on a long walk.
    apart = abs(steps[-1]) * SIZES[spec.b_type] if steps else 0
    if apart < PAGE:
        crowded = apart >= PAGE // 2 and apart * spec.depth >= 2 * SECOND_CACHE
        is_long = apart >= PAGE // 4 and spec.depth >= 1024
        return not spec.panel and (crowded or is_long) and spec.rows >= (160 if crowded else 1024)
    large = spec.n * spec.depth * SIZES[spec.b_type] >= LARGE
    rows = 96 if large else 160 if spec.depth >= 512 else 1024
    return not spec.panel and spec.rows >= rows


def make_plan(contraction: Contraction, target: Target) -> Plan:
    """Choose tiles and units; ValueError where the description is not a contraction."""
    spec = contraction
    _check(spec)
    lanes = _lanes(target, spec.scalar)
    if spec.panel:
        lanes = math.gcd(lanes, spec.panel)
    else:
        lanes = min(lanes, 1 << max(spec.n - 1, 0).bit_length())
    m = merge(spec.m)
    k = tuple(d.dim for d in merge(spec.k) if d.dim.extent != 1)
    if not all((spec.rows, spec.n, *(d.extent for d in spec.batch))):
        return Plan(spec, spec.scalar, lanes, m, k, 0, (), (), 1, 1, True, 0)
    tilings = _tilings(spec, m, lanes, target)
    costs = sorted(((_cost(spec, m, *t, lanes), t) for t in tilings), key=lambda pair: pair[0])
    best = [pair for pair in costs[:TRIED] if pair[0] <= costs[0][0] * EQUAL]

    def plan(cut: int, rows: tuple[Run, ...], columns: tuple[Run, ...]) -> Plan:
        tiles = Plan(spec, spec.scalar, lanes, m, k, cut, rows, columns, 1, 1, True, 1)
        return cut_units(tiles)

    plans = [(cost, plan(*tiling)) for cost, tiling in best]
    return min(plans, key=lambda pair: pair[0] * (1 + pair[1].loss))[1]


# -- tiles -----------------------------------------------------------------------------------


def _lanes(target: Target, scalar: str) -> int:
    return max(1, target.vector_bits // (8 * SIZES[scalar]))


def _tilings(
    spec: Contraction, m: tuple[Merged, ...], lanes: int, target: Target
) -> Iterator[tuple[int, tuple[Run, ...], tuple[Run, ...]]]:
    """Every tiling worth a look: the cut dim, its runs, and the runs of columns."""
    grain = spec.panel or lanes
    widest = MAX_PACKED_VECTORS if spec.panel else MAX_VECTORS
    total, registers = -(-spec.n // grain), target.vector_registers
    for grains in range(1, total + 1):
        vectors = grains * grain // lanes
        # accumulators, one register per vector of b, one for the broadcast of a; NEON code wants
        # more of the latter, because the scheduler moves those loads up
        ahead = target.vector_bits == 128 and registers == 32
        rows = (registers - 1 - vectors) // (vectors + ahead) if vectors < registers - 1 else 0
        rows = min(MAX_ROWS, rows)
        if rows < 1 and vectors + 2 <= registers:
            rows = 1  # a single row takes b from memory
        if grains > 1 and (rows < 1 or vectors > widest):
            return
        cut, most = _row_box(m, max(rows, 1))
        extent = m[cut].dim.extent
        fewest = -(-extent // most)
        exact = next((t for t in range(fewest, 2 * fewest + 1) if extent % t == 0), fewest)
        columns = _column_runs(spec.n, grain, grains)
        for tiles in {fewest, exact}:
            yield cut, _even_runs(extent, tiles), columns


def _row_box(m: tuple[Merged, ...], rows: int) -> tuple[int, int]:
    """The dim to cut for tiles of at most `rows` rows, and how many of its indices fit."""
    inner = 1
    for cut in range(len(m) - 1, -1, -1):
        extent = m[cut].dim.extent
        if cut == 0 or inner * extent > rows:
            return cut, min(extent, rows // inner)
        inner *= extent
    raise AssertionError("a merged list has a first dim")


def _even_runs(extent: int, tiles: int) -> tuple[Run, ...]:
    """`tiles` tiles over `extent` indices, sizes differing by at most one, larger ones first."""
    small, large_count = divmod(extent, tiles)
    runs = []
    if large_count:
        runs.append(Run(0, large_count, 0, small + 1, small + 1))
    start = large_count * (small + 1)
    runs.append(Run(large_count, tiles - large_count, start, small, small))
    return tuple(runs)


def _column_runs(n: int, grain: int, grains: int) -> tuple[Run, ...]:
    """Tiles of at most `grains` grains of columns; a cut-off last tile is a run of its own."""
    total = -(-n // grain)
    runs = [
        Run(first, count, start * grain, size * grain, size * grain)
        for first, count, start, size, _ in _even_runs(total, -(-total // grains))
    ]
    if n % grain:
        first, count, start, step, _ = runs.pop()
        if count > 1:
            runs.append(Run(first, count - 1, start, step, step))
        last = start + (count - 1) * step
        runs.append(Run(first + count - 1, 1, last, step, n - last))
    return tuple(runs)


def row_offsets(m: Sequence[Merged], cut: int, live: int) -> dict[tuple[int, ...], int]:
    """Offsets in a of a tile's rows, keyed by their indices from the cut dim inwards."""
    dims = [d.dim for d in m[cut:]]
    inside = product(range(live), *(range(d.extent) for d in dims[1:]))
    return {at: sum(i * d.a for i, d in zip(at, dims, strict=True)) for at in inside}


def live_lanes(live: int, lanes: int) -> int:
    """Lanes of a vector of which `live` are of use: a half or a quarter, down to 4, is cheaper."""
    while lanes // 2 >= max(live, 4):
        lanes //= 2
    return lanes


def _cycles(rows: int, vectors: float) -> float:
    """Rough cycles of one k step of a tile: multiply-adds, loads or latency, and the loop."""
    return max(rows * vectors, rows + vectors, 8) + 1


def _vectors(columns: int, lanes: int) -> float:
    """Vectors of so many columns; where one splits in two, half of one counts as a half."""
    whole, rest = divmod(columns, lanes)
    return whole + (max(live_lanes(rest, lanes) / lanes, 0.5) if rest else 0)


def _cost(spec: Contraction, m, cut: int, row_runs, column_runs, lanes: int) -> float:
    """Relative time of a tiling, each further shape of tile counted as 1 % (code size)."""
    lines = math.prod(d.dim.extent for d in m[:cut])
    size = SIZES[spec.a_type]
    span = 1 + sum((d.extent - 1) * abs(d.a) for d in (*spec.m, *spec.k))
    beside = size / BESIDE if span * size > LARGE_LEFT else 0.0  # cycles for a row's term
    total = 0.0
    for row in row_runs:
        offsets = row_offsets(m, cut, row.live).values()
        crowd = Counter(i * SIZES[spec.a_type] % WAY // 64 for i in offsets)
        # rows that push each other out of the cache are fetched again at every k; where they
        # leave little room there, b pushes them out now and then
        crowded = max(crowd.values()) if len(set(offsets)) > WAYS // 2 else 0
        slow = 1.3 if crowded > WAYS else 1.015 if crowded > WAYS // 2 else 1.0
        for column in column_runs:
            cycles = _cycles(len(offsets), _vectors(column.live, lanes)) * slow
            if beside:  # few sums leave no room to wait for it
                cycles = max(cycles, LEAST) + len(offsets) * beside
            if spec.parts > 1 and column.step * SIZES[spec.b_type] < PIECE:
                cycles *= 1.05
            first, later = (max(cycles, fetch + 1) for fetch in _fetches(spec, column))
            turns, once = row.count * lines, row is row_runs[0]
            total += column.count * (later * (turns - once) + first * once)
    return total * (1 + 0.01 * len(row_runs) * len(column_runs))


def _fetches(spec: Contraction, column: Run) -> tuple[float, float]:
    """Cycles that fetching b takes per k step: for the first row tile, and for the next ones."""
    step = column.step * SIZES[spec.b_type]
    panel, everything = step * spec.terms, spec.n * spec.terms * SIZES[spec.b_type]
    first = step / (FAR if everything > CACHE else NEAR)
    return first, step / AGAIN if panel > CACHE else step / NEAR if panel > FIRST_CACHE else 0.0


def _check(spec: Contraction) -> None:
    for name in ("a_type", "b_type"):
        if getattr(spec, name) not in SIZES:
            raise ValueError(
                f"Contraction.{name} is {getattr(spec, name)!r}; expected one of "
                f"{', '.join(SIZES)}: convert the operand to one of these first."
            )
    extents = [spec.n, *(d.extent for d in (*spec.batch, *spec.m, *spec.k))]
    if min(extents) < 0:
        raise ValueError(
            f"Contraction has the extents {extents}; expected no negative extent in batch, m, n, k."
        )
    if spec.panel < 0 or (0 < spec.panel < spec.n and spec.panel_stride <= 0):
        raise ValueError(
            f"Contraction has panel {spec.panel} and panel_stride {spec.panel_stride}; expected "
            "panel 0 (b as it lies), or a panel width with the distance from panel to panel."
        )
