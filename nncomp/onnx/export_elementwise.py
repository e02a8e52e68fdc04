"""Export rules of the elementwise primitives: arithmetic, functions, bits, comparisons, cast."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ..ir.graph import Node
from ..ir.types import dtype_of_name, float32, int32
from .export_builder import Builder, smaller
from .export_contraction import with_bias
from .protobuf import type_number

RULES: dict[str, Callable] = {}
# ruff: noqa: A001  (rules carry the names of the ops)
_SAME = {
    "abs": "Abs", "exp": "Exp", "log": "Log", "sin": "Sin", "cos": "Cos",
    "tanh": "Tanh", "erf": "Erf", "sqrt": "Sqrt", "sigmoid": "Sigmoid", "floor": "Floor",
    "round": "Round", "sub": "Sub", "mul": "Mul", "div": "Div", "eq": "Equal",
    "detach": "Identity",
}  # fmt: skip


def elementwise(name: str) -> Callable:
    """Registers a rule that gets the operands before broadcasting."""

    def register(rule: Callable) -> Callable:
        RULES[name] = lambda b, node: rule(b, node, *b.broadcast(node))
        return rule

    return register


def _register_same() -> None:
    for name, op_type in _SAME.items():
        elementwise(name)(lambda b, node, *xs, op_type=op_type: b.emit(op_type, *xs))


_register_same()


@elementwise("add")
def add(b: Builder, node: Node, x: str, y: str) -> str:
    return with_bias(b, node) or b.emit("Add", x, y)


@elementwise("neg")
def neg(b: Builder, node: Node, x: str) -> str:
    if node.dtype.kind == "u":  # Neg takes signed types only
        return b.emit("Sub", b.scalar(0, node.dtype), x)
    return b.emit("Neg", x)


@elementwise("pow")
def pow(b: Builder, node: Node, x: str, y: str) -> str:
    if node.dtype.kind == "f" or node.dtype.itemsize >= 4:
        return b.emit("Pow", x, y)
    wide = b.emit("Pow", b.cast(x, int32), b.cast(y, int32))  # Pow lacks the narrow integers
    return b.cast(wide, node.dtype)


@elementwise("log1p")
def log1p(b: Builder, node: Node, x: str) -> str:
    """log(u) x / (u - 1) with u = 1 + x: the rounding of u cancels (Kahan's formula)."""
    one = b.scalar(1, node.dtype)
    u = b.emit("Add", x, one)
    log, step = b.emit("Log", u), b.emit("Sub", u, one)
    exact = b.emit("Equal", step, b.scalar(0, node.dtype))
    divisor = b.emit("Where", exact, one, step)
    near = b.emit("Where", exact, x, b.emit("Mul", log, b.emit("Div", x, divisor)))
    return b.emit("Where", _small(b, node, x), near, log)


@elementwise("expm1")
def expm1(b: Builder, node: Node, x: str) -> str:
    """(u - 1) x / log(u) with u = exp(x), as for log1p."""
    one = b.scalar(1, node.dtype)
    u = b.emit("Exp", x)
    step, log = b.emit("Sub", u, one), b.emit("Log", u)
    exact = b.emit("Equal", log, b.scalar(0, node.dtype))
    divisor = b.emit("Where", exact, one, log)
    near = b.emit("Where", exact, x, b.emit("Mul", step, b.emit("Div", x, divisor)))
    return b.emit("Where", _small(b, node, x), near, step)


def _small(b: Builder, node: Node, x: str) -> str:
    return b.emit("Less", b.emit("Abs", x), b.scalar(0.5, node.dtype))


@elementwise("maximum")
def maximum(b: Builder, node: Node, x: str, y: str) -> str:
    return b.emit("Or" if node.dtype.kind == "b" else "Max", x, y)


@elementwise("minimum")
def minimum(b: Builder, node: Node, x: str, y: str) -> str:
    return b.emit("And" if node.dtype.kind == "b" else "Min", x, y)


def _nonzero(b: Builder, node: Node, y: str) -> tuple[str, str | None]:
    """The divisor with 1 in place of 0, and where it was 0 (None if it cannot be)."""
    divisor = smaller(node.inputs[1])
    if divisor.name == "full" and divisor.attrs["value"] != 0:
        return y, None
    zero = b.emit("Equal", y, b.scalar(0, node.dtype))
    return b.emit("Where", zero, b.scalar(1, node.dtype), y), zero


def _or_zero(b: Builder, node: Node, zero: str | None, value: str) -> str:
    return value if zero is None else b.emit("Where", zero, b.scalar(0, node.dtype), value)


def _float_remainder(b: Builder, node: Node, x: str, y: str) -> str:
    """The remainder with the sign of the divisor, from the one with the sign of the dividend."""
    zero = b.scalar(0, node.dtype)
    rest = b.emit("Mod", x, y, fmod=1)
    other = b.emit("Less", b.emit("Mul", b.emit("Sign", rest), b.emit("Sign", y)), zero)
    return b.emit("Where", other, b.emit("Add", rest, y), rest)


@elementwise("remainder")
def remainder(b: Builder, node: Node, x: str, y: str) -> str:
    if node.dtype.kind == "f":
        return _float_remainder(b, node, x, y)
    y, zero = _nonzero(b, node, y)
    return _or_zero(b, node, zero, b.emit("Mod", x, y))


@elementwise("floor_divide")
def floor_divide(b: Builder, node: Node, x: str, y: str) -> str:
    """(x - remainder) / y, which has no rest."""
    if node.dtype.kind == "f":
        exact = b.emit("Sub", x, _float_remainder(b, node, x, y))
        by_zero = b.emit("Equal", y, b.scalar(0, node.dtype))
        whole = b.emit("Round", b.emit("Div", exact, y))
        return b.emit("Where", by_zero, b.emit("Div", x, y), whole)
    y, zero = _nonzero(b, node, y)
    exact = b.emit("Sub", x, b.emit("Mod", x, y))
    return _or_zero(b, node, zero, b.emit("Div", exact, y))


@elementwise("atan2")
def atan2(b: Builder, node: Node, y: str, x: str) -> str:
    """arctan(y / x), turned by half a circle where x < 0."""
    zero = b.scalar(0, node.dtype)
    half, quarter = b.scalar(math.pi, node.dtype), b.scalar(math.pi / 2, node.dtype)
    angle = b.emit("Atan", b.emit("Div", y, x))
    below = b.emit("Less", y, zero)
    turned = b.emit("Where", below, b.emit("Sub", angle, half), b.emit("Add", angle, half))
    on_axis = b.emit("Mul", b.emit("Sign", y), quarter)
    angle = b.emit("Where", b.emit("Less", x, zero), turned, angle)
    return b.emit("Where", b.emit("Equal", x, zero), on_axis, angle)


# -- bits and comparisons -------------------------------------------------------------------------


def _bitwise(name: str, on_bool: str, on_ints: str) -> None:
    @elementwise(name)
    def rule(b: Builder, node: Node, x: str, y: str) -> str:
        if node.dtype.kind == "b":
            return b.emit(on_bool, x, y)
        b.need(18, on_ints)
        return b.emit(on_ints, x, y)


_bitwise("bitwise_and", "And", "BitwiseAnd")
_bitwise("bitwise_or", "Or", "BitwiseOr")
_bitwise("bitwise_xor", "Xor", "BitwiseXor")
_UNSIGNED = {1: 2, 2: 4, 4: 12, 8: 13}  # ONNX type numbers of uint8 to uint64


def _shifted(b: Builder, node: Node, x: str, y: str, direction: str) -> str:
    """A logical shift; ONNX shifts unsigned numbers only."""
    unsigned = _UNSIGNED[node.dtype.itemsize]
    far = b.emit("Less", b.scalar(node.dtype.itemsize * 8 - 1, node.dtype), y)
    y = b.emit("Where", far, b.scalar(0, node.dtype), y)
    parts = [b.emit("Cast", v, to=unsigned) for v in (x, y)]
    moved = b.emit("BitShift", *parts, direction=direction)
    moved = b.emit("Cast", moved, to=type_number(node.dtype))
    return b.emit("Where", far, b.scalar(0, node.dtype), moved)


@elementwise("shift_left")
def shift_left(b: Builder, node: Node, x: str, y: str) -> str:
    return _shifted(b, node, x, y, "LEFT")


@elementwise("shift_right")
def shift_right(b: Builder, node: Node, x: str, y: str) -> str:
    """Arithmetic: of a negative x the bits of -1 - x are shifted."""
    if node.dtype.kind == "u":
        return _shifted(b, node, x, y, "RIGHT")
    minus_one = b.scalar(-1, node.dtype)
    negative = b.emit("Less", x, b.scalar(0, node.dtype))
    mirrored = b.emit("Where", negative, b.emit("Sub", minus_one, x), x)
    moved = _shifted(b, node, mirrored, y, "RIGHT")
    return b.emit("Where", negative, b.emit("Sub", minus_one, moved), moved)


def _order(name: str, op_type: str) -> None:
    @elementwise(name)
    def rule(b: Builder, node: Node, x: str, y: str) -> str:
        if node.inputs[0].dtype.kind == "b":
            x, y = b.cast(x, int32), b.cast(y, int32)
        return b.emit(op_type, x, y)


_order("lt", "Less")
_order("le", "LessOrEqual")


@elementwise("where")
def where(b: Builder, node: Node, condition: str, x: str, y: str) -> str:
    relu = _relu_operand(node)
    if relu is not None:
        return b.emit("Relu", b.values[relu])
    return b.emit("Where", condition, x, y)


def _relu_operand(node: Node) -> Node | None:
    """x of where(x <= 0, 0, x)."""
    condition, zero, x = node.inputs
    if node.dtype.kind != "f" or condition.name != "le" or condition.inputs[0] is not x:
        return None
    zeros = (zero, condition.inputs[1])
    return x if all(z.name == "full" and z.attrs["value"] == 0 for z in zeros) else None


@elementwise("cast")
def cast(b: Builder, node: Node, x: str) -> str:
    """Floats saturate in the narrow integers; ONNX leaves open what happens outside of them."""
    source, dtype = node.inputs[0].dtype, node.dtype
    if source.kind == "f" and dtype.kind in "iu" and dtype.itemsize < 4:
        limits = np.iinfo(dtype.numpy)
        if source.itemsize == 2:
            x, source = b.cast(x, float32), dtype_of_name("float32")
        x = b.emit("Clip", x, b.scalar(limits.min, source), b.scalar(limits.max, source))
        x = b.emit("Cast", x, to=type_number(int32))
    return b.cast(x, dtype)
