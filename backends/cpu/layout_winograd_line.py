"""Convolutions with long kernels along one axis, and both of their gradients, as `winograd_line`
and its like (ir/ops/winograd_line.py), where that is faster."""

from __future__ import annotations

from nncomp.ir.debug import debug
from nncomp.ir.graph import Node, build_node
from nncomp.ir.op import OPS
from nncomp.ir.ops import flip, matmul, pad, reshape, slice
from nncomp.ir.ops.winograd import KERNEL
from nncomp.ir.ops.winograd_gradient import POINTS
from nncomp.ir.ops.winograd_line import TILE, part_of, points_across, tiles_of_line

from ..walks import transposed
from .layout_conv import channels_first, channels_last
from .layout_winograd_weight import BYTES, FEWEST, FLOPS
from .target import Target
from .winograd_line_plan import choose_line, columns_for

SHORTEST = 3  # taps of a kernel that is worth it
ENOUGH = 0.7  # of the time of a direct sum, as estimated: what makes it worth it


def lower_long_kernel(node: Node, operands: tuple[Node, ...], target: Target, known) -> Node | None:
    """A convolution along one axis, or a gradient of one, as a `winograd` node or nodes; None where
    it is none or where that is not faster."""
    attrs = node.attrs
    if node.name not in ("conv", "conv_transpose", "conv_weight") or node.dtype.name != "float32":
        return None
    if not debug.winograd or len(node.shape) != 3 or attrs["groups"] != 1:
        return None
    (stride,), (dilation,), ((low, high),) = (attrs[k] for k in ("stride", "dilation", "padding"))
    if stride != 1:
        return None
    if node.name == "conv_weight":
        return _weight(node, *operands, low, dilation)
    x, w = operands
    taps = w.shape[2]
    reach = (taps - 1) * dilation
    if node.name == "conv_transpose":
        (size,) = attrs["input_size"]
        low, high = reach - low, size - x.shape[2] + low
        w = transposed(flip(w, axes=(2,)), (1, 0, 2))
    if taps < SHORTEST or min(low, high) < 0:
        return None
    line, n, length = channels_last(x), w.shape[0], x.shape[2] + low + high - reach
    known = node.inputs[1] in known
    plan = choose_line(line.shape, taps, low, dilation, length, n, known, target)
    if plan is None:
        return None
    kernels = transposed(_kernels(w, plan.wide), (2, 3, 1, 0))
    points = {"tile": TILE, "panel": plan.panel}
    u = build_node(OPS["winograd_weight"], (kernels,), points, node.loc)
    found = dict(
        low=low,
        dilation=dilation,
        columns=plan.wide,
        length=length,
        n=n,
        blocking=tuple(plan.blocking),
        workspace=plan.units * plan.room,
    )
    return channels_first(build_node(OPS["winograd_line"], (line, u), found, node.loc))


def _weight(node: Node, x: Node, g: Node, low: int, dilation: int) -> Node | None:
    (taps,), length = node.attrs["kernel_size"], g.shape[2]
    if taps < SHORTEST or low < 0 or not _is_faster(x.shape, g.shape, taps, dilation):
        return None
    wide, points = columns_for(taps), OPS["line_points"]
    parts = -(-taps // part_of(wide))
    place = dict(dilation=dilation, length=length, columns=wide)
    data = dict(place, side="data", low=low, parts=parts)
    gradient = dict(place, side="gradient", low=0, parts=1)
    v = build_node(points, (channels_last(x),), data, node.loc)  # [points, tiles, parts * C]
    u = build_node(points, (channels_last(g),), gradient, node.loc)
    products = matmul(transposed(u, (0, 2, 1)), v)  # [points, O, parts * C]
    found = build_node(OPS["line_kernels"], (products,), {}, node.loc)
    outputs, inputs = g.shape[1], x.shape[1]
    found = reshape(found, shape=(part_of(wide), outputs, parts, inputs))
    found = transposed(found, (1, 3, 2, 0))
    return _cut(reshape(found, shape=(outputs, inputs, parts * part_of(wide))), 2, taps)


def _is_faster(x: tuple[int, ...], g: tuple[int, ...], taps: int, dilation: int) -> bool:
    """As in layout_winograd_weight.py, for tiles and parts of the kernel."""
    inputs, outputs, wide = x[1], g[1], columns_for(taps)
    parts, points = -(-taps // part_of(wide)), POINTS * points_across(wide)
    if min(inputs, outputs) < FEWEST:
        return False
    direct = 2 * taps * g[0] * g[2] * inputs * outputs / FLOPS
    tiles, pairs = x[0] * tiles_of_line(g[2], dilation, wide) * dilation, parts * inputs * outputs
    moved = 4 * 2 * points * (tiles * (parts * inputs + outputs) + pairs)
    return 2 * points * tiles * pairs / FLOPS + moved / BYTES < ENOUGH * direct


def _kernels(w: Node, wide: int) -> Node:
    """w [O, C, taps] as [O, parts * C, 3, 3 or 1]."""
    outputs, inputs, taps = w.shape
    part = part_of(wide)
    parts = -(-taps // part)
    more = parts * part - taps
    if more:
        w = pad(w, low=(0,) * 3, high=(0, 0, more), interior=(0,) * 3, value=0)
    w = transposed(reshape(w, shape=(outputs, inputs, parts, part)), (0, 2, 1, 3))
    return reshape(w, shape=(outputs, parts * inputs, KERNEL, wide))


def _cut(x: Node, axis: int, length: int) -> Node:
    """The first elements along an axis."""
    if length == x.shape[axis]:
        return x
    stop = tuple(length if i == axis else n for i, n in enumerate(x.shape))
    return slice(x, start=(0,) * len(stop), stop=stop, step=(1,) * len(stop))
