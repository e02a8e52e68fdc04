"""local_response_norm and conv_tbc of nn.functional, and functions that it does not have."""

from __future__ import annotations

from typing import Any

import nncomp

from ..tensor import Tensor


def _channel_means(x: Tensor, size: int, before: int) -> Tensor:
    """The mean over ``size`` channels from ``before`` channels ahead; beyond the ends is 0."""
    count = x.shape[1]
    widths = [0, 0] * (x.dim() - 2) + [before, size - 1 - before]
    padded = nncomp.constant_pad_nd(x, widths)
    total = padded.narrow(1, 0, count)
    for start in range(1, size):
        total = total + padded.narrow(1, start, count)
    return total / size


def local_response_norm(
    input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Tensor:
    """x / (k + alpha * mean of squares of ``size`` channels)^beta (Krizhevsky et al., 2012)."""
    if input.dim() < 3:
        raise ValueError(
            f"Expected 3D or higher dimensionality input (got {input.dim()} dimensions)"
        )
    if input.numel() == 0:
        return input
    mean = _channel_means(input * input, size, size // 2)
    return input / nncomp.pow(mean * alpha + k, beta)


def cross_map_lrn(input: Tensor, size: int, alpha: float, beta: float, k: float) -> Tensor:
    """local_response_norm of (N, C, H, W) with torch's old window.

    It reaches (size - 1) // 2 channels to both sides and always holds channel 0.
    """
    if input.dim() != 4:
        raise ValueError(f"CrossMapLRN2d: Expected input to be 4D, got {input.dim()}D instead.")
    reach, squares = (size - 1) // 2, input * input
    first = squares.narrow(1, 0, 1)
    rest = nncomp.cat([first * 0.0, squares.narrow(1, 1, squares.shape[1] - 1)], 1)
    width = 2 * reach + 1
    total = _channel_means(rest, width, reach) * width + first
    return input / nncomp.pow(total * (alpha / size) + k, beta)


def conv_tbc(input: Tensor, weight: Tensor, bias: Tensor, pad: int = 0) -> Tensor:
    """conv1d of (time, batch, channels) with ``weight`` (kernel, channels, out)."""
    y = nncomp.conv1d(input.permute(1, 2, 0), weight.permute(2, 1, 0), bias, padding=pad)
    return y.permute(2, 0, 1)


def _missing(name: str, advice: str) -> Any:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f"nn.functional.{name} is not available: {advice}")

    refuse.__name__ = refuse.__qualname__ = name
    refuse.__doc__ = "NotImplementedError, which says what to use instead."
    return refuse


grouped_mm = _missing("grouped_mm", "use matmul for each group")
scaled_mm = _missing("scaled_mm", "there are no 8-bit floats; use matmul")
scaled_grouped_mm = _missing("scaled_grouped_mm", "there are no 8-bit floats; use matmul")

__all__ = [
    "conv_tbc", "grouped_mm", "local_response_norm", "scaled_grouped_mm", "scaled_mm",
]  # fmt: skip
