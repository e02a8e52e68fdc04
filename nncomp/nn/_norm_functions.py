"""Normalization functions of nn.functional, as compositions of tensor operations.

Each subtracts the mean first and then averages the squares of what is left (two passes), which
does not cancel. Half precision inputs are normalized in float32 and rounded once.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import nncomp

from ..tensor import Tensor
from ._activation_functions import widened


def _standardized(x: Tensor, dims: Sequence[int], eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return (x - mean) / sqrt(var + eps), mean and biased var over ``dims``, which are kept."""
    mean = x.mean(dim=dims, keepdim=True)
    centered = x - mean
    var = (centered * centered).mean(dim=dims, keepdim=True)
    return centered * nncomp.rsqrt(var + eps), mean, var


def _affine(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    if weight is not None:
        x = x * weight
    return x if bias is None else x + bias


def _per_channel(value: Tensor | None, ndim: int) -> Tensor | None:
    """View a vector over channels so that it broadcasts along dimension 1 of ``ndim``."""
    return None if value is None else value.reshape([1, -1] + [1] * (ndim - 2))


def layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalize over the last dimensions, which are ``normalized_shape`` (Ba et al., 2016)."""
    dims = _last_dims(input, normalized_shape)
    normal, _, _ = _standardized(widened(input), dims, eps)
    return _affine(normal, weight, bias).to(input.dtype)


def rms_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    eps: float | None = None,
) -> Tensor:
    """Divide by the root mean square over the last dimensions (Zhang and Sennrich, 2019)."""
    dims = _last_dims(input, normalized_shape)
    x = widened(input)
    eps = nncomp.finfo(x.dtype).eps if eps is None else eps
    normal = x * nncomp.rsqrt((x * x).mean(dim=dims, keepdim=True) + eps)
    return _affine(normal, weight, None).to(input.dtype)


def _last_dims(input: Tensor, normalized_shape: Sequence[int]) -> list[int]:
    shape = tuple(normalized_shape)
    if not shape or tuple(input.shape[-len(shape) :]) != shape:
        expected = "".join(f", {extent}" for extent in shape)
        raise RuntimeError(
            f"Given normalized_shape={list(shape)}, expected input with shape [*{expected}], "
            f"but got input of size{list(input.shape)}"
        )
    return list(range(-len(shape), 0))


def group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalize over groups of channels and all positions; (N, C, *) (Wu and He, 2018)."""
    if input.dim() < 2:
        raise RuntimeError(f"Expected at least 2 dimensions for input tensor but received "
                           f"{input.dim()}")  # fmt: skip
    batch, channels = input.shape[0], input.shape[1]
    if channels % num_groups:
        raise RuntimeError(
            "Expected number of channels in input to be divisible by num_groups, but got input "
            f"of shape {list(input.shape)} and num_groups={num_groups}"
        )
    # Channels stay an axis, so that a weight is the same along all others: see passes/share_sums.
    places = prod(input.shape[2:])
    grouped = widened(input).reshape([batch, num_groups, channels // num_groups, places])
    normal, _, _ = _standardized(grouped, [2, 3], eps)
    weight, bias = (
        None if v is None else v.reshape([1, num_groups, -1, 1]) for v in (weight, bias)
    )
    return _affine(normal, weight, bias).reshape(input.shape).to(input.dtype)


def _update_running(running: Tensor | None, batch: Tensor, momentum: float | Tensor) -> None:
    if running is not None:
        with nncomp.no_grad():
            moved = running * (1 - momentum) + batch.detach().reshape([-1]) * momentum
            running.copy_(moved)


def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float | Tensor = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalize each channel of (N, C, *) over the batch (Ioffe and Szegedy, 2015).

    In training the statistics are those of the batch, and the running ones are moved towards
    them in place, the variance without bias; otherwise the running statistics are used.
    """
    weight, bias = _per_channel(weight, input.dim()), _per_channel(bias, input.dim())
    x = widened(input)
    if not training:
        mean = _per_channel(running_mean, input.dim())
        scale = nncomp.rsqrt(_per_channel(running_var, input.dim()) + eps)
        return _affine((x - mean) * scale, weight, bias).to(input.dtype)
    count = input.numel() // max(input.shape[1], 1)
    if count == 1:
        raise ValueError(
            f"Expected more than 1 value per channel when training, got input size {input.shape}"
        )
    dims = [0, *range(2, input.dim())]
    normal, mean, var = _standardized(x, dims, eps)
    _update_running(running_mean, mean, momentum)
    _update_running(running_var, var * (count / (count - 1)), momentum)
    return _affine(normal, weight, bias).to(input.dtype)


def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalize each channel of each sample of (N, C, *) (Ulyanov et al., 2016)."""
    if not use_input_stats:
        return batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    count = input.numel() // max(input.shape[0] * input.shape[1], 1)
    if count == 1:
        raise ValueError(
            "Expected more than 1 spatial element when training, got input size "
            f"{input.shape}"
        )
    normal, mean, var = _standardized(widened(input), list(range(2, input.dim())), eps)
    _update_running(running_mean, mean.mean(dim=0), momentum)
    _update_running(running_var, var.mean(dim=0) * (count / (count - 1)), momentum)
    weight, bias = _per_channel(weight, input.dim()), _per_channel(bias, input.dim())
    return _affine(normal, weight, bias).to(input.dtype)


__all__ = ["batch_norm", "group_norm", "instance_norm", "layer_norm", "rms_norm"]
