"""A concat of few operands of one shape: one kernel computes them side by side.

Its loops run over one operand; at each point it computes that element of all of them and stores
each at its part of the result. So what the operands share, as the gates of a recurrent cell do, is
computed once, and nothing is chosen by position:

    y = concat(f(a), g(a), axis=1)   ->   y[i, j] = f(a[i, j]);   y[i, 8 + j] = g(a[i, j])
"""

from __future__ import annotations

from math import prod

from .graph import Graph, Node
from .index import linear
from .loops import Kernel, Store
from .lower import Lowering, domain_of, make_buffers, positions
from .pieces import FEW

LEAST = 16  # elements in a row of one operand: shorter ones are slow to store apart


def is_abreast(node: Node) -> bool:
    """Whether a node that is stored is a concat of operands of equal shapes, with rows worth it."""
    if node.name != "concat" or not 2 <= len(node.inputs) <= FEW:
        return False
    first, axis = node.inputs[0].type, node.attrs["axis"]
    if any(x.type.shape != first.shape for x in node.inputs):
        return False
    return bool(first.size) and prod(first.shape[axis:]) >= LEAST


def lower_abreast(body: Graph, name: str) -> Kernel:
    """The kernel of a group whose first result is such a concat."""
    leaves, outs = make_buffers(body)
    whole, *others = body.outputs
    parts, axis = whole.inputs, whole.attrs["axis"]
    domain, idx = domain_of(parts[0].type.shape)
    lowering = Lowering(leaves, domain)
    places = positions(body, domain, idx, roots=parts)[1:]
    stores = [
        Store(out, linear(place, node.type.shape), lowering.at(node, place))
        for out, node, place in zip(outs[1:], others, places, strict=True)
    ]
    width = parts[0].type.shape[axis]
    for number, part in enumerate(parts):
        there = (*idx[:axis], idx[axis] + number * width, *idx[axis + 1 :])
        value = lowering.at(part, idx)
        stores.append(Store(outs[0], linear(there, whole.type.shape), value))
    return Kernel(name, "map", (*leaves.values(), *outs), len(outs), domain, tuple(stores))
