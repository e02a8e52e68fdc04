"""How a window kernel walks its result [N, *S', M, C]: lanes over channels, blocks of pixels.

A block is a few neighbours along the last spatial axis for one vector of channels: their sums stay
in registers, a column of the input that several windows cover is loaded once, and so are the
weights. Blocks that touch the padding are code of their own, in which the taps outside are left
out; along the other axes the loops over the taps are clipped, so nothing is padded in memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from math import prod

from nncomp.ir.loops import Slide

from .target import Target

SHARES = (2, 4, 8)  # numbers of threads to balance for
AGAIN, UNIT = 0.3, 0.0005  # cost of a row that another unit reads as well, of a unit
MOST_BLOCKS = 32
MOST = 512  # multiply-adds in the code of one block
WIDEST = 64  # taps along the last axis that are written out


@dataclass(frozen=True)
class Axis:
    """One spatial axis: window position o and tap t read element o * stride + t * dilation - low.
    """

    size: int
    out: int
    kernel: int
    stride: int
    dilation: int
    low: int

    def first(self, start: int) -> int:
        """The first element that the window at `start` covers."""
        return start * self.stride - self.low

    def last(self, start: int) -> int:
        return self.first(start) + (self.kernel - 1) * self.dilation

    @property
    def is_inside(self) -> bool:
        """Whether no window covers padding."""
        return self.low == 0 and self.last(self.out - 1) < self.size


@dataclass(frozen=True)
class Block:
    """`count` blocks in a row of `width` window positions each, from position `start`."""

    start: int
    width: int
    count: int


@dataclass(frozen=True)
class WindowPlan:
    """Units are (image, rows of the first spatial axis, multiplier, vectors of channels)."""

    images: int
    axes: tuple[Axis, ...]
    multiplier: int
    depth: int  # input channels that a window sums over
    channels: int  # of the result, which lanes run over
    lanes: int
    blocks: tuple[Block, ...]
    rows: int  # window positions along the first of several spatial axes, in one unit
    vectors: int  # of channels, in one unit
    registers: int  # that hold `lanes` lanes each

    @property
    def row_blocks(self) -> int:
        return -(-self.axes[0].out // self.rows) if len(self.axes) > 1 else 1

    @property
    def channel_blocks(self) -> int:
        return -(-self.channels // (self.lanes * self.vectors))

    @property
    def units(self) -> int:
        return self.images * self.row_blocks * self.multiplier * self.channel_blocks

    @property
    def shares_rows(self) -> bool:
        """Whether the first units are the first rows: threads then share the rows."""
        return self.images * self.row_blocks > 1

    @property
    def work(self) -> int:
        """Multiply-adds of the whole kernel."""
        places = prod(a.out * a.kernel for a in self.axes)
        return self.images * places * self.depth * self.multiplier * self.channels


def window_axes(slide: Slide) -> tuple[Axis, ...]:
    """The spatial axes of a kernel's window."""
    g = slide.geometry
    kernel = g.get("kernel") or slide.b.type.shape[:-2]
    rows = zip(slide.a.type.shape[1:-1], kernel, g["stride"], g["padding"], g["dilation"],
               strict=True)  # fmt: skip
    axes = []
    for size, taps, stride, (low, high), dilation in rows:
        out = (size + low + high - (taps - 1) * dilation - 1) // stride + 1
        axes.append(Axis(size, out, taps, stride, dilation, low))
    return tuple(axes)


def make_window_plan(slide: Slide, target: Target) -> WindowPlan:
    """Choose vectors, blocks and units for a machine."""
    axes, (images, *_, channels) = window_axes(slide), slide.a.type.shape
    multiplier, depth = slide.b.type.shape[-2] if slide.b else 1, 1
    if slide.name in ("window_conv", "group_conv"):
        multiplier, (depth, channels) = 1, slide.b.type.shape[-2:]
    width = target.vector_bits // (64 if slide.a.type.dtype.name == "float64" else 32)
    pair = 2 if target.vector_registers >= 32 and channels > width else 1
    lanes = width * pair
    if slide.name == "group_conv":
        lanes = group_lanes(depth, channels // slide.geometry["groups"], lanes)
        pair = max(lanes // width, 1)
    while lanes > 2 and lanes // 2 >= channels:
        lanes //= 2
    blocks = _blocks(axes[-1], _most_pixels(axes[-1], pair, target, slide.b is not None))
    rows, vectors = _unit(max(images * multiplier, 1), axes, -(-channels // lanes))
    return WindowPlan(
        images, axes, multiplier, depth, channels, lanes, blocks, rows, vectors,
        registers=target.vector_registers // pair,
    )  # fmt: skip


def group_lanes(inputs: int, outputs: int, most: int) -> int:
    """Lanes for groups of so many input and output channels: `most`, or less where a vector would
    hold parts of groups, or groups of which input and output differ in size."""
    lanes = most
    while lanes > 1 and outputs % lanes:
        if inputs == outputs and lanes % outputs == 0:
            break
        lanes //= 2
    return lanes


def _unit(times: int, axes: tuple[Axis, ...], vectors: int) -> tuple[int, int]:
    """Rows and vectors of a unit: even shares for 2, 4 and 8 threads, and few rows read twice."""
    first = axes[0] if len(axes) > 1 else None
    extent = first.out if first else 1

    def cost(size: tuple[int, int]) -> float:
        rows, some = size
        row_blocks, parts = -(-extent // rows), -(-vectors // some)
        units = times * row_blocks * parts
        largest = [-(-units // threads) * threads for threads in SHARES]
        work = sum(largest) / len(SHARES) * rows * some / (times * extent * vectors)
        again = (first.kernel - 1) * first.dilation / (rows * first.stride) if first else 0.0
        return work * (1 + AGAIN * again) + UNIT * units

    sizes = product(_parts(extent), _parts(vectors))
    return min(sizes, key=cost)


def _parts(extent: int) -> list[int]:
    """The sizes of a block that cut an extent into 1, 2, .. blocks as even as can be."""
    return sorted({-(-extent // blocks) for blocks in range(1, min(extent, MOST_BLOCKS) + 1)})


def _most_pixels(axis: Axis, pair: int, target: Target, weights: bool) -> int:
    """Window positions of a block: accumulators, the weights of a row of taps, two columns."""
    free = target.vector_registers - 2 * pair - (axis.kernel * pair if weights else 0)
    return max(min(free // pair, MOST // axis.kernel, 16), min(4, axis.out), 1)


def _blocks(axis: Axis, most: int) -> tuple[Block, ...]:
    """Blocks that cover the axis; neighbours with the same code are joined."""
    tiles = -(-axis.out // most)
    small, large = divmod(axis.out, tiles)
    blocks: list[Block] = []
    start, inside = 0, False
    for number in range(tiles):
        width = small + (number < large)
        was, inside = inside, axis.first(start) >= 0 and axis.last(start + width - 1) < axis.size
        if blocks and was and inside and blocks[-1].width == width:
            before = blocks.pop()
            blocks.append(Block(before.start, width, before.count + 1))
        else:
            blocks.append(Block(start, width, 1))
        start += width
    return tuple(blocks)
