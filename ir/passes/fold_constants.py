"""Computes what is known: operations on constants become constants.

before:
    graph f(x: f32[2,3]) {
      full_0 = full(value=2.0, shape=(), dtype=f32)  : f32[]
      sqrt_0 = sqrt(full_0)                          : f32[]
      reshape_0 = reshape(sqrt_0, shape=(1,1))       : f32[1,1]
      expand_0 = expand(reshape_0, shape=(2,3))      : f32[2,3]
      mul_0 = mul(x, expand_0)                       : f32[2,3]
      return mul_0
    }
after:
    graph f(x: f32[2,3]) {
      mul_0 = mul(x, 1.4142135381698608)  : f32[2,3]
      return mul_0
    }

A constant is a `full` node: one value everywhere. Elementwise results are computed by the op's own
`eval` on one element, so they have the bits the interpreter gives.
Establishes: no elementwise op, movement or sum has only constants as operands. Needs: nothing.
"""

from __future__ import annotations

import math

import numpy as np

from ..graph import Graph, Node
from ..op import OPS, Elementwise, attribute_key
from ..rewrite import Rules, full_node, rewrite

RULES = Rules()
NOT_FOLDED = {"random_bits", "detach", "again"}  # random_bits is not constant over its elements


def fold_constants(graph: Graph) -> Graph:
    """`graph` with operations on constants computed."""
    return rewrite(graph, RULES.as_set())


def fold_elementwise(node: Node) -> Node | None:
    """f(full(a), full(b)) -> full(f(a, b))"""
    if not all(x.name == "full" for x in node.inputs):
        return None
    operands = [np.asarray(x.attrs["value"]).astype(x.dtype.numpy).reshape(1) for x in node.inputs]
    with np.errstate(all="ignore"):
        value = np.asarray(node.op.eval(*operands, **node.attrs))
    return full_node(value.reshape(()).item(), node.type, node.loc)


def fold_movement(node: Node) -> Node | None:
    """reshape(full(a)) -> full(a), and the same for all movements that bring in nothing else"""
    if not all(x.name == "full" for x in node.inputs):
        return None
    values = [x.attrs["value"] for x in node.inputs]
    if node.name == "pad":
        values.append(node.attrs["value"])
    if len({attribute_key({"": normal}) for normal in map(float, values)}) > 1:
        return None
    return full_node(values[0], node.type, node.loc)


def fold_reduction(node: Node) -> Node | None:
    """sum(full(a)) -> full(a * n), amax(full(a)) -> full(a)"""
    x = node.inputs[0]
    if x.name != "full":
        return None
    value = np.asarray(x.attrs["value"]).astype(x.dtype.numpy)
    if node.name == "amax":
        return full_node(value.item(), node.type, node.loc)
    count = math.prod(x.shape[a] for a in node.attrs["axes"])
    if x.dtype.is_floating_point:
        with np.errstate(all="ignore"):
            total = np.asarray(value.astype(np.float64) * count).astype(x.dtype.numpy)
        return full_node(total.item() if count else 0.0, node.type, node.loc)
    bits = x.dtype.itemsize * 8
    total = int(value) * count % 2**bits
    if x.dtype.kind == "i" and total >= 2 ** (bits - 1):
        total -= 2**bits
    return full_node(total, node.type, node.loc)


def _register():
    for name, op in OPS.items():
        if isinstance(op, Elementwise) and name not in NOT_FOLDED:
            RULES.computed(f"{name}(constants) -> constant", name)(fold_elementwise)
    for name in ("reshape", "permute", "expand", "slice", "flip", "concat", "pad"):
        RULES.computed(f"{name}(constant) -> constant", name)(fold_movement)
    for name in ("sum", "amax"):
        RULES.computed(f"{name}(constant) -> constant", name, tol=1e-5)(fold_reduction)


_register()
