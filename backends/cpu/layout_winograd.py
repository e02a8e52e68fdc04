"""Convolutions with 3 x 3 kernels and stride 1 as `winograd` nodes, where that is faster.

The same for the gradient of such a convolution's input: it is a convolution of the output's
gradient with the kernels turned round.
"""

from __future__ import annotations

from nncomp.ir.debug import debug
from nncomp.ir.graph import Node, build_node
from nncomp.ir.op import OPS
from nncomp.ir.ops import flip

from ..walks import transposed
from .layout_conv import channels_first, channels_last
from .target import Target
from .winograd_plan import choose

ONES = (1, 1)


def lower_winograd(node: Node, operands: tuple[Node, ...], target: Target, known) -> Node | None:
    """The node as a `winograd` one; None where it is none or where the direct sum is faster.

    `known` are the nodes that stay the same over many calls.
    """
    attrs = node.attrs
    if not debug.winograd or node.name not in ("conv", "conv_transpose"):
        return None
    if node.dtype.name != "float32":
        return None
    x, w = operands
    if attrs["groups"] != 1 or w.shape[2:] != (3, 3):
        return None
    if tuple(attrs["stride"]) != ONES or tuple(attrs["dilation"]) != ONES:
        return None
    padding = attrs["padding"]
    if node.name == "conv":
        kernels = transposed(w, (2, 3, 1, 0))
    else:
        sizes = zip(padding, attrs["input_size"], x.shape[2:], strict=True)
        padding = tuple((2 - low, m - n + low) for (low, _), m, n in sizes)
        kernels = transposed(flip(w, axes=(2, 3)), (2, 3, 0, 1))
    if min(side for sides in padding for side in sides) < 0:
        return None
    x = channels_last(x)
    padding = tuple((int(low), int(high)) for low, high in padding)
    plan = choose(x.shape, kernels.shape[3], padding, node.inputs[1] in known, target)
    if plan is None:
        return None
    u = build_node(
        OPS["winograd_weight"], (kernels,), {"tile": plan.tile, "panel": plan.panel}, node.loc
    )
    attrs = dict(
        tile=plan.tile,
        padding=padding,
        n=plan.n,
        blocking=tuple(plan.blocking),
        workspace=plan.units * plan.room,
    )
    return channels_first(build_node(OPS["winograd"], (x, u), attrs, node.loc))
