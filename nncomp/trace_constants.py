"""Values of traced tensors that no input of the graph can change: ramps, constants, shapes."""

from __future__ import annotations

import numpy as np

from .ir import Node
from .ir.graph import toposort

MAX_ELEMENTS = 1 << 16


def evaluate(node: Node) -> np.ndarray | None:
    """The value of a node that depends on constants only; None for any other."""
    order = toposort((node,))
    for n in order:
        if n.op is None or (type(n.type) is not tuple and n.type.size > MAX_ELEMENTS):
            return None
    values: dict[Node, object] = {}
    for n in order:
        with np.errstate(all="ignore"):
            values[n] = n.op.eval(*(values[x] for x in n.inputs), **n.attrs)
    return np.array(values[node], node.type.dtype.numpy)
