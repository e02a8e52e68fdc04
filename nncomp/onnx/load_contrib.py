"""Rules of the domain com.microsoft: what onnxruntime writes when it optimizes or quantizes models.

Fused operators are the compositions that they stand for; quantized ones compute on the numbers
that their operands stand for, and round once at the end.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

import nncomp

from ..ir import ops
from ..ir.types import float32, uint8
from ..nn import functional as F
from . import load_convolution, load_linear, load_quantize
from .load_reduce import one_axis
from .load_rules import rule
from .load_steps import Step

DOMAIN = "com.microsoft"
ACTIVATIONS: dict[str, Callable[..., Any]] = {
    "Relu": F.relu,
    "Tanh": nncomp.tanh,
    "Sigmoid": nncomp.sigmoid,
    "LeakyRelu": lambda x, alpha=0.01: F.leaky_relu(x, alpha),
    "Clip": lambda x, low, high: nncomp.clamp(x, low, high),
    "HardSigmoid": lambda x, alpha=0.2, beta=0.5: nncomp.clamp(alpha * x + beta, 0, 1),
}


def _activated(n: Step, y: Any, numbers: list[float]) -> Any:
    name = n.get("activation", "")
    if name not in ACTIVATIONS:
        raise n.error(f"activation {name!r} is not one of {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name](y, *numbers)


@rule("FusedConv", domain=DOMAIN)
def fused_conv(n: Step, x: Any, w: Any, bias: Any, z: Any) -> Any:
    """Conv, plus z, then an activation."""
    y = load_convolution.conv(n, x, w, bias)
    y = y if z is None else y + z
    return _activated(n, y, n.get("activation_params", [])) if "activation" in n.attrs else y


@rule("FusedGemm", domain=DOMAIN)
def fused_gemm(n: Step, a: Any, b: Any, c: Any) -> Any:
    names = ("activation_alpha", "activation_beta", "activation_gamma")
    numbers = [n.attrs[name] for name in names if name in n.attrs]
    return _activated(n, load_linear.gemm(n, a, b, c), numbers)


@rule("FusedMatMul", domain=DOMAIN)
def fused_matmul(n: Step, a: Any, b: Any) -> Any:
    """alpha A B, both transposed on demand; transBatch moves the first axis to the row's place."""
    a, b = (_turned(n, x, side) for x, side in ((a, "A"), (b, "B")))
    y = nncomp.matmul(a, b)
    alpha = n.get("alpha", 1.0)
    return y if alpha == 1 else (y * alpha).to(y.dtype)


def _turned(n: Step, x: Any, side: str) -> Any:
    if n.get(f"transBatch{side}", 0):
        rank = len(x.shape)
        x = x.permute([*range(1, rank - 1), 0, rank - 1])
    return x.transpose(-1, -2) if n.get(f"trans{side}", 0) and len(x.shape) > 1 else x


# -- activations and normalizations ---------------------------------------------------------------


@rule("Gelu", domain=DOMAIN)
def gelu(n: Step, x: Any) -> Any:
    return F.gelu(x)


@rule("BiasGelu", domain=DOMAIN)
def bias_gelu(n: Step, x: Any, bias: Any) -> Any:
    return F.gelu(x + bias)


@rule("FastGelu", domain=DOMAIN)
def fast_gelu(n: Step, x: Any, bias: Any) -> Any:
    return F.gelu(x if bias is None else x + bias, approximate="tanh")


@rule("QuickGelu", domain=DOMAIN)
def quick_gelu(n: Step, x: Any) -> Any:
    return x * nncomp.sigmoid(n.get("alpha", 1.702) * x)


@rule("SimplifiedLayerNormalization")
@rule("SimplifiedLayerNormalization", domain=DOMAIN)
def simplified_layer_normalization(n: Step, x: Any, scale: Any) -> Any:
    """x / sqrt(mean of squares), which onnxruntime puts into the default domain."""
    axis = one_axis(n, len(x.shape), -1)
    mean = nncomp.mean(x * x, list(range(axis, len(x.shape))), keepdim=True)
    inverse = 1 / nncomp.sqrt(mean + n.get("epsilon", 1e-5))
    return x * inverse * scale, inverse


@rule("SkipLayerNormalization", domain=DOMAIN)
def skip_layer_normalization(n: Step, x: Any, skip: Any, scale: Any, shift: Any, bias: Any) -> Any:
    """LayerNorm of x + skip + bias; that sum is the fourth result."""
    total = x + skip if bias is None else x + skip + bias
    mean = nncomp.mean(total, -1, keepdim=True)
    centred = total - mean
    inverse = 1 / nncomp.sqrt(
        nncomp.mean(centred * centred, -1, keepdim=True) + n.get("epsilon", 1e-12)
    )
    y = centred * inverse * scale
    return (y if shift is None else y + shift), mean, inverse, total


@rule("SkipSimplifiedLayerNormalization", domain=DOMAIN)
def skip_simplified(n: Step, x: Any, skip: Any, scale: Any, bias: Any) -> Any:
    total = x + skip if bias is None else x + skip + bias
    mean = nncomp.mean(total * total, -1, keepdim=True)
    inverse = 1 / nncomp.sqrt(mean + n.get("epsilon", 1e-12))
    return total * inverse * scale, mean, inverse, total


# -- quantized ------------------------------------------------------------------------------------


def _numbers(x: Any, scale: Any, zero: Any) -> Any:
    """What quantized numbers stand for, one scale for all."""
    y = x.to(float32)
    return (y if zero is None else y - zero.to(float32)) * scale


def _quantized(y: Any, scale: Any, zero: Any) -> Any:
    """y as quantized numbers, of the type of the zero point."""
    y = nncomp.round(y / scale)
    return load_quantize.saturated(
        y if zero is None else y + zero.to(float32), uint8 if zero is None else zero.dtype
    )


@rule("QLinearAdd", domain=DOMAIN)
def qlinear_add(n: Step, a: Any, sa: Any, za: Any, b: Any, sb: Any, zb: Any, sy: Any,
                zy: Any) -> Any:  # fmt: skip
    return _quantized(_numbers(a, sa, za) + _numbers(b, sb, zb), sy, zy)


@rule("QLinearMul", domain=DOMAIN)
def qlinear_mul(n: Step, a: Any, sa: Any, za: Any, b: Any, sb: Any, zb: Any, sy: Any,
                zy: Any) -> Any:  # fmt: skip
    return _quantized(_numbers(a, sa, za) * _numbers(b, sb, zb), sy, zy)


def _by_function(name: str, function: Callable[[Step, Any], Any]) -> None:
    @rule(name, domain=DOMAIN)
    def apply(n: Step, x: Any, sx: Any, zx: Any, sy: Any, zy: Any) -> Any:
        return _quantized(function(n, _numbers(x, sx, zx)), sy, zy)


def _softmax(n: Step, x: Any) -> Any:
    """`opset` says which version of Softmax is meant: before 13, over all axes from `axis` on."""
    if n.get("opset", 13) >= 13:
        return F.softmax(x, n.get("axis", -1))
    axis = one_axis(n, len(x.shape), 1)
    flat = x.reshape([math.prod(x.shape[:axis]), math.prod(x.shape[axis:])])
    return F.softmax(flat, 1).reshape(tuple(x.shape))


def _pooled(n: Step, x: Any, pool: Callable[[Step, Any], Any]) -> Any:
    """A pool, also of images whose channels are last."""
    if not n.get("channels_last", 0):
        return pool(n, x)
    return nncomp.movedim(pool(n, nncomp.movedim(x, -1, 1)), 1, -1)


_by_function("QLinearSigmoid", lambda n, x: nncomp.sigmoid(x))
_by_function("QLinearLeakyRelu", lambda n, x: F.leaky_relu(x, n.get("alpha", 0.01)))
_by_function("QLinearSoftmax", _softmax)
_by_function("QLinearAveragePool", lambda n, x: _pooled(n, x, load_convolution.average_pool))
_by_function(
    "QLinearGlobalAveragePool", lambda n, x: _pooled(n, x, load_convolution.global_average_pool)
)


@rule("QLinearConcat", domain=DOMAIN)
def qlinear_concat(n: Step, scale: Any, zero: Any, *parts: Any) -> Any:
    """Parts with scales and zero points of their own."""
    triples = [parts[i : i + 3] for i in range(0, len(parts), 3)]
    axis = one_axis(n, len(triples[0][0].shape))
    return ops.concat(*(_quantized(_numbers(*t), scale, zero) for t in triples), axis=axis)


@rule("QGemm", domain=DOMAIN)
def qgemm(n: Step, a: Any, sa: Any, za: Any, b: Any, sb: Any, zb: Any, c: Any, sy: Any,
          zy: Any) -> Any:  # fmt: skip
    """Sums of products and C are int32; without a scale of y the result is float."""
    a = a.permute([1, 0]) if n.get("transA", 0) else a
    b = b.permute([1, 0]) if n.get("transB", 0) else b
    total = nncomp.matmul(load_quantize.centred(a, za, -2), load_quantize.centred(b, zb, -1))
    total = total if c is None else total + c
    y = total.to(float32) * (n.get("alpha", 1.0) * sa * sb)
    return y if sy is None else _quantized(y, sy, zy)


@rule("MatMulIntegerToFloat", domain=DOMAIN)
def matmul_integer_to_float(n: Step, a: Any, b: Any, sa: Any, sb: Any, za: Any, zb: Any,
                            bias: Any) -> Any:  # fmt: skip
    total = nncomp.matmul(load_quantize.centred(a, za, -2), load_quantize.centred(b, zb, -1))
    y = total.to(float32) * (sa * sb)
    return y if bias is None else y + bias


@rule("DynamicQuantizeMatMul", domain=DOMAIN)
def dynamic_quantize_matmul(n: Step, a: Any, b: Any, sb: Any, zb: Any, bias: Any) -> Any:
    """A is quantized to uint8 by its extremes first."""
    low, high = nncomp.clamp(a.amin(), max=0.0), nncomp.clamp(a.amax(), min=0.0)
    scale = (high - low) / 255
    scale = nncomp.where(scale == 0, nncomp.ones_like(scale), scale)
    zero = load_quantize.saturated(nncomp.round(-low / scale), uint8)
    return matmul_integer_to_float(n, _quantized(a, scale, zero), b, scale, sb, zero, zb, bias)


@rule("MatMulNBits", domain=DOMAIN)
def matmul_n_bits(n: Step, a: Any, b: Any, scales: Any, zeros: Any, groups: Any, bias: Any) -> Any:
    """A B^T with B in blocks of 2, 4 or 8 bits, a scale and a zero point for each block."""
    rows, depth, block, bits = (n.attrs[k] for k in ("N", "K", "block_size", "bits"))
    if groups is not None or bits not in (2, 4, 8):
        raise n.error("g_idx and other widths than 2, 4 and 8 bits are not supported")
    count = -(-depth // block)
    codes = _unpacked(b.reshape([rows, -1]), bits)[:, : count * block]
    codes = codes.reshape([rows, count, block])
    middle = 1 << (bits - 1)
    if zeros is None:
        offset: Any = middle
    elif zeros.dtype is uint8:
        packed = zeros.reshape([rows, -1])
        offset = _unpacked(packed, bits)[:, :count].reshape([rows, count, 1])
    else:
        offset = zeros.reshape([rows, count, 1])
    weight = (codes.to(a.dtype) - offset) * scales.reshape([rows, count, 1])
    weight = weight.reshape([rows, count * block])[:, :depth].to(a.dtype)
    return F.linear(a, weight, bias)


def _unpacked(packed: Any, bits: int) -> Any:
    """The numbers in the bytes of each row, those in the low bits first, as float32."""
    base, parts = np.float32(1 << bits).item(), []
    rest = packed.to(float32)
    for _ in range(8 // bits):
        above = nncomp.floor(rest / base)
        parts.append(rest - above * base)
        rest = above
    return nncomp.stack(parts, -1).reshape([packed.shape[0], -1])
