"""Folds what is affine per channel after a convolution into its weights: batch norm in evaluation.

before:
    graph f(x: f32[1,3,8], w: f32[4,3,3], mean: f32[4], scale: f32[4]) {
      conv_0 = conv(x, w, stride=(1,), padding=((1,1),), dilation=(1,), groups=1)  : f32[1,4,8]
      reshape_0 = reshape(mean, shape=(1,4,1))     : f32[1,4,1]
      expand_0 = expand(reshape_0, shape=(1,4,8))  : f32[1,4,8]
      sub_0 = sub(conv_0, expand_0)                : f32[1,4,8]
      reshape_1 = reshape(scale, shape=(1,4,1))    : f32[1,4,1]
      expand_1 = expand(reshape_1, shape=(1,4,8))  : f32[1,4,8]
      mul_0 = mul(sub_0, expand_1)                 : f32[1,4,8]
      return mul_0
    }
after:
    graph f(x: f32[1,3,8], w: f32[4,3,3], mean: f32[4], scale: f32[4]) {
      reshape_0 = reshape(scale, shape=(4,1,1))    : f32[4,1,1]
      expand_0 = expand(reshape_0, shape=(4,3,3))  : f32[4,3,3]
      mul_0 = mul(w, expand_0)                     : f32[4,3,3]
      conv_0 = conv(x, mul_0, stride=(1,), padding=((1,1),), dilation=(1,), groups=1)  : f32[1,4,8]
      neg_0 = neg(mean)                            : f32[4]
      mul_1 = mul(neg_0, scale)                    : f32[4]
      reshape_1 = reshape(mul_1, shape=(1,4,1))    : f32[1,4,1]
      expand_1 = expand(reshape_1, shape=(1,4,8))  : f32[1,4,8]
      add_0 = add(conv_0, expand_1)                : f32[1,4,8]
      return add_0
    }

Any chain of +, -, *, / with values that only vary along the channel axis is `y * s + t` for vectors
s and t over channels; then `conv(x, w) * s + t` is `conv(x, w * s) + t`. The vectors must come from
small tensors (no more elements than channels) without any reduction, as parameters and running
statistics do, so `hoist` can move `w * s` out of the call. The chain must be the only reader.
A large weight with many terms per result is left as it is: scaling costs little beside the sum, and
what is packed is then the weight itself, which need not be kept twice (see unpack.py).
Establishes: at most one scaling per channel right after a conv. Needs: gradients taken, calls
inlined.
"""

from __future__ import annotations

from typing import NamedTuple

from ..graph import Graph, Node, build_node, rebuild, toposort
from ..op import OPS, Creation, Elementwise, Movement
from ..ops import expand, neg, reshape
from ..rewrite import full_node
from ..types import TensorType

AFFINE = frozenset({"add", "sub", "mul", "div", "neg"})
LARGE, MANY = 1 << 16, 64  # bytes of a weight; terms of a sum


class Affine(NamedTuple):
    """`node` is conv * scale + shift; None is a scale of one or a shift of zero."""

    conv: Node
    node: Node
    scale: Node | None
    shift: Node | None


def fold_batchnorm(graph: Graph) -> Graph:
    """`graph` with affine chains after convolutions folded into weights and a bias."""
    users, outputs = graph.users(), set(graph.outputs)
    chains = [_chain(n, users, outputs) for n in graph.nodes if n.name == "conv"]
    by_end = {c.node: c for c in chains if c.scale is not None}
    if not by_end:
        return graph
    operands_of: dict[Node, tuple[Node, ...]] = {}

    def visit(node: Node, operands: tuple[Node, ...]) -> Node | None:
        if node.name == "conv":
            operands_of[node] = operands
        chain = by_end.get(node)
        return _scaled(chain, *operands_of[chain.conv]) if chain else None

    return rebuild(graph, visit)


def _scaled(chain: Affine, x: Node, w: Node) -> Node:
    """conv(x, w * scale) + shift, or conv(x, w) * scale + shift for a large weight."""
    if _stays(w):
        conv = build_node(OPS["conv"], (x, w), chain.conv.attrs, chain.conv.loc)
        conv = build_node(OPS["mul"], (conv, _along(chain.scale, conv)), {}, chain.node.loc)
        return _shifted(conv, chain)
    column = reshape(chain.scale, shape=(w.shape[0],) + (1,) * (len(w.shape) - 1))
    weight = w * expand(column, shape=w.shape)
    conv = build_node(OPS["conv"], (x, weight), chain.conv.attrs, chain.conv.loc)
    return _shifted(conv, chain)


def _stays(w: Node) -> bool:
    """Whether a weight is a large input, and its sums are long."""
    return w.op is None and w.type.nbytes >= LARGE and w.type.size >= MANY * w.shape[0]


def _shifted(conv: Node, chain: Affine) -> Node:
    if chain.shift is None:
        return conv
    return build_node(OPS["add"], (conv, _along(chain.shift, conv)), {}, chain.node.loc)


def _along(vector: Node, conv: Node) -> Node:
    """A vector over channels, for each pixel."""
    shape = (1, conv.shape[1]) + (1,) * (len(conv.shape) - 2)
    return expand(reshape(vector, shape=shape), shape=conv.shape)


def _chain(conv: Node, users: dict, outputs: set[Node]) -> Affine:
    """The longest affine chain from `conv` whose inner values nobody else reads."""
    found = Affine(conv, conv, None, None)
    while len(users[found.node]) == 1 and found.node not in outputs:
        longer = _step(found, users[found.node][0])
        if longer is None:
            break
        found = longer
    return found


def _step(chain: Affine, user: Node) -> Affine | None:
    """The chain with one more operation; None when `user` is not affine per channel."""
    if user.name not in AFFINE or user.inputs.count(chain.node) != 1:
        return None
    if user.name == "neg":
        return chain._replace(
            node=user, scale=_negated(chain.scale, chain), shift=_minus(chain.shift)
        )
    first = user.inputs[0] is chain.node
    c = channel_vector(user.inputs[1 if first else 0], chain.conv.shape[1])
    if c is None or (user.name == "div" and not first):
        return None
    scale, shift = chain.scale, chain.shift
    if user.name == "add":
        shift = c if shift is None else shift + c
    elif user.name == "sub" and first:
        shift = -c if shift is None else shift - c
    elif user.name == "sub":
        scale, shift = _negated(scale, chain), c if shift is None else c - shift
    elif user.name == "mul":
        scale, shift = c if scale is None else scale * c, shift and shift * c
    else:
        one = full_node(1.0, c.type)
        scale, shift = (one if scale is None else scale) / c, shift and shift / c
    for vector in (scale, shift):
        if vector is not None and vector.op is not None and not any(vector.loc):
            vector.loc = user.loc  # made here, from inputs without a place
    return Affine(chain.conv, user, scale, shift)


def _negated(scale: Node | None, chain: Affine) -> Node:
    if scale is None:
        return full_node(-1.0, TensorType((chain.conv.shape[1],), chain.conv.dtype))
    return neg(scale)


def _minus(shift: Node | None) -> Node | None:
    return shift and -shift


def channel_vector(node: Node, channels: int) -> Node | None:
    """What `node` holds per channel (axis 1), as a vector; None if it varies along other axes."""
    if node.name == "full":
        return full_node(node.attrs["value"], TensorType((channels,), node.dtype), node.loc)
    if node.name == "expand":
        return channel_vector(node.inputs[0], channels)
    if isinstance(node.op, Elementwise) and node.type.size > channels:
        operands = [channel_vector(x, channels) for x in node.inputs]
        if not operands or any(x is None for x in operands):
            return None
        return build_node(node.op, operands, node.attrs, node.loc)
    along_channels = len(node.shape) > 1 and node.type.size in (1, node.shape[1])
    if not along_channels or not _is_small(node, channels):
        return None
    while node.name == "reshape":
        node = node.inputs[0]
    vector = node if len(node.shape) == 1 else reshape(node, shape=(node.type.size,))
    return expand(vector, shape=(channels,)) if node.type.size != channels else vector


def _is_small(node: Node, channels: int) -> bool:
    """Computed element by element from tensors of no more than `channels` elements."""
    return all(
        isinstance(n.type, TensorType)
        and n.type.size <= channels
        and (n.op is None or isinstance(n.op, (Elementwise, Movement, Creation)))
        and n.name != "random_bits"
        for n in toposort((node,))
    )
