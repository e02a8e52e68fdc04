"""Gradients of 3 x 3 kernels by Winograd's method (ir/ops/winograd_gradient.py), where faster."""

from __future__ import annotations

from math import prod

from nncomp.ir.debug import debug
from nncomp.ir.graph import Node, build_node
from nncomp.ir.op import OPS
from nncomp.ir.ops import matmul, pad, slice
from nncomp.ir.ops.winograd import KERNEL
from nncomp.ir.ops.winograd_gradient import POINTS, TILE

from ..walks import transposed
from .layout_conv import channels_last

FEWEST = 32  # channels on either side
FLOPS, BYTES = 200.0, 60.0  # per nanosecond, for estimates
GAIN = 0.8  # of the direct sum's time, to be worth it


def lower_winograd_weight(node: Node, operands: tuple[Node, ...]) -> Node | None:
    """A conv_weight by Winograd's method; None where it is none or the direct sum is faster."""
    x, g = operands
    attrs = node.attrs
    if not debug.winograd or node.dtype.name != "float32" or attrs["groups"] != 1:
        return None
    if tuple(attrs["kernel_size"]) != (KERNEL, KERNEL) or not _is_plain(attrs):
        return None
    if not _is_faster(x.shape, g.shape):
        return None
    (top, _), (left, _) = attrs["padding"]
    spans = [TILE * -(-n // TILE) for n in g.shape[2:]]
    data = _fitted(channels_last(x), (top, left), [n + KERNEL - 1 for n in spans])
    gradient = _fitted(channels_last(g), (0, 0), spans)
    points = OPS["winograd_points"]
    v = build_node(points, (data,), {"side": "data"}, node.loc)  # [36, tiles, C]
    u = build_node(points, (gradient,), {"side": "gradient"}, node.loc)
    products = matmul(transposed(u, (0, 2, 1)), v)  # [36, O, C]
    kernels = build_node(OPS["winograd_kernels"], (products,), {}, node.loc)
    return transposed(kernels, (2, 3, 0, 1))


def _is_plain(attrs) -> bool:
    ones = all(n == 1 for n in (*attrs["stride"], *attrs["dilation"]))
    return ones and min(side for sides in attrs["padding"] for side in sides) >= 0


def _is_faster(x: tuple[int, ...], g: tuple[int, ...]) -> bool:
    inputs, outputs = x[1], g[1]
    if min(inputs, outputs) < FEWEST:
        return False
    tiles = x[0] * prod(-(-n // TILE) for n in g[2:])
    pairs = inputs * outputs
    direct = 2 * KERNEL**2 * g[0] * prod(g[2:]) * pairs / FLOPS
    # at the points, a tile is written once and read once; sums are written and read
    moved = 4 * 2 * POINTS**2 * (tiles * (inputs + outputs) + pairs)
    return 2 * POINTS**2 * tiles * pairs / FLOPS + moved / BYTES < GAIN * direct


def _fitted(x: Node, low, sizes) -> Node:
    """x [N, H, W, C] with `low` zeros in front and cut or filled up to `sizes`."""
    _, *space, _ = x.shape
    high = [size - n - lo for size, n, lo in zip(sizes, space, low, strict=True)]
    kept = [n + min(hi, 0) for n, hi in zip(space, high, strict=True)]
    if kept != space:
        stop = (x.shape[0], *kept, x.shape[3])
        x = slice(x, start=(0,) * 4, stop=stop, step=(1,) * 4)
    high = [max(hi, 0) for hi in high]
    if not any((*low, *high)):
        return x
    return pad(x, low=(0, *low, 0), high=(0, *high, 0), interior=(0,) * 4, value=0)
