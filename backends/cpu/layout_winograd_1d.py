"""Convolutions with long kernels along one axis as images under 3 x 3 kernels, for Winograd's method.

With p = 3 a + b and t = 9 r + 3 i + j, the sum y[p] = sum over t of w[t] x[p + t] is

    Y[a, b] = sum over r, i, j of W[r][i, j] X[r][a + i, b + j]    with X[r][a, c] = x[9 r + 3 a + c]

That is a convolution of an image three columns wide under 3 x 3 kernels: nine taps of the long kernel
each, whose parts r are further input channels. The image repeats two of five columns, but tiles of
4 x 3 results then need 36 products where the long kernel takes 12 for each tap. The same holds for
both gradients. The nested form of two short algorithms is due to Agarwal and Cooley, "New
algorithms for digital convolution", 1977, section III.
"""

from __future__ import annotations

from typing import NamedTuple

from nncomp.ir.graph import Node, build_node
from nncomp.ir.op import OPS
from nncomp.ir.ops import concat, flip, pad, reshape, slice
from nncomp.ir.ops.winograd import KERNEL
from nncomp.ir.ops.winograd_line import PART, TILE

from ..walks import transposed
from .layout_conv import channels_first, channels_last
from .layout_winograd_weight import lower_winograd_weight
from .target import Target
from .winograd_line_plan import choose_line

SHORTEST = 5  # taps of a kernel that is worth it
PLAIN = dict(stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1), groups=1)


class _Shape(NamedTuple):
    """Taps and padding of a long kernel, and how many results it gives."""

    taps: int
    low: int
    results: int

    @property
    def parts(self) -> int:
        return -(-self.taps // PART)

    @property
    def rows(self) -> int:
        """Rows of the image of results."""
        return -(-self.results // KERNEL)


def lower_long_kernel(node: Node, operands: tuple[Node, ...], target: Target, known) -> Node | None:
    """A convolution along one axis, or a gradient of one, as a `winograd` node or nodes; None where
    it is none or where that is not faster."""
    attrs = node.attrs
    if node.name not in ("conv", "conv_transpose", "conv_weight") or node.dtype.name != "float32":
        return None
    if len(node.shape) != 3 or attrs["groups"] != 1:
        return None
    (stride,), (dilation,), ((low, high),) = (attrs[k] for k in ("stride", "dilation", "padding"))
    if stride != 1:
        return None
    if node.name == "conv_weight":
        return _weight(node, *operands) if dilation == 1 else None
    x, w = operands
    taps = w.shape[2]
    reach = (taps - 1) * dilation
    if node.name == "conv_transpose":
        (size,) = attrs["input_size"]
        low, high = reach - low, size - x.shape[2] + low
        w = transposed(flip(w, axes=(2,)), (1, 0, 2))
    if taps < SHORTEST or min(low, high) < 0:
        return None
    shape = _Shape(taps, low, x.shape[2] + low + high - reach)
    line, n = channels_last(x), w.shape[0]
    known = node.inputs[1] in known
    plan = choose_line(line.shape, taps, low, dilation, shape.results, n, known, target)
    if plan is None:
        return None
    kernels = transposed(_kernels(w, shape), (2, 3, 1, 0))
    points = {"tile": TILE, "panel": plan.panel}
    u = build_node(OPS["winograd_weight"], (kernels,), points, node.loc)
    found = dict(
        low=low,
        dilation=dilation,
        length=shape.results,
        n=n,
        blocking=tuple(plan.blocking),
        workspace=plan.units * plan.room,
    )
    return channels_first(build_node(OPS["winograd_line"], (line, u), found, node.loc))


def _weight(node: Node, x: Node, g: Node) -> Node | None:
    (taps,), ((low, high),) = node.attrs["kernel_size"], node.attrs["padding"]
    if taps < SHORTEST or min(low, high) < 0:
        return None
    shape = _Shape(taps, low, g.shape[2])
    image = channels_first(_image(channels_last(x), shape))
    more = shape.rows * KERNEL - shape.results
    gradient = channels_last(g)
    if more:
        gradient = _filled(gradient, 0, more)
    gradient = reshape(gradient, shape=(g.shape[0], shape.rows, KERNEL, g.shape[1]))
    attrs = {**PLAIN, "kernel_size": (KERNEL, KERNEL)}
    operands = image, channels_first(gradient)
    plain = build_node(OPS["conv_weight"], operands, attrs, node.loc)
    found = lower_winograd_weight(plain, plain.inputs)
    if found is None:
        return None
    inputs = x.shape[1]
    found = reshape(found, shape=(g.shape[1], shape.parts, inputs, PART))
    found = reshape(transposed(found, (0, 2, 1, 3)), shape=(g.shape[1], inputs, shape.parts * PART))
    return _cut(found, 2, taps)


def _image(x: Node, shape: _Shape) -> Node:
    """x [N, L, C] as [N, rows + 2, 5, parts * C]."""
    height = shape.rows + KERNEL - 1
    rows = height + KERNEL * (shape.parts - 1) + 1
    missing = rows * KERNEL - shape.low - x.shape[1]
    x = _filled(_cut(x, 1, x.shape[1] + min(missing, 0)), shape.low, max(missing, 0))
    x = reshape(x, shape=(x.shape[0], rows, KERNEL, x.shape[2]))
    parts = []
    for part in range(shape.parts):
        first = KERNEL * part
        whole = _rows(x, first, height, KERNEL)
        parts.append(concat(whole, _rows(x, first + 1, height, KERNEL - 1), axis=2))
    return parts[0] if len(parts) == 1 else concat(*parts, axis=3)


def _rows(x: Node, first: int, count: int, columns: int) -> Node:
    stop = (x.shape[0], first + count, columns, x.shape[3])
    return slice(x, start=(0, first, 0, 0), stop=stop, step=(1,) * 4)


def _kernels(w: Node, shape: _Shape) -> Node:
    """w [O, C, taps] as [O, parts * C, 3, 3]."""
    outputs, inputs, taps = w.shape
    more = shape.parts * PART - taps
    if more:
        w = pad(w, low=(0,) * 3, high=(0, 0, more), interior=(0,) * 3, value=0)
    w = transposed(reshape(w, shape=(outputs, inputs, shape.parts, PART)), (0, 2, 1, 3))
    return reshape(w, shape=(outputs, shape.parts * inputs, KERNEL, KERNEL))


def _line(y: Node, results: int) -> Node:
    """y [N, rows, 3, O] as [N, results, O]."""
    images, rows, columns, outputs = y.shape
    return _cut(reshape(y, shape=(images, rows * columns, outputs)), 1, results)


def _filled(x: Node, low: int, high: int) -> Node:
    """x [N, L, C] with zeros around L."""
    if not low and not high:
        return x
    return pad(x, low=(0, low, 0), high=(0, high, 0), interior=(0,) * 3, value=0)


def _cut(x: Node, axis: int, length: int) -> Node:
    """The first elements along an axis."""
    if length == x.shape[axis]:
        return x
    stop = tuple(length if i == axis else n for i, n in enumerate(x.shape))
    return slice(x, start=(0,) * len(stop), stop=stop, step=(1,) * len(stop))
