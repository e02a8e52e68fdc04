"""Convolutions and their two gradients as contractions over NHWC tensors, in any number of axes.

The rows of a convolution are (image, pixel..), its k is (tap.., channel), its columns are output
channels; groups are a batch. With channels last and the padding written out, all of them are plain
strides into the input, so nothing is copied per tap. In the gradient of the weights the sum runs
over pixels and the taps are rows. The gradient of the input is a convolution of the output's; for a
stride s it gives s x s neighbouring pixels at once as further columns, which are then laid out
(sub-pixel convolution, Shi et al., "Real-time single image and video super-resolution", 2016).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import NamedTuple

from nncomp.ir.graph import Loc, Node
from nncomp.ir.index import Index, Var, linear
from nncomp.ir.ops import flip, pad, reshape, slice
from nncomp.ir.ops.contraction import windows

from ..walks import Position, at, loops, shaped, transposed
from .layout_product import Product
from .target import Target

PLANES = 4  # channels that are rather read where they lie than brought together
FEW = 4  # columns of a group that are too few for a register tile


class Goal(NamedTuple):
    """Where the new nodes come from and what machine they are for."""

    loc: Loc
    target: Target


def lower_conv(node: Node, operands: tuple[Node, ...], target: Target) -> Node | None:
    """The node as a contraction; None where its own scalar code serves it better (small groups)."""
    groups = node.attrs["groups"]
    columns = operands[1].shape[1] if node.name == "conv_weight" else node.shape[1]
    if groups > 1 and columns // groups < FEW:
        return None
    return CONVS[node.name](*operands, Goal(node.loc, target), **node.attrs)


# -- the three ops -------------------------------------------------------------------------------


def _conv(x, w, goal: Goal, *, stride, padding, dilation, groups) -> Node:
    if groups == 1 and 1 < x.shape[1] <= PLANES and x.name != "permute":
        return channels_first(_over_planes(x, w, goal, stride, padding, dilation))
    padded = _resized(channels_last(x), *_sides(padding))
    weight, lead = _weight(w, groups)
    taps = range(lead + 2, len(weight.shape))
    weight = transposed(weight, (*range(lead), *taps, lead + 1, lead))
    geometry = windows(w.shape[2:], stride, padding, dilation)
    out = [g.count(n) for g, n in zip(geometry, x.shape[2:], strict=True)]
    return channels_first(_slide(padded, weight, lead, out, stride, dilation, goal))


def _over_planes(x, w, goal: Goal, stride, padding, dilation) -> Node:
    """The same over images whose few channels lie apart, as they come in: [N, *S', O]."""
    (low, high), none = _sides(padding), (0,) * len(x.shape)
    if any((*low, *high)):
        x = pad(x, low=(0, 0, *low), high=(0, 0, *high), interior=none, value=0)
    span = [(k - 1) * d + 1 for k, d in zip(w.shape[2:], dilation, strict=True)]
    out = [(m - k) // s + 1 for m, k, s in zip(x.shape[2:], span, stride, strict=True)]
    channel, taps, n = loops("c", w.shape[1:2]), loops("t", w.shape[2:]), loops("n", w.shape[:1])
    image, pixels = loops("i", x.shape[:1]), loops("p", out)
    product = Product(
        x,
        (*at(image, channel), *_window(pixels, taps, stride, dilation)),
        transposed(w, (*range(1, len(w.shape)), 0)),
        at(channel, taps, n),
        lead=0,
        batch=[],
        m=[*image, *pixels],
        n=n[0],
        k=[*channel, *taps],
        dense=(x,),
    )
    return shaped(product.build(goal.target, goal.loc), (x.shape[0], *out, w.shape[0]))


def _conv_weight(x, g, goal: Goal, *, kernel_size, stride, padding, dilation, groups) -> Node:
    padded, grad = _resized(channels_last(x), *_sides(padding)), channels_last(g)
    inputs, outputs = x.shape[1] // groups, g.shape[1] // groups
    group, image = _groups(groups), loops("i", x.shape[:1])
    pixels, taps = loops("p", g.shape[2:]), loops("t", kernel_size)
    channel, n = loops("c", (inputs,)), loops("n", (outputs,))
    left = (*at(image), *_window(pixels, taps, stride, dilation), _channel(group, channel))
    common = dict(lead=len(group), k=[*image, *pixels], dense=(padded, grad))
    first, rank = len(group), len(kernel_size)
    if outputs < FEW <= inputs:  # input channels as columns; so few rows never want panels
        right = (*at(image, pixels), _channel(group, n))
        turned = dict(batch=[*group, *taps], m=n, n=channel[0])
        product = Product(grad, right, padded, left, **turned, **common)
        dims = (first + rank, first + rank + 1)
    else:
        right = grad
        if groups > 1:
            right = reshape(grad, shape=(*grad.shape[:-1], groups, outputs))
            right = transposed(right, (rank + 1, *range(rank + 1), rank + 2))
        there = at(group, image, pixels, n)
        straight = dict(batch=group, m=[*taps, *channel], n=n[0])
        product = Product(padded, left, right, there, **straight, **common)
        dims = (first + rank + 1, first + rank)
    result = product.build(goal.target, goal.loc)
    result = transposed(result, (*range(first), *dims, *range(first, first + rank)))
    return shaped(result, (g.shape[1], inputs, *kernel_size))


def _conv_transpose(g, w, goal: Goal, *, input_size, stride, padding, dilation, groups) -> Node:
    grad, rank = channels_last(g), len(stride)
    gap = [s - 1 if d > 1 else 0 for s, d in zip(stride, dilation, strict=True)]
    grad = dilated(grad, gap)
    stride = [1 if more else s for s, more in zip(stride, gap, strict=True)]
    axes = [
        _Axis(*row)
        for row in zip(
            w.shape[2:], stride, dilation, (lo for lo, _ in padding), input_size, strict=True
        )
    ]
    low = [a.low for a in axes]
    high = [a.high(m) for a, m in zip(axes, grad.shape[1:-1], strict=True)]
    grad = _resized(grad, low, high)
    weight, lead = _rotated(w, groups, axes)
    out = [a.turns for a in axes]
    result = _slide(grad, weight, lead, out, (1,) * rank, dilation, goal)
    return channels_first(_interleaved(result, groups, axes))


CONVS = {"conv": _conv, "conv_transpose": _conv_transpose, "conv_weight": _conv_weight}


# -- sliding over NHWC ---------------------------------------------------------------------------


def _slide(x, weight, lead: int, out, stride, dilation, goal: Goal) -> Node:
    """x [N, *S, C] under weight [groups?, *K, C / groups, n] -> [N, *out, groups * n]."""
    rank = len(out)
    group, taps = loops("g", weight.shape[:lead]), loops("t", weight.shape[lead:-2])
    channel, n = loops("c", weight.shape[-2:-1]), loops("n", weight.shape[-1:])
    image, pixels = loops("i", x.shape[:1]), loops("p", out)
    product = Product(
        x,
        (*at(image), *_window(pixels, taps, stride, dilation), _channel(group, channel)),
        weight,
        at(group, taps, channel, n),
        lead=lead,
        batch=group,
        m=[*image, *pixels],
        n=n[0],
        k=[*taps, *channel],
        dense=(x,),
    )
    result = product.build(goal.target, goal.loc)
    if lead:
        result = transposed(result, (*range(1, rank + 2), 0, rank + 2))
    return shaped(result, (x.shape[0], *out, prod(result.shape[rank + 1 :])))


def _window(pixels: list[Var], taps: list[Var], stride, dilation) -> Position:
    rows = zip(at(pixels), at(taps), stride, dilation, strict=True)
    return tuple(p * s + t * d for p, t, s, d in rows)


def _channel(group: list[Var], channel: list[Var]) -> Index:
    both = (*group, *channel)
    return linear(at(both), tuple(v.extent for v in both))


def _groups(groups: int) -> list[Var]:
    return loops("g", (groups,) if groups > 1 else ())


def _weight(w: Node, groups: int) -> tuple[Node, int]:
    """w [O, C, *K] as [groups?, O / groups, C, *K], and how many axes were added."""
    if groups == 1:
        return w, 0
    return reshape(w, shape=(groups, w.shape[0] // groups, *w.shape[1:])), 1


def channels_last(x: Node) -> Node:
    """x [N, C, *S] as [N, *S, C]."""
    return transposed(x, (0, *range(2, len(x.shape)), 1))


def channels_first(x: Node) -> Node:
    """x [N, *S, C] as [N, C, *S]."""
    rank = len(x.shape)
    return transposed(x, (0, rank - 1, *range(1, rank - 1)))


# -- padding -------------------------------------------------------------------------------------


def _sides(padding) -> tuple[list[int], list[int]]:
    return [lo for lo, _ in padding], [hi for _, hi in padding]


def _resized(x: Node, low: Sequence[int], high: Sequence[int]) -> Node:
    """x [N, *S, C] with zeros around S; negative widths cut off."""
    if any(side > 0 for side in (*low, *high)):
        x = pad(x, low=_around(low), high=_around(high), interior=(0,) * len(x.shape), value=0)
    if any(side < 0 for side in (*low, *high)):
        start = _around([-side for side in low])
        cut = _around([-side for side in high])
        stop = tuple(n - more for n, more in zip(x.shape, cut, strict=True))
        x = slice(x, start=start, stop=stop, step=(1,) * len(x.shape))
    return x


def _around(widths: Sequence[int]) -> tuple[int, ...]:
    return (0, *(max(side, 0) for side in widths), 0)


def dilated(x: Node, gap: Sequence[int]) -> Node:
    """x [N, *S, C] with zeros between neighbours along S."""
    if not any(gap):
        return x
    none = (0,) * len(x.shape)
    return pad(x, low=none, high=none, interior=(0, *gap, 0), value=0)


# -- the gradient of the input -------------------------------------------------------------------


class _Axis(NamedTuple):
    """One spatial axis of conv_transpose.

    Input pixel i gets tap t of output pixel o where i + padding = o * stride + t * dilation. With
    i + padding = q * stride + r and t = u * stride + r that is o = q - u * dilation (a stride above
    1 comes with dilation 1 here): a window of `taps` pixels around q gives `phases` pixels r.
    """

    kernel: int
    stride: int
    dilation: int
    padding: int
    size: int

    @property
    def phases(self) -> int:
        return min(self.kernel, self.stride)

    @property
    def taps(self) -> int:
        return -(-self.kernel // self.stride)

    @property
    def first(self) -> int:
        """The first q that is needed."""
        return self.padding // self.stride

    @property
    def turns(self) -> int:
        """How many q are needed."""
        return (self.padding + self.size - 1) // self.stride + 1 - self.first

    @property
    def reach(self) -> int:
        return (self.taps - 1) * self.dilation

    @property
    def low(self) -> int:
        return self.reach - self.first

    def high(self, length: int) -> int:
        return self.turns + self.reach - self.low - length


def _rotated(w: Node, groups: int, axes: list[_Axis]) -> tuple[Node, int]:
    """w as [groups?, taps reversed.., O / groups, phases.. * C] and the number of group axes."""
    weight, lead = _weight(w, groups)
    more = [a.taps * a.phases - a.kernel for a in axes]
    if any(more):
        none = (0,) * (lead + 2)
        zero = (0,) * len(weight.shape)
        weight = pad(weight, low=zero, high=(*none, *more), interior=zero, value=0)
    split = [n for a in axes for n in (a.taps, a.phases)]
    weight = shaped(weight, (*weight.shape[: lead + 2], *split))
    taps = [lead + 2 + 2 * i for i in range(len(axes))]
    turned = tuple(t for t, a in zip(taps, axes, strict=True) if a.taps > 1)
    if turned:
        weight = flip(weight, axes=turned)
    phases = [t + 1 for t in taps]
    weight = transposed(weight, (*range(lead), *taps, lead, *phases, lead + 1))
    columns = prod(weight.shape[lead + len(axes) + 1 :])
    return shaped(weight, (*weight.shape[: lead + len(axes) + 1], columns)), lead


def _interleaved(x: Node, groups: int, axes: list[_Axis]) -> Node:
    """x [N, *turns, groups * phases.. * C] with the phases side by side: [N, *size, C]."""
    if all(a.stride == 1 for a in axes):
        return x
    rank, phases = len(axes), [a.phases for a in axes]
    channels = x.shape[-1] // (groups * prod(phases))
    x = reshape(x, shape=(*x.shape[:-1], groups, *phases, channels))
    pairs = [axis for i in range(rank) for axis in (1 + i, rank + 2 + i)]
    x = transposed(x, (0, *pairs, rank + 1, 2 * rank + 2))
    more = [n for a in axes for n in (0, a.stride - a.phases)]
    if any(more):  # pixels that no tap reaches
        zero = (0,) * len(x.shape)
        x = pad(x, low=zero, high=(0, *more, 0, 0), interior=zero, value=0)
    long = [a.turns * a.stride for a in axes]
    x = reshape(x, shape=(x.shape[0], *long, groups * channels))
    first = [a.padding % a.stride for a in axes]
    last = [n - f - a.size for n, f, a in zip(long, first, axes, strict=True)]
    return _resized(x, [-f for f in first], [-n for n in last])
