"""Rules of elementwise operators: arithmetic, functions, activations, comparisons, bits, casts."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

import nncomp

from ..functions.base import constant
from ..ir import ops
from ..ir.types import bool_
from ..nn import functional as F
from .load_rules import rule
from .load_steps import Step
from .protobuf import dtype_of_number

SAME = {  # operators that are functions of one operand
    "Abs": nncomp.abs, "Acos": nncomp.acos, "Acosh": nncomp.acosh, "Asin": nncomp.asin,
    "Asinh": nncomp.asinh, "Atan": nncomp.atan, "Atanh": nncomp.atanh, "BitwiseNot":
    nncomp.bitwise_not, "Ceil": nncomp.ceil, "Cos": nncomp.cos, "Cosh": nncomp.cosh,
    "Erf": nncomp.erf, "Exp": nncomp.exp, "Floor": nncomp.floor, "HardSwish": F.hardswish,
    "IsNaN": nncomp.isnan, "Log": nncomp.log, "Mish": F.mish, "Neg": nncomp.neg,
    "Not": nncomp.logical_not, "Reciprocal": nncomp.reciprocal, "Relu": F.relu,
    "Round": nncomp.round, "Sigmoid": nncomp.sigmoid, "Sign": nncomp.sign, "Sin": nncomp.sin,
    "Sinh": nncomp.sinh, "Softsign": F.softsign, "Sqrt": nncomp.sqrt, "Tan": nncomp.tan,
    "Tanh": nncomp.tanh,
}  # fmt: skip
PAIRS = {
    "And": nncomp.logical_and, "BitwiseAnd": nncomp.bitwise_and, "BitwiseOr": nncomp.bitwise_or,
    "BitwiseXor": nncomp.bitwise_xor, "Equal": nncomp.eq, "Greater": nncomp.gt,
    "GreaterOrEqual": nncomp.ge, "Less": nncomp.lt, "LessOrEqual": nncomp.le,
    "Or": nncomp.logical_or, "Xor": nncomp.logical_xor, "Add": nncomp.add, "Sub": nncomp.sub,
    "Mul": nncomp.mul,
}  # fmt: skip


def _aligned(n: Step, x: Any, y: Any) -> tuple[Any, Any]:
    """Operands of a binary operator; before opset 7, `axis` says where y begins in x."""
    axis = n.get("axis")
    if n.opset < 7 and n.get("broadcast") and axis is not None:
        missing = len(x.shape) - axis - len(y.shape)
        y = y.reshape([*y.shape, *(1,) * missing])
    return x, y


def _unary(function: Callable) -> Callable:
    return lambda n, x: function(x)


def _binary(function: Callable) -> Callable:
    return lambda n, x, y: function(*_aligned(n, x, y))


def _register() -> None:
    for name, function in SAME.items():
        rule(name)(_unary(function))
    for name, function in PAIRS.items():
        rule(name)(_binary(function))


_register()


@rule("Div")
def div(n: Step, x: Any, y: Any) -> Any:
    x, y = _aligned(n, x, y)
    if x.dtype.is_floating_point:
        return x / y
    return nncomp.div(x, y, rounding_mode="trunc")


@rule("Mod")
def mod(n: Step, x: Any, y: Any) -> Any:
    return nncomp.fmod(x, y) if n.get("fmod", 0) else nncomp.remainder(x, y)


@rule("Pow")
def pow_(n: Step, x: Any, y: Any) -> Any:
    """The result has the type of the base."""
    x, y = _aligned(n, x, y)
    return nncomp.pow(x, y).to(x.dtype)


@rule("Max")
def maximum(n: Step, *xs: Any) -> Any:
    return functools.reduce(nncomp.maximum, xs)


@rule("Min")
def minimum(n: Step, *xs: Any) -> Any:
    return functools.reduce(nncomp.minimum, xs)


@rule("Sum")
def total(n: Step, *xs: Any) -> Any:
    return functools.reduce(nncomp.add, xs)


@rule("Mean")
def mean(n: Step, *xs: Any) -> Any:
    return functools.reduce(nncomp.add, xs) / len(xs)


@rule("Where")
def where(n: Step, condition: Any, x: Any, y: Any) -> Any:
    return nncomp.where(condition, x, y)


@rule("BitShift")
def bit_shift(n: Step, x: Any, y: Any) -> Any:
    """A logical shift of unsigned numbers."""
    left = n.get("direction") == "LEFT"
    return nncomp.bitwise_left_shift(x, y) if left else nncomp.bitwise_right_shift(x, y)


@rule("IsInf")
def is_inf(n: Step, x: Any) -> Any:
    found = nncomp.isinf(x)
    if not n.get("detect_negative", 1):
        found = found & (x > 0)
    return found if n.get("detect_positive", 1) else found & (x < 0)


@rule("Clip")
def clip(n: Step, x: Any, low: Any, high: Any) -> Any:
    low = n.get("min", low) if n.opset < 11 else low
    high = n.get("max", high) if n.opset < 11 else high
    for limit, choose in ((low, nncomp.maximum), (high, nncomp.minimum)):
        if limit is not None:
            limit = limit if hasattr(limit, "shape") else constant(limit, (), x.dtype)
            x = choose(x, limit.reshape([]))
    return x


# -- activations ----------------------------------------------------------------------------------


@rule("LeakyRelu")
def leaky_relu(n: Step, x: Any) -> Any:
    return F.leaky_relu(x, n.get("alpha", 0.01))


@rule("PRelu")
def prelu(n: Step, x: Any, slope: Any) -> Any:
    """Before opset 7 the slopes belong to the channels."""
    if n.opset < 7 and len(slope.shape) == 1:
        slope = slope.reshape([-1, *(1,) * (len(x.shape) - 2)])
    return nncomp.where(x < 0, x * slope, x)


@rule("Elu")
def elu(n: Step, x: Any) -> Any:
    return F.elu(x, n.get("alpha", 1.0))


@rule("Celu")
def celu(n: Step, x: Any) -> Any:
    return F.celu(x, n.get("alpha", 1.0))


@rule("Selu")
def selu(n: Step, x: Any) -> Any:
    """gamma (alpha exp(x) - alpha) below 0, gamma x above."""
    alpha, gamma = n.get("alpha", 1.67326319217681884765625), n.get("gamma", 1.05070102214813232)
    return gamma * nncomp.where(x <= 0, alpha * nncomp.expm1(nncomp.clamp(x, max=0)), x)


@rule("Gelu")
def gelu(n: Step, x: Any) -> Any:
    return F.gelu(x, approximate=n.get("approximate", "none"))


@rule("HardSigmoid")
def hard_sigmoid(n: Step, x: Any) -> Any:
    return nncomp.clamp(n.get("alpha", 0.2) * x + n.get("beta", 0.5), 0, 1)


@rule("Softplus")
def softplus(n: Step, x: Any) -> Any:
    """log(1 + exp(x)) without overflow."""
    return nncomp.clamp(x, min=0) + nncomp.log1p(nncomp.exp(-nncomp.abs(x)))


@rule("ThresholdedRelu")
def thresholded_relu(n: Step, x: Any) -> Any:
    return nncomp.where(x > n.get("alpha", 1.0), x, nncomp.zeros_like(x))


@rule("Shrink")
def shrink(n: Step, x: Any) -> Any:
    lambd, bias = n.get("lambd", 0.5), n.get("bias", 0.0)
    zero = nncomp.zeros_like(x)
    above = nncomp.where(x > lambd, (x - bias).to(x.dtype), zero)
    return nncomp.where(x < -lambd, (x + bias).to(x.dtype), above)


@rule("Swish")
def swish(n: Step, x: Any) -> Any:
    return x * nncomp.sigmoid(n.get("alpha", 1.0) * x)


@rule("Dropout", known=(1, 2))
def dropout(n: Step, x: Any, ratio: np.ndarray | None, training: np.ndarray | None) -> Any:
    """The identity, unless the file says that it drops while it runs."""
    share = 0.5 if ratio is None else float(ratio)
    if training is None or not training.any() or share == 0:
        return x, constant(True, tuple(x.shape), bool_)
    kept = nncomp.rand_like(x) >= share
    return nncomp.where(kept, x / (1 - share), nncomp.zeros_like(x)), kept


@rule("RandomUniform", "RandomNormal")
def random_(n: Step) -> Any:
    return _drawn(n, n.attrs["shape"], dtype_of_number(n.get("dtype", 1)))


@rule("RandomUniformLike", "RandomNormalLike")
def random_like(n: Step, x: Any) -> Any:
    return _drawn(n, x.shape, dtype_of_number(n.attrs["dtype"]) if "dtype" in n.attrs else x.dtype)


def _drawn(n: Step, shape: Any, dtype: Any) -> Any:
    """Numbers of the default generator; a seed in the file has no meaning for it."""
    if n.op_type.startswith("RandomUniform"):
        low, high = n.get("low", 0.0), n.get("high", 1.0)
        return nncomp.rand(tuple(shape), dtype=dtype) * (high - low) + low
    return nncomp.randn(tuple(shape), dtype=dtype) * n.get("scale", 1.0) + n.get("mean", 0.0)


@rule("OptionalHasElement", control=True)
def optional_has_element(frame: Any, n: Step, *x: Any) -> np.ndarray:
    return np.array(bool(x) and x[0] is not None)


# -- casts ----------------------------------------------------------------------------------------


@rule("Identity", "Optional", "OptionalGetElement")
def identity(n: Step, x: Any) -> Any:
    return x


@rule("Cast")
def cast(n: Step, x: Any) -> Any:
    to = n.get("to")
    if isinstance(to, str):  # opset 1 to 5 spell the type
        raise n.error(f"needs a file of opset 6 or newer, got the type {to!r} as text")
    return ops.cast(x, dtype=dtype_of_number(to))


@rule("CastLike")
def cast_like(n: Step, x: Any, like: Any) -> Any:
    return ops.cast(x, dtype=like.dtype)
