"""The gradient of 3 x 3 kernels by Winograd's method, where that is faster.

Transposing F(4x4, 3x3) of `ir/ops/winograd.py` as a map of the kernels gives, per tile of 4 x 4
results with gradient g over data d of 6 x 6,

    dW = kernel^T ((result^T g result) * (data d data^T)) kernel

so that all tiles meet in 36 matrix products whose depth is the tiles: a quarter of the
multiply-adds of the direct sum. The transforms are sums of strided slices, one axis at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import prod

from nncomp.ir.debug import debug
from nncomp.ir.graph import Node
from nncomp.ir.ops import concat, matmul, pad, reshape, slice
from nncomp.ir.ops.winograd import KERNEL, matrices

from .layout_conv import channels_last
from .layout_product import transposed

TILE = 4
POINTS = TILE + KERNEL - 1
FEWEST = 32  # channels on either side
FLOPS, BYTES = 200.0, 60.0  # per nanosecond, for estimates
GAIN = 0.8  # of the direct sum's time, to be worth it
# Times that the transforms read and write an element per tile and channel
DATA, GRADIENT, KERNELS = 132, 112, 72
Rows = Sequence[Sequence[Fraction]]


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
    tiles = [-(-n // TILE) for n in g.shape[2:]]
    spans = [TILE * n + KERNEL - 1 for n in tiles]
    data = _fitted(channels_last(x), (top, left), spans)
    gradient = _fitted(channels_last(g), (0, 0), [TILE * n for n in tiles])
    transform = matrices(TILE)
    turned = list(zip(*transform.result, strict=True))
    v = _at_points(data, transform.data, tiles)  # [36, tiles, C]
    u = _at_points(gradient, turned, tiles)
    products = matmul(transposed(v, (0, 2, 1)), u)  # [36, C, O]
    products = reshape(products, shape=(POINTS, POINTS, *products.shape[1:]))
    back = list(zip(*transform.kernel, strict=True))
    columns = _combined(products, 0, back)  # [3 (columns), 6, C, O]
    kernels = _combined(columns, 1, back)  # [3 (rows), 3 (columns), C, O]
    return transposed(kernels, (3, 2, 0, 1))


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
    moved = 4 * (tiles * (inputs * DATA + outputs * GRADIENT) + pairs * KERNELS)
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


def _at_points(x: Node, rows: Rows, tiles) -> Node:
    """Both axes of x [N, H, W, C] transformed tile by tile: [points, N * tiles, C]."""
    images, channels = x.shape[0], x.shape[3]
    x = _tiled(reshape(x, shape=(1, *x.shape)), 2, rows, tiles[0])  # [6 (rows), N, tiles, W, C]
    x = _tiled(reshape(x, shape=(1, *x.shape)), 4, rows, tiles[1])  # [6 (columns), 6, N, .., C]
    return reshape(x, shape=(POINTS**2, images * prod(tiles), channels))


def _tiled(x: Node, axis: int, rows: Rows, tiles: int) -> Node:
    """Axis `axis` of x [1, ..] as tiles times the matrix `rows`, whose result is axis 0."""
    parts = []
    for k in range(len(rows[0])):
        start, stop, step = [0] * len(x.shape), list(x.shape), [1] * len(x.shape)
        start[axis], stop[axis], step[axis] = k, k + TILE * (tiles - 1) + 1, TILE
        parts.append(slice(x, start=tuple(start), stop=tuple(stop), step=tuple(step)))
    return concat(*(_sum(row, parts) for row in rows), axis=0)


def _combined(x: Node, axis: int, rows: Rows) -> Node:
    """Axis `axis` of x times the matrix `rows`; the result is axis 0."""
    parts = []
    for k in range(x.shape[axis]):
        start, stop = [0] * len(x.shape), list(x.shape)
        start[axis], stop[axis] = k, k + 1
        part = slice(x, start=tuple(start), stop=tuple(stop), step=(1,) * len(x.shape))
        rest = [n for i, n in enumerate(x.shape) if i != axis]
        parts.append(reshape(part, shape=(1, *rest)))
    return concat(*(_sum(row, parts) for row in rows), axis=0)


def _sum(row: Sequence[Fraction], parts: Sequence[Node]) -> Node:
    """The sum of the nodes, each times its number of `row`; one of them not zero."""
    terms = [x if c == 1 else x * float(c) for c, x in zip(row, parts, strict=True) if c]
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total
