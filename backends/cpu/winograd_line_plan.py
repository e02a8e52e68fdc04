"""When a long kernel along one axis is worth Winograd's method, and how its tiles are cut."""

from __future__ import annotations

from dataclasses import dataclass

from nncomp.ir.ops.winograd import KERNEL
from nncomp.ir.ops.winograd_line import TILE, part_of, points_across, rows_of, width_of

from .contract import Dim, panel_width
from .target import Target
from .winograd_plan import FEW, GAIN, Blocking, WinogradPlan, blocked, estimate, overlapped

NONE = ((0, 0), (0, 0))


@dataclass(frozen=True)
class LinePlan(WinogradPlan):
    """The sizes of the image that a line x [N, L, C] is read as."""

    line: tuple[int, int, int] = (0, 0, 0)
    low: int = 0
    length: int = 0
    dilation: int = 1
    wide: int = KERNEL  # results of a row

    @property
    def points(self) -> int:
        """Points of a tile, for which there is room."""
        return self.size * (self.size if self.wide > 1 else 1)

    @property
    def used_points(self) -> int:
        return self.size * self.across

    @property
    def rank(self) -> int:
        """Points across that there is room for."""
        return self.points // self.size

    @property
    def across(self) -> int:
        """Points across that are used."""
        return points_across(self.wide)

    @property
    def grid(self) -> tuple[int, int, int]:
        """Images, tiles along a phase, and phases."""
        rows = rows_of(self.length, self.dilation, self.wide)
        return self.image[0], -(-rows // self.tile), self.dilation

    @property
    def parts(self) -> int:
        """Parts of the kernel."""
        return self.image[3] // self.line[2]

    @property
    def reach(self) -> int:
        """Elements along the line that a tile reads for one part."""
        return self.wide * (self.size - 1) + width_of(self.wide)

    @property
    def point_dims(self) -> tuple[Dim, ...]:
        stride = self.panel * self.image[3] * self.panels
        return (
            Dim(self.size, self.rank * self.v_point, self.rank * stride),
            Dim(self.across, self.v_point, stride),
        )


def _image(
    line, length: int, dilation: int, wide: int, parts: int
) -> tuple[int, int, int, int]:
    """The image of one phase."""
    images, _, channels = line
    rows = rows_of(length, dilation, wide) + KERNEL - 1
    return images, rows, width_of(wide), parts * channels


def columns_for(taps: int) -> int:
    """Columns of results that take the fewest products."""
    return KERNEL if taps > KERNEL else 1


def line_plan_for(x_shape, u_shape, attrs) -> LinePlan:
    """The plan of a `winograd_line` node."""
    length, dilation, wide = (attrs[k] for k in ("length", "dilation", "columns"))
    image = _image(x_shape, length, dilation, wide, u_shape[2] // x_shape[2])
    blocking, line = Blocking(*attrs["blocking"]), tuple(x_shape)
    cut = TILE, NONE, image, attrs["n"], u_shape[3], blocking
    place = dict(low=attrs["low"], length=length, dilation=dilation, wide=wide)
    return LinePlan(*cut, line=line, **place)


def choose_line(
    line, taps: int, low: int, dilation: int, length: int, n: int, known: bool, target: Target
) -> LinePlan | None:
    """The plan for x [N, L, C] under a kernel of so many taps; None where the direct sum is as
    fast. `known`: the kernel's transform is computed once for many calls, not in each.
    """
    images, _, channels = line
    if min(channels, n) < FEW or not images * length:
        return None
    wide, panel = columns_for(taps), panel_width(target, "float", n)
    image = _image(line, length, dilation, wide, -(-taps // part_of(wide)))
    place = dict(line=tuple(line), low=low, length=length, dilation=dilation, wide=wide)
    plan = blocked(LinePlan(TILE, NONE, image, n, panel, Blocking(1, 1, 1, 1), **place))
    lanes = target.vector_bits // 32
    vectors = images * length * taps * channels * -(-n // lanes)
    direct = overlapped(vectors, 4 * taps * channels * n)
    return plan if estimate(plan, known, target) < GAIN * direct else None
