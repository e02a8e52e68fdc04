"""Rules of normalizations."""

from __future__ import annotations

import math
from typing import Any

import nncomp

from ..nn import functional as F
from .load_reduce import one_axis
from .load_rules import rule
from .load_steps import Step


def _channels(v: Any, rank: int) -> Any:
    """One number per channel, in the shape that broadcasts against (N, C, ...)."""
    return v.reshape([1, -1, *(1,) * (rank - 2)])


@rule("BatchNormalization")
def batch_normalization(n: Step, x: Any, scale: Any, bias: Any, mean: Any, var: Any) -> Any:
    eps, momentum = n.get("epsilon", 1e-5), n.get("momentum", 0.9)
    if not n.get("training_mode", 0):
        y = F.batch_norm(x, mean, var, scale, bias, False, 0.0, eps)
        return (y, mean, var, mean, var)[: len(n.outputs)]
    axes = [i for i in range(len(x.shape)) if i != 1]
    now = nncomp.mean(x, axes)
    spread = nncomp.mean((x - _channels(now, len(x.shape))) ** 2, axes)
    y = (x - _channels(now, len(x.shape))) / nncomp.sqrt(_channels(spread, len(x.shape)) + eps)
    y = y * _channels(scale, len(x.shape)) + _channels(bias, len(x.shape))
    running = (old * momentum + new * (1 - momentum) for old, new in ((mean, now), (var, spread)))
    return y, *running


@rule("InstanceNormalization")
def instance_normalization(n: Step, x: Any, scale: Any, bias: Any) -> Any:
    return F.instance_norm(x, None, None, scale, bias, True, 0.0, n.get("epsilon", 1e-5))


@rule("LayerNormalization")
def layer_normalization(n: Step, x: Any, scale: Any, bias: Any) -> Any:
    """Over all axes from `axis` on; on demand with the mean and 1 / deviation."""
    axis = one_axis(n, len(x.shape), -1)
    eps, sizes = n.get("epsilon", 1e-5), list(x.shape[axis:])
    plain = list(scale.shape) == sizes and (bias is None or list(bias.shape) == sizes)
    if not n.wants(1) and not n.wants(2) and plain:
        return F.layer_norm(x, sizes, scale, bias, eps)
    axes = list(range(axis, len(x.shape)))
    mean = nncomp.mean(x, axes, keepdim=True)
    inverse = 1 / nncomp.sqrt(nncomp.mean((x - mean) ** 2, axes, keepdim=True) + eps)
    y = (x - mean) * inverse * scale
    return (y if bias is None else y + bias), mean, inverse


@rule("RMSNormalization")
def rms_normalization(n: Step, x: Any, scale: Any) -> Any:
    axis = one_axis(n, len(x.shape), -1)
    axes = list(range(axis, len(x.shape)))
    square = nncomp.mean(x * x, axes, keepdim=True)
    return x / nncomp.sqrt(square + n.get("epsilon", 1e-5)) * scale


@rule("GroupNormalization")
def group_normalization(n: Step, x: Any, scale: Any, bias: Any) -> Any:
    """Before opset 21, scale and bias have one number per group."""
    groups, channels = n.attrs["num_groups"], x.shape[1]
    if scale.shape[0] != channels:
        repeat = channels // groups
        scale, bias = (nncomp.repeat_interleave(v, repeat) for v in (scale, bias))
    return F.group_norm(x, groups, scale, bias, n.get("epsilon", 1e-5))


@rule("LpNormalization")
def lp_normalization(n: Step, x: Any) -> Any:
    """x divided by its norm along an axis; where that is 0, 0."""
    axis = one_axis(n, len(x.shape), -1)
    size = nncomp.abs(x) if n.get("p", 2) == 1 else x * x
    total = nncomp.sum(size, axis, keepdim=True)
    norm = total if n.get("p", 2) == 1 else nncomp.sqrt(total)
    safe = nncomp.where(norm == 0, nncomp.ones_like(norm), norm)
    return nncomp.where(norm == 0, nncomp.zeros_like(x), x / safe)


@rule("MeanVarianceNormalization")
def mean_variance_normalization(n: Step, x: Any) -> Any:
    axes = list(n.get("axes", (0, 2, 3)))
    centred = x - nncomp.mean(x, axes, keepdim=True)
    return centred / (nncomp.sqrt(nncomp.mean(centred * centred, axes, keepdim=True)) + 1e-9)


@rule("LRN")
def local_response_normalization(n: Step, x: Any) -> Any:
    """x / (bias + alpha / size * sum of squares over `size` channels around) ** beta."""
    size, alpha = n.attrs["size"], n.get("alpha", 1e-4)
    low, high = (size - 1) // 2, math.ceil((size - 1) / 2)
    squares = F.pad(x * x, [0, 0] * (len(x.shape) - 2) + [low, high])
    near = squares.narrow(1, 0, x.shape[1])
    for i in range(1, size):
        near = near + squares.narrow(1, i, x.shape[1])
    return x / nncomp.pow(n.get("bias", 1.0) + alpha / size * near, n.get("beta", 0.75))
