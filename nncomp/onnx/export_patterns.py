"""Groups of primitives that ONNX has one operator for, found from their last node.

A pattern looks at a node and the nodes it reads, and returns the name of the result or None, upon
which the rule of the op applies. The nodes in between are dropped if nothing else reads them.

    add(mul(mul(sub(x, mean), 1 / sqrt(var + eps)), weight), bias) -> BatchNormalization(x, ...)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ..ir.graph import Node
from .export_builder import Builder
from .export_contraction import mean_pool

_SQRT_HALF, _SQRT_TWO_BY_PI, _CUBIC = math.sqrt(0.5), math.sqrt(2 / math.pi), 0.044715


def one_operator(b: Builder, node: Node) -> str | None:
    """The result of the operator that stands for `node` and what leads to it, if there is one."""
    if node.type.dtype.name not in ("float32", "float64", "float16"):
        return None
    for pattern in PATTERNS.get(node.name, ()):
        found = pattern(b, node)
        if found is not None:
            return found
    return None


# -- looking ---------------------------------------------------------------------------------------


def number(x: Node) -> float | None:
    """The value of a constant, also of one that is spread out."""
    while x.name in ("expand", "reshape"):
        x = x.inputs[0]
    return x.attrs["value"] if x.name == "full" else None


def close(x: Node, value: float) -> bool:
    """True for a constant of this value, up to the rounding of float32."""
    found = number(x)
    return found is not None and math.isclose(found, value, rel_tol=1e-6)


class Narrow(NamedTuple):
    """An operand before it was spread out: its shape then, and what was reshaped to it."""

    shape: tuple[int, ...]
    core: Node


def narrow(x: Node) -> Narrow:
    """The operand below an expand and reshapes."""
    small = x.inputs[0] if x.name == "expand" else x
    core = small
    while core.name == "reshape" and _plain(core.inputs[0].shape) == _plain(small.shape):
        core = core.inputs[0]
    return Narrow(small.shape, core)


def _plain(shape: Sequence[int]) -> list[int]:
    return [n for n in shape if n != 1]


def _either(node: Node) -> tuple[tuple[Node, Node], ...]:
    """The operands of a commutative op in both orders."""
    x, y = node.inputs
    return (x, y), (y, x)


def _below(x: Node, name: str) -> Node | None:
    """x below reshapes if it is this op."""
    core = narrow(x).core
    return core if core.name == name else None


def _mean_of(x: Node) -> tuple[Node, tuple[int, ...]] | None:
    """(operand, axes) of a mean that was spread out over the axes again."""
    core = narrow(x).core
    if core.name not in ("mul", "div"):
        return None
    total = narrow(core.inputs[0]).core
    if total.name != "sum":
        return None
    source, axes = total.inputs[0], total.attrs["axes"]
    count = math.prod(source.shape[a] for a in axes)
    factor = 1 / count if core.name == "mul" and count else count
    kept = tuple(1 if i in axes else n for i, n in enumerate(source.shape))
    fits = count and close(core.inputs[1], factor) and narrow(x).shape == kept
    return (source, axes) if fits else None


def _root_and_eps(x: Node) -> tuple[Node, float] | None:
    """(v, eps) of 1 / sqrt(v + eps)."""
    inverse = _below(x, "div")
    if inverse is None or not close(inverse.inputs[0], 1.0):
        return None
    root = _below(inverse.inputs[1], "sqrt")
    sum_ = None if root is None else _below(root.inputs[0], "add")
    eps = None if sum_ is None else number(sum_.inputs[1])
    return None if eps is None else (sum_.inputs[0], eps)


# -- normalizations --------------------------------------------------------------------------------


def _vector(x: Node, shape: tuple[int, ...], length: int) -> Node | None:
    """v if x is the vector v in this shape."""
    found = narrow(x)
    return found.core if found.shape == shape and found.core.shape == (length,) else None


def batch_norm(b: Builder, node: Node) -> str | None:
    """(x - mean) / sqrt(var + eps) * weight + bias with numbers per channel."""
    shape = node.shape
    if len(shape) < 2:
        return None
    line = (1, shape[1], *(1,) * (len(shape) - 2))
    for scaled, shift in _either(node):
        bias = _vector(shift, line, shape[1])
        if bias is None or scaled.name != "mul":
            continue
        normal, weight = scaled.inputs[0], _vector(scaled.inputs[1], line, shape[1])
        if weight is None or normal.name != "mul" or normal.inputs[0].name != "sub":
            continue
        x, mean = normal.inputs[0].inputs
        found = _root_and_eps(normal.inputs[1])
        mean = _vector(mean, line, shape[1])
        var = None if found is None else _vector(found[0], line, shape[1])
        if mean is None or var is None:
            continue
        values = (b.values[v] for v in (x, weight, bias, mean, var))
        return b.emit("BatchNormalization", *values, epsilon=float(found[1]))
    return None


def _normalized(node: Node) -> tuple[Node, int, float] | None:
    """(x, first axis, eps) if node is x less its mean, divided by its deviation, over last axes."""
    if node.name != "mul" or node.inputs[0].name != "sub":
        return None
    centred = node.inputs[0]
    mean, root = _mean_of(centred.inputs[1]), _root_and_eps(node.inputs[1])
    if mean is None or root is None or mean[0] is not centred.inputs[0]:
        return None
    square = _mean_of(root[0])
    if square is None or square[1] != mean[1] or square[0].name != "mul":
        return None
    rank = len(node.shape)
    first = rank - len(mean[1])
    last = mean[1] == tuple(range(first, rank))
    both = all(v is centred for v in square[0].inputs)
    return (mean[0], first, root[1]) if last and both else None


def _weight(x: Node, shape: tuple[int, ...], first: int) -> Node | None:
    """w if x is w along the axes from `first` on."""
    found = narrow(x)
    line = (*(1,) * first, *shape[first:])
    return found.core if found.shape == line and found.core.shape == shape[first:] else None


def layer_norm(b: Builder, node: Node) -> str | None:
    """With weight and bias; without a bias from the product with the weight."""
    if node.name == "add":
        for scaled, shift in _either(node):
            result = _layer_norm(b, scaled, shift)
            if result is not None:
                return result
        return None
    return _layer_norm(b, node, None)


def _layer_norm(b: Builder, scaled: Node, shift: Node | None) -> str | None:
    if scaled.name != "mul":
        return None
    found = _normalized(scaled.inputs[0])
    if found is None:
        return None
    x, first, eps = found
    weight = _weight(scaled.inputs[1], x.shape, first)
    bias = None if shift is None else _weight(shift, x.shape, first)
    if weight is None or (bias is None) != (shift is None):
        return None
    operands = [b.values[v] for v in (x, weight, bias) if v is not None]
    return b.emit("LayerNormalization", *operands, axis=first, epsilon=float(eps))


# -- softmax ---------------------------------------------------------------------------------------


def _shifted(x: Node) -> tuple[Node, int] | None:
    """(x, axis) of x less its largest element along one axis."""
    if x.name != "sub":
        return None
    top = narrow(x.inputs[1])
    ok = top.core.name == "amax" and top.core.inputs[0] is x.inputs[0]
    if not ok or len(top.core.attrs["axes"]) != 1:
        return None
    (axis,) = top.core.attrs["axes"]
    return (x.inputs[0], axis) if _kept(x.shape, axis) == top.shape else None


def _kept(shape: Sequence[int], axis: int) -> tuple[int, ...]:
    return tuple(1 if i == axis else n for i, n in enumerate(shape))


def softmax(b: Builder, node: Node) -> str | None:
    powers, total = node.inputs[0], narrow(node.inputs[1])
    if powers.name != "exp" or total.core.name != "sum" or total.core.inputs[0] is not powers:
        return None
    found = _shifted(powers.inputs[0])
    if found is None or total.core.attrs["axes"] != (found[1],):
        return None
    if total.shape != _kept(node.shape, found[1]):
        return None
    return b.emit("Softmax", b.values[found[0]], axis=found[1])


def log_softmax(b: Builder, node: Node) -> str | None:
    found, log = _shifted(node.inputs[0]), narrow(node.inputs[1])
    if found is None or log.core.name != "log" or log.shape != _kept(node.shape, found[1]):
        return None
    total = narrow(log.core.inputs[0]).core
    if total.name != "sum" or total.attrs["axes"] != (found[1],):
        return None
    powers = total.inputs[0]
    if powers.name != "exp" or powers.inputs[0] is not node.inputs[0]:
        return None
    return b.emit("LogSoftmax", b.values[found[0]], axis=found[1])


# -- activations -----------------------------------------------------------------------------------


def gelu(b: Builder, node: Node) -> str | None:
    """x / 2 (1 + erf(x / sqrt 2)), or with tanh in place of erf; an operator from opset 20 on."""
    if b.opset < 20:
        return None
    for half, rest in _either(node):
        if half.name != "mul" or not close(half.inputs[1], 0.5) or rest.name != "add":
            continue
        x, inner = half.inputs[0], rest.inputs[0]
        if not close(rest.inputs[1], 1.0):
            continue
        if inner.name == "erf" and _is_product(inner.inputs[0], x, _SQRT_HALF):
            return b.emit("Gelu", b.values[x])
        if inner.name == "tanh" and _is_cubic(inner.inputs[0], x):
            return b.emit("Gelu", b.values[x], approximate="tanh")
    return None


def _is_product(y: Node, x: Node, factor: float) -> bool:
    return y.name == "mul" and y.inputs[0] is x and close(y.inputs[1], factor)


def _is_cubic(y: Node, x: Node) -> bool:
    """sqrt(2 / pi) (x + 0.044715 x^3)"""
    if y.name != "mul" or not close(y.inputs[1], _SQRT_TWO_BY_PI) or y.inputs[0].name != "add":
        return False
    for plain, cube in _either(y.inputs[0]):
        if plain is x and cube.name == "mul" and close(cube.inputs[1], _CUBIC):
            return _is_cube(cube.inputs[0], x)
    return False


def _is_cube(y: Node, x: Node) -> bool:
    if y.name == "pow":
        return y.inputs[0] is x and close(y.inputs[1], 3.0)
    if y.name != "mul":
        return False
    pairs = [(s, o) for s, o in _either(y) if o is x and s.name == "mul"]
    return any(s.inputs[0] is x and s.inputs[1] is x for s, _ in pairs)


def _limit(condition: Node, x: Node, above: bool) -> float | None:
    """c of x <= c, or of c <= x if `above`."""
    if condition.name != "le":
        return None
    left, right = condition.inputs[::-1] if above else condition.inputs
    return number(right) if left is x else None


def clip(b: Builder, node: Node) -> str | None:
    """where(x <= low, low, where(high <= x, high, x))"""
    condition, low, inner = node.inputs
    if inner.name != "where":
        return None
    x = inner.inputs[2]
    bottom, top = _limit(condition, x, False), _limit(inner.inputs[0], x, True)
    if bottom is None or top is None or bottom > top:
        return None
    if number(low) != bottom or number(inner.inputs[1]) != top:
        return None
    return b.emit("Clip", b.values[x], *(b.scalar(v, node.dtype) for v in (bottom, top)))


def leaky_relu(b: Builder, node: Node) -> str | None:
    """where(0 < x, x, a x)"""
    condition, x, scaled = node.inputs
    if condition.name != "lt" or scaled.name != "mul" or scaled.inputs[0] is not x:
        return None
    slope = number(scaled.inputs[1])
    if slope is None or number(condition.inputs[0]) != 0 or condition.inputs[1] is not x:
        return None
    return b.emit("LeakyRelu", b.values[x], alpha=float(slope))


def hard_swish(b: Builder, node: Node) -> str | None:
    """where(3 <= x, x, where(x <= -3, 0, x (x + 3) / 6))"""
    condition, x, inner = node.inputs
    if inner.name != "where" or _limit(condition, x, True) != 3:
        return None
    lower, zero, product = inner.inputs
    if _limit(lower, x, False) != -3 or number(zero) != 0 or product.name != "mul":
        return None
    for first, share in _either(product):
        if first is x and share.name == "div" and close(share.inputs[1], 6.0):
            y = share.inputs[0]
            if y.name == "add" and y.inputs[0] is x and close(y.inputs[1], 3.0):
                return b.emit("HardSwish", b.values[x])
    return None


PATTERNS: dict[str, Sequence[Callable[[Builder, Node], Any]]] = {
    "add": (batch_norm, layer_norm),
    "mul": (gelu, layer_norm, mean_pool),
    "div": (softmax, mean_pool),
    "sub": (log_softmax,),
    "where": (hard_swish, clip, leaky_relu),
}
