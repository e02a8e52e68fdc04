"""How a Winograd convolution is cut into blocks, and where a block keeps its transforms.

A block of tiles is transformed into V [points][tiles][C], then for some panels of output channels
at a time multiplied into M [points][tiles][columns] and turned into results, while M is in the
second-level cache. V and M lie in a workspace that has room for every unit, of which each thread
uses the part of its first unit: no two threads begin with the same one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import NamedTuple, TypeVar

from nncomp.ir.ops.winograd import KERNEL, PAIRS, output_size, points_of

from .contract import Contraction, Dim, Plan, make_plan, panel_width
from .target import Target
from .threads import get_num_threads

LINE = 16  # floats of a cache line
KEEP = 300 * 1024  # bytes of M that stay in the second-level cache
TILES, MOST_TILES = 16, 28  # of a block; kernels from beyond the caches want more
LARGE = 16 << 20  # bytes of such kernels
UNITS = 64  # most units that tiles are cut into
STREAM = 9  # bytes a cycle from beyond the caches, for all cores together
GAIN = 0.85  # of the direct sum's estimate: what it must save to be worth its rounding errors
FEW = 16  # channels that are too few


class Blocking(NamedTuple):
    """Tiles of a block, panels done at a time, shares of the tiles and of the panels."""

    tiles: int
    panels: int
    tile_units: int
    panel_units: int


@dataclass(frozen=True)
class WinogradPlan:
    """Sizes of one kernel."""

    tile: int
    padding: tuple[tuple[int, int], tuple[int, int]]
    image: tuple[int, int, int, int]  # N, H, W, C
    n: int
    panel: int
    blocking: Blocking

    @property
    def size(self) -> int:
        """Points along an axis."""
        return self.tile + KERNEL - 1

    @property
    def points(self) -> int:
        return points_of(self.tile)

    @property
    def out(self) -> tuple[int, int]:
        return output_size(self.image, self.padding)

    @property
    def grid(self) -> tuple[int, int, int]:
        """Images, and tiles down and across."""
        down, across = (-(-n // self.tile) for n in self.out)
        return self.image[0], down, across

    @property
    def blocks(self) -> int:
        return -(-prod(self.grid) // self.blocking.tiles)

    @property
    def panels(self) -> int:
        return -(-self.n // self.panel)

    @property
    def turns(self) -> int:
        """How many groups of panels there are."""
        return -(-self.panels // self.blocking.panels)

    @property
    def columns(self) -> int:
        """Columns of a group of panels."""
        return self.blocking.panels * self.panel

    @property
    def units(self) -> int:
        return self.blocking.tile_units * self.blocking.panel_units

    # -- the workspace of one unit, in floats ------------------------------------------------

    @property
    def v_row(self) -> int:
        """From tile to tile of V."""
        return -(-self.image[3] // LINE) * LINE

    @property
    def v_point(self) -> int:
        """From point to point of V; one line more, lest all points share a set of the cache."""
        return self.blocking.tiles * self.v_row + LINE

    @property
    def m_point(self) -> int:
        return -(-self.blocking.tiles * self.columns // LINE) * LINE + LINE

    @property
    def m_start(self) -> int:
        return self.points * self.v_point

    @property
    def room(self) -> int:
        return self.m_start + self.points * self.m_point

    @property
    def work(self) -> int:
        """Multiplications."""
        return prod(self.grid) * self.points * self.image[3] * self.n

    @property
    def used_points(self) -> int:
        """Points that products are made at."""
        return self.points

    @property
    def point_dims(self) -> tuple[Dim, ...]:
        """Extents and strides of the points in V and in the kernels."""
        return (Dim(self.points, self.v_point, self.panel * self.image[3] * self.panels),)

    def products(self, target: Target) -> Plan:
        """The multiplications of a block with a group of panels."""
        channels = self.image[3]
        stride = self.panel * channels
        spec = Contraction(
            batch=self.point_dims,
            m=(Dim(self.blocking.tiles, self.v_row),),
            n=self.columns,
            k=(Dim(channels, 1, self.panel),),
            panel=self.panel,
            panel_stride=stride,
        )
        return make_plan(spec, target)


AnyPlan = TypeVar("AnyPlan", bound=WinogradPlan)


def plan_for(x_shape, u_shape, attrs) -> WinogradPlan:
    """The plan of a `winograd` node."""
    blocking = Blocking(*attrs["blocking"])
    padding = tuple(tuple(p) for p in attrs["padding"])
    return WinogradPlan(attrs["tile"], padding, tuple(x_shape), attrs["n"], u_shape[3], blocking)


# -- when and how ----------------------------------------------------------------------------


def choose(x_shape, n: int, padding, known: bool, target: Target) -> WinogradPlan | None:
    """The plan for x [N, H, W, C] and n output channels that is fastest by estimate.

    None where the direct sum is as fast. `known`: the kernels' transform is computed once for many
    calls, not in each.
    """
    plans = [plan_with(tile, tuple(x_shape), n, padding, target) for tile in PAIRS]
    best = min(plans, key=lambda plan: estimate(plan, known, target))
    worth = estimate(best, known, target) < GAIN * direct(best, target)
    return best if worth and min(best.image[3], n) >= FEW else None


def plan_with(tile: int, image, n: int, padding, target: Target) -> WinogradPlan:
    """The plan with tiles of `tile` results a side."""
    panel = panel_width(target, "float", n)
    return blocked(WinogradPlan(tile, padding, image, n, panel, Blocking(1, 1, 1, 1)))


def estimate(plan: WinogradPlan, known: bool, target: Target) -> float:
    """Rough cycles on two cores: multiplications, transforms, and the stream of the kernels.

    The transformed kernels are 16 or 36 numbers for each 9, which matters where few tiles share
    them: with 512 channels they come from beyond the caches.
    """
    lanes = target.vector_bits // 32
    channels, size = plan.image[3], plan.points * plan.image[3] * plan.n
    vectors = -(-channels // lanes) + -(-plan.n // lanes)
    products = channels * -(-plan.n // lanes)
    busy = prod(plan.grid) * plan.used_points * (products + 6 * vectors)
    if not known:
        busy += size / lanes * 10
    return overlapped(busy, 4 * size * (1 if known else 3))


def direct(plan: WinogradPlan, target: Target) -> float:
    """The same for the direct sum."""
    lanes, channels = target.vector_bits // 32, plan.image[3]
    pixels = plan.image[0] * prod(plan.out)
    return overlapped(pixels * 9 * channels * -(-plan.n // lanes), 36 * channels * plan.n)


def overlapped(busy: float, stream: float) -> float:
    """Cycles for `busy` vector instructions while `stream` bytes arrive."""
    busy, stream = busy / 2, stream / STREAM
    return max(busy, stream) + 0.3 * min(busy, stream)


def blocked(plan: AnyPlan) -> AnyPlan:
    """The plan cut so that all threads have the same to do.

    How it is cut changes no result. A single block of all tiles is best where the kernels are much
    more than the data: then no two threads need the same part of them.
    """
    total, threads = prod(plan.grid), get_num_threads()
    kernels = 4 * plan.points * plan.image[3] * plan.n
    most = MOST_TILES if kernels > LARGE else TILES
    fewest = -(-total // most)
    cuts = [_cut(plan, -(-total // blocks), threads) for blocks in range(fewest, fewest + 4)]
    return min(cuts, key=lambda cut: _longest(cut, threads))


def _cut(plan: AnyPlan, tiles: int, threads: int) -> AnyPlan:
    """The plan with blocks of so many tiles."""
    blocks = -(-prod(plan.grid) // tiles)
    room = max(1, KEEP // (4 * plan.points * tiles * plan.panel))
    groups = [g for g in (4, 2, 1) if plan.panels % g == 0 and g <= room] or [1]
    enough = [g for g in groups if blocks * (plan.panels // g) >= 2 * threads]
    group = (enough or groups[-1:])[0]
    units = min(blocks, UNITS)
    shares = 1 if blocks >= 2 * threads else min(plan.panels // group, -(-2 * threads // blocks))
    return replace(plan, blocking=Blocking(tiles, group, units, shares))


def _longest(plan: WinogradPlan, threads: int) -> tuple[float, int]:
    """Tiles that the busiest thread multiplies, and then the number of blocks."""
    units = -(-plan.units // threads) / plan.units
    return units * plan.blocks * plan.blocking.tiles, plan.blocks
