"""Depthwise, narrow and grouped convolutions and max pooling as windows over channels-last tensors.

A convolution with one input channel per group has nothing to contract, but its channels lie side by
side once the layout is channels last: they become `depthwise` nodes. The gradient of the input is
the same with the taps turned round (with gaps of zeros between pixels for a stride above 1). A
convolution is narrow if all its weights lie in L1 beside what it reads: a register tile of a matrix
product has no advantage then, and a window needs no padding. Groups of channels that fill vectors,
or of which some fill one, stay where they are (`group_conv`), in the gradient of the input, too.
"""

from __future__ import annotations

from math import prod

from nncomp.ir.graph import Node, build_node
from nncomp.ir.op import OPS
from nncomp.ir.ops import flip, reshape

from ..walks import shaped, transposed
from .layout_conv import PLANES, channels_first, channels_last, dilated
from .window_plan import WIDEST, group_lanes

FEW = 8  # channels that are too few for a vector
NARROW = 20 << 10  # bytes of weights that stay in L1
PAIRED = 16  # channels of a group above which products of bfloat16 in pairs are faster
MOST_WEIGHTS = 1 << 13  # of a vector of so few channels


def lower_window(node: Node, operands: tuple[Node, ...]) -> Node | None:
    """A float conv, conv_transpose or max_pool as a window over channels; None if it is none."""
    lower = WINDOWS.get(node.name)
    return lower(node, *operands, **node.attrs) if lower else None


def _conv(node: Node, x, w, *, stride, padding, dilation, groups) -> Node | None:
    geometry = dict(stride=stride, padding=padding, dilation=dilation)
    if _is_narrow(x, w, groups):
        taps = transposed(w, (*range(2, len(w.shape)), 1, 0))
        attrs = {name: _frozen(value) for name, value in geometry.items()}
        operands = (channels_last(x), taps)
        return channels_first(build_node(OPS["window_conv"], operands, attrs, node.loc))
    if _is_grouped(x, x.shape[1], w.shape[0], w.shape[2:], groups):
        attrs = {name: _frozen(value) for name, value in geometry.items()}
        taps = transposed(w, (*range(2, len(w.shape)), 1, 0))
        return _grouped(node, channels_last(x), taps, {**attrs, "groups": groups})
    return _depthwise(node, x, w, **geometry, groups=groups)


def _grouped(node: Node, x: Node, taps: Node, attrs) -> Node:
    return channels_first(build_node(OPS["group_conv"], (x, taps), attrs, node.loc))


def _is_grouped(x: Node, inputs: int, outputs: int, taps, groups: int) -> bool:
    """Groups of some channels each, of which vectors hold several, or which fill vectors."""
    if groups == 1 or inputs == groups or outputs < FEW or taps[-1] > WIDEST:
        return False
    if x.dtype.name == "bfloat16" and outputs // groups > PAIRED:
        return False
    lanes = group_lanes(inputs // groups, outputs // groups, FEW)
    return lanes == FEW and FEW * prod(taps) * inputs // groups <= MOST_WEIGHTS


def _frozen(rows) -> tuple:
    return tuple(tuple(x) if isinstance(x, (tuple, list)) else x for x in rows)


def _is_narrow(x: Node, w: Node, groups: int) -> bool:
    """Several taps, weights that stay in L1, and neither planes to read nor too wide a window."""
    taps, planes = w.shape[2:], 1 < x.shape[1] <= PLANES
    if groups > 1 or planes or not 1 < prod(taps) or taps[-1] > WIDEST or w.shape[0] < FEW:
        return False
    return w.type.size * w.type.dtype.itemsize <= NARROW


def _depthwise(node: Node, x, w, *, stride, padding, dilation, groups) -> Node | None:
    if not _is_depthwise(w, groups):
        return None
    result = _windows(
        channels_last(x), _weights(w, groups), node, stride, padding, dilation
    )
    shape = (*result.shape[:-2], w.shape[0])
    return channels_first(_joined(result, shape))


def _joined(x: Node, shape) -> Node:
    """x [N, *S, M, C] with channels C * M as torch counts them."""
    rank = len(x.shape)
    if x.shape[-2] > 1:
        x = transposed(x, (*range(rank - 2), rank - 1, rank - 2))
    return shaped(x, shape)


def _is_depthwise(w: Node, groups: int) -> bool:
    """One input channel per group, and not more results of each than there are channels."""
    taps = w.shape[2:]
    return w.shape[1] == 1 and groups >= max(FEW, w.shape[0] // groups) and taps[-1] <= WIDEST


def _weights(w: Node, groups: int) -> Node:
    """w [C * M, 1, *K] as [*K, M, C]."""
    rank = len(w.shape)
    w = reshape(w, shape=(groups, w.shape[0] // groups, *w.shape[2:]))
    return transposed(w, (*range(2, rank), 1, 0))


def _exchanged(w: Node, groups: int) -> Node:
    """w [G * O, C, *K] as [*K, O, G * C]: for sums over the outputs of each group."""
    outputs, inputs, rank = w.shape[0] // groups, w.shape[1], len(w.shape)
    w = reshape(w, shape=(groups, outputs, inputs, *w.shape[2:]))
    w = transposed(w, (*range(3, rank + 1), 1, 0, 2))
    return shaped(w, (*w.shape[:-2], groups * inputs))


def _windows(x: Node, w: Node, node: Node, stride, padding, dilation) -> Node:
    attrs = dict(stride=tuple(stride), padding=tuple(map(tuple, padding)), dilation=tuple(dilation))
    return build_node(OPS["depthwise"], (x, w), attrs, node.loc)


def _transposed(
    node: Node, g, w, *, input_size, stride, padding, dilation, groups
) -> Node | None:
    taps, inputs = w.shape[2:], w.shape[1] * groups
    depthwise = _is_depthwise(w, groups) and w.shape[0] == groups
    grouped = _is_grouped(g, w.shape[0], inputs, taps, groups) and max(stride) == 1
    if not depthwise and not grouped:
        return None
    spans = [(k - 1) * d for k, d in zip(taps, dilation, strict=True)]
    low = [span - lo for span, (lo, _) in zip(spans, padding, strict=True)]
    apart = [(m - 1) * s + 1 for m, s in zip(g.shape[2:], stride, strict=True)]
    rows = zip(input_size, spans, low, apart, strict=True)
    high = [size + span - lo - long for size, span, lo, long in rows]
    if min(*low, *high) < 0:
        return None
    weights = _weights(w, groups) if depthwise else _exchanged(w, groups)
    turned = tuple(i for i, n in enumerate(taps) if n > 1)
    if turned:
        weights = flip(weights, axes=turned)
    grad = dilated(channels_last(g), [s - 1 for s in stride])
    sides = tuple(zip(low, high, strict=True))
    if grouped:
        attrs = dict(stride=tuple(stride), padding=sides, dilation=tuple(dilation), groups=groups)
        return _grouped(node, grad, weights, attrs)
    result = _windows(grad, weights, node, (1,) * len(taps), sides, dilation)
    return channels_first(shaped(result, (*result.shape[:-2], groups)))


def _max_pool(node: Node, x, *, kernel, stride, padding, dilation) -> Node | None:
    if len(x.shape) != len(kernel) + 2 or x.shape[1] < FEW or kernel[-1] > WIDEST:
        return None
    attrs = dict(
        kernel=tuple(kernel),
        stride=tuple(stride),
        padding=tuple(map(tuple, padding)),
        dilation=tuple(dilation),
    )
    return channels_first(build_node(OPS["window_max"], (channels_last(x),), attrs, node.loc))


WINDOWS = {"conv": _conv, "conv_transpose": _transposed, "max_pool": _max_pool}
