"""Rules of quantized operators: y = saturate(round(x / scale) + zero point), and products of such.

Sums of products are exact: they are taken in int32, those of convolutions in float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np

import nncomp

from ..ir import ops
from ..ir.types import float32, float64, int32, uint8
from .load_convolution import geometry
from .load_reduce import one_axis
from .load_rules import rule
from .load_steps import Step
from .protobuf import dtype_of_number


def _along(n: Step, v: Any, x: Any) -> Any:
    """A scale or zero point in the shape of x: one number, one per place of an axis, or blocks."""
    if v is None or not v.shape:
        return v
    if len(v.shape) == 1 and v.shape[0] == 1:
        return v.reshape([])
    axis = one_axis(n, len(x.shape), 1)
    block = n.get("block_size", 0)
    if block:
        wide = nncomp.repeat_interleave(v, block, axis)
        return wide.narrow(axis, 0, x.shape[axis])
    return v.reshape([-1 if i == axis else 1 for i in range(len(x.shape))])


def saturated(y: Any, dtype: Any) -> Any:
    """y in an integer type, its ends for what is beyond them."""
    limits = np.iinfo(dtype.numpy)
    return ops.cast(nncomp.clamp(y, limits.min, limits.max), dtype=dtype)


@rule("QuantizeLinear")
def quantize_linear(n: Step, x: Any, scale: Any, zero: Any) -> Any:
    number = n.get("output_dtype", 0)
    dtype = dtype_of_number(number) if number else (uint8 if zero is None else zero.dtype)
    scale, zero = _along(n, scale, x), _along(n, zero, x)
    y = nncomp.round(x.to(float32) / scale.to(float32))
    return saturated(y if zero is None else y + zero.to(float32), dtype)


@rule("DequantizeLinear")
def dequantize_linear(n: Step, x: Any, scale: Any, zero: Any) -> Any:
    number = n.get("output_dtype", 0)
    dtype = dtype_of_number(number) if number else scale.dtype
    scale, zero = _along(n, scale, x), _along(n, zero, x)
    wide = float32 if x.dtype.is_floating_point else int32
    y = x.to(wide) if zero is None else x.to(wide) - zero.to(wide)
    return (y.to(float32) * scale.to(float32)).to(dtype)


def centred(x: Any, zero: Any, axis: int) -> Any:
    """x less its zero point, as int32; a vector of zero points goes along `axis`."""
    y = x.to(int32)
    if zero is None:
        return y
    zero = zero.to(int32)
    if len(zero.shape) == 1 and zero.shape[0] > 1:
        zero = zero.reshape([-1 if i == axis % len(x.shape) else 1 for i in range(len(x.shape))])
    return y - zero


@rule("MatMulInteger")
def matmul_integer(n: Step, a: Any, b: Any, a_zero: Any, b_zero: Any) -> Any:
    return nncomp.matmul(centred(a, a_zero, -2), centred(b, b_zero, -1))


@rule("ConvInteger")
def conv_integer(n: Step, x: Any, w: Any, x_zero: Any, w_zero: Any) -> Any:
    return _conv(n, centred(x, x_zero, 1), centred(w, w_zero, 0)).to(int32)


def _conv(n: Step, x: Any, w: Any) -> Any:
    how = geometry(n, x.shape[2:], w.shape[2:])
    return ops.conv(x.to(float64), w.to(float64), groups=n.get("group", 1), **how)


@rule("QLinearMatMul")
def qlinear_matmul(
    n: Step, a: Any, a_scale: Any, a_zero: Any, b: Any, b_scale: Any, b_zero: Any, y_scale: Any,
    y_zero: Any,
) -> Any:  # fmt: skip
    total = nncomp.matmul(centred(a, a_zero, -2), centred(b, b_zero, -1)).to(float32)
    left = a_scale.reshape([-1, 1]) if len(a_scale.shape) == 1 and a_scale.shape[0] > 1 else a_scale
    y = nncomp.round(total * (left * b_scale / y_scale).to(float32))
    return saturated(y + y_zero.to(float32), y_zero.dtype)


@rule("QLinearConv")
def qlinear_conv(
    n: Step, x: Any, x_scale: Any, x_zero: Any, w: Any, w_scale: Any, w_zero: Any, y_scale: Any,
    y_zero: Any, bias: Any,
) -> Any:  # fmt: skip
    total = _conv(n, centred(x, x_zero, 1), centred(w, w_zero, 0))
    line = [1, -1, *(1,) * (len(x.shape) - 2)]
    if bias is not None:
        total = total + bias.to(float64).reshape(line)
    factor = x_scale * w_scale / y_scale
    factor = factor.reshape(line) if len(factor.shape) == 1 and factor.shape[0] > 1 else factor
    y = nncomp.round(total.to(float32) * factor.to(float32))
    return saturated(y + y_zero.to(float32), y_zero.dtype)
