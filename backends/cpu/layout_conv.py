"""Convolutions and their two gradients as contractions over NHWC tensors, in any number of axes.

The rows of a convolution are (image, pixel..), its k is (tap.., channel), its columns are output
channels; groups are a batch. With channels last and the padding written out, every one of these is
a plain stride into the input, so there is no im2col copy. The gradient of the input is a
convolution of the dilated gradient with rotated weights, one for each phase of the stride; in the
gradient of the weights the sum runs over pixels and the taps are rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from nncomp.ir.graph import Loc, Node
from nncomp.ir.index import Index
from nncomp.ir.ops import concat, flip, pad, permute, reshape, slice
from nncomp.ir.ops.contraction import windows

from .layout_product import Product, at, inverse, loops, transposed
from .target import Target

CONVS = ("conv", "conv_transpose", "conv_weight")
FEW = 4  # columns per group


def lower_conv(node: Node, operands: tuple[Node, ...], target: Target) -> Node | None:
    """The node as a contraction; None where its own scalar code serves it better (small groups)."""
    groups = node.attrs["groups"]
    x, y = operands
    columns = {"conv": node.shape[1], "conv_transpose": node.shape[1], "conv_weight": y.shape[1]}
    if groups > 1 and columns[node.name] // groups < FEW:
        return None
    return LOWERINGS[node.name](x, y, node.loc, target, **node.attrs)


# -- the three -----------------------------------------------------------------------------------


def _conv(x, w, loc, target, *, stride, padding, dilation, groups) -> Node:
    padded = _pad_inner(channels_last(x), padding)
    per_group, inputs, *kernel = w.shape[0] // groups, *w.shape[1:]
    taps = range(3, 3 + len(kernel))
    weight = reshape(w, shape=(groups, per_group, inputs, *kernel))
    weight = transposed(weight, (0, *taps, 2, 1))
    geometry = windows(kernel, stride, padding, dilation)
    out = tuple(g.count(n) for g, n in zip(geometry, x.shape[2:], strict=True))
    return channels_first(_slide(padded, weight, out, stride, dilation, loc, target))


def _conv_transpose(g, w, loc, target, *, input_size, stride, padding, dilation, groups) -> Node:
    """One convolution for each phase of the stride, the results interleaved."""


def _conv_weight(x, g, loc, target, *, kernel_size, stride, padding, dilation, groups) -> Node:
    """Sum over images and pixels; the rows are (tap.., input channel)."""
    padded, grad = _pad_inner(channels_last(x), padding), channels_last(g)
    inputs, outputs = x.shape[1] // groups, g.shape[1] // groups
    group, image = loops("g", (groups,)), loops("i", (g.shape[0],))
    pixels, taps = loops("p", g.shape[2:]), loops("t", kernel_size)
    channel, n = loops("c", (inputs,)), loops("n", (outputs,))
    left = (*at(image), *_window(pixels, taps, stride, dilation), *_grouped(group, channel))
    right = (*at(image, pixels), *_grouped(group, n))
    product = Product(
        padded, left, grad, right, lead=..., batch=group, m=[*taps, *channel], n=n[0],
        k=[*image, *pixels], in_place=False,
    )
