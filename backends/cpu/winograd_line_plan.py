"""When a long kernel along one axis is worth Winograd's method, and how its tiles are cut."""

from __future__ import annotations

from dataclasses import dataclass

from nncomp.ir.ops.winograd import KERNEL
from nncomp.ir.ops.winograd_line import PART, TILE, WIDTH, rows_of

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

    @property
    def grid(self) -> tuple[int, int, int]:
        """Images, tiles along a phase, and phases."""
        rows = rows_of(self.length, self.dilation)
        return self.image[0], -(-rows // self.tile), self.dilation

    @property
    def parts(self) -> int:
        """Parts of nine taps of the kernel."""
        return self.image[3] // self.line[2]

    @property
    def reach(self) -> int:
        """Elements along the line that a tile reads for one part."""
        return KERNEL * (self.size - 1) + WIDTH

    @property
    def point_dims(self) -> tuple[Dim, ...]:
        stride = self.panel * self.image[3] * self.panels
        return (
            Dim(self.size, self.size * self.v_point, self.size * stride),
            Dim(self.size - 1, self.v_point, stride),
        )


def _image(line, length: int, dilation: int, parts: int) -> tuple[int, int, int, int]:
    """The image of one phase."""
    images, _, channels = line
    return images, rows_of(length, dilation) + KERNEL - 1, WIDTH, parts * channels


def line_plan_for(x_shape, u_shape, attrs) -> LinePlan:
    """The plan of a `winograd_line` node."""
    length, dilation = attrs["length"], attrs["dilation"]
    image = _image(x_shape, length, dilation, u_shape[2] // x_shape[2])
    blocking, line = Blocking(*attrs["blocking"]), tuple(x_shape)
    cut = TILE, NONE, image, attrs["n"], u_shape[3], blocking
    return LinePlan(*cut, line=line, low=attrs["low"], length=length, dilation=dilation)


def choose_line(
    line, taps: int, low: int, dilation: int, length: int, n: int, known: bool, target: Target
) -> LinePlan | None:
    """The plan for x [N, L, C] under a kernel of so many taps; None where the direct sum is as
    fast. `known`: the kernel's transform is computed once for many calls, not in each.
    """
    images, _, channels = line
    if min(channels, n) < FEW or not images * length:
        return None
    image, panel = _image(line, length, dilation, -(-taps // PART)), panel_width(target, "float", n)
    place = dict(line=tuple(line), low=low, length=length, dilation=dilation)
    plan = blocked(LinePlan(TILE, NONE, image, n, panel, Blocking(1, 1, 1, 1), **place))
    lanes = target.vector_bits // 32
    vectors = images * length * taps * channels * -(-n // lanes)
    direct = overlapped(vectors, 4 * taps * channels * n)
    return plan if estimate(plan, known, target) < GAIN * direct else None
