"""Pooling, pixel shuffling and dropout.

An average is the sum of an `unfold`. Rounding sizes up (ceil_mode) pads behind the axes, which
neither changes a maximum nor counts in an average.
"""

from __future__ import annotations

import math
from typing import Any

from ..ir import ops
from .autocasting import full_precision
from .base import constant, like, pair
from .conv import at_least
from .promotion import expand_to


def _overhang(size: int, kernel: int, stride: int, pad: int, dilation: int, ceil: bool) -> int:
    """Zeros behind an axis: `pad`, more if `ceil` adds a window that starts inside."""
    span = dilation * (kernel - 1) + 1
    free = size + 2 * pad - span
    if free < 0 and not ceil or free + stride <= 0:
        raise RuntimeError(
            f"Given input size {size}, kernel {kernel} and padding {pad}: the output size is too "
            "small"
        )
    if not ceil:
        return pad
    count = -(-free // stride) + 1
    if (count - 1) * stride >= size + pad:  # torch: the last window must start in input or padding
        count -= 1
    return max((count - 1) * stride + span - size - pad, pad)


def _geometry(
    n: int, x: Any, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> tuple:
    kernel = at_least("kernel_size", pair(kernel_size, n, "kernel_size"), 1)
    empty = stride is None or stride == () or stride == []
    stride = kernel if empty else at_least("stride", pair(stride, n, "stride"), 1)
    padding, dilation = pair(padding, n, "padding"), pair(dilation, n, "dilation")
    at_least("padding", padding)
    for p, k in zip(padding, kernel, strict=True):
        if p > k // 2:
            raise RuntimeError(
                "pad should be at most half of effective kernel size, but got "
                f"pad={p}, kernel_size={k} and dilation={dilation[0]}"
            )
    if len(x.shape) not in (n + 1, n + 2):
        raise RuntimeError(
            f"Expected {n + 1}D or {n + 2}D input tensor to pool, got {list(x.shape)}"
        )
    rows = zip(x.shape[-n:], kernel, stride, padding, dilation, strict=True)
    pads = tuple((p, _overhang(m, k, s, p, d, ceil_mode)) for m, k, s, p, d in rows)
    return dict(kernel=kernel, stride=stride, padding=pads, dilation=dilation), padding


def _max_pool(
    n: int, input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> Any:  # fmt: skip
    geometry, _ = _geometry(n, input, kernel_size, stride, padding, dilation, ceil_mode)
    y = ops.max_pool(input, **geometry)
    return (y, ops.argmax_pool(input, **geometry)) if return_indices else y


def max_pool1d(
    input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> Any:  # fmt: skip
    """Maximum over windows of the last dim; on demand with flat positions in the input."""
    return _max_pool(
        1, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices
    )


def max_pool2d(
    input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> Any:  # fmt: skip
    """Maximum over windows of the last 2 dims; on demand with flat positions in the input."""
    return _max_pool(
        2, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices
    )


@full_precision
def max_pool3d(
    input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> Any:  # fmt: skip
    """Maximum over windows of the last 3 dims; on demand with flat positions in the input."""
    return _max_pool(
        3, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices
    )


def _window_sums(x: Any, geometry: dict) -> Any:
    windows = ops.unfold(x, **geometry)
    rank = len(windows.shape)
    return ops.sum(windows, axes=tuple(range(rank - len(geometry["kernel"]), rank)))


def _avg_pool(
    n: int, input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0,
    ceil_mode: bool = False, count_include_pad: bool = True, divisor_override: int | None = None,
) -> Any:  # fmt: skip
    geometry, padding = _geometry(n, input, kernel_size, stride, padding, 1, ceil_mode)
    total = _window_sums(input, geometry)
    if divisor_override is not None:
        if divisor_override == 0:
            raise RuntimeError("divisor must be not zero")
        return ops.div(total, like(total, divisor_override))
    overhang = any(high > p for (_, high), p in zip(geometry["padding"], padding, strict=True))
    counted = any(padding) and not count_include_pad
    if not overhang and not counted:
        return ops.div(total, like(total, math.prod(geometry["kernel"])))
    ones = constant(1.0, input.shape[-n:], input.dtype)
    if count_include_pad:
        rim = tuple(padding)
        ones = ops.pad(ones, low=rim, high=rim, interior=(0,) * n, value=1.0)
        geometry = {**geometry, "padding": tuple(
            (0, high - p) for (_, high), p in zip(geometry["padding"], padding, strict=True)
        )}  # fmt: skip
    return ops.div(total, expand_to(_window_sums(ones, geometry), tuple(total.shape)))


def avg_pool1d(
    input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Any:  # fmt: skip
    """Mean over windows of the last dim."""
    return _avg_pool(1, input, kernel_size, stride, padding, ceil_mode, count_include_pad)


def avg_pool2d(
    input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> Any:  # fmt: skip
    """Mean over windows of the last 2 dims."""
    return _avg_pool(
        2, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
    )


@full_precision
def avg_pool3d(
    input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> Any:  # fmt: skip
    """Mean over windows of the last 3 dims."""
    return _avg_pool(
        3, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
    )


def pixel_shuffle(input: Any, upscale_factor: int) -> Any:
    """(*, C r^2, H, W) to (*, C, H r, W r)."""
    *lead, c, h, w = input.shape
    r = upscale_factor
    x = ops.reshape(input, shape=(math.prod(lead), c // (r * r), r, r, h, w))
    x = ops.permute(x, dims=(0, 1, 4, 2, 5, 3))
    return ops.reshape(x, shape=(*lead, c // (r * r), h * r, w * r))


def pixel_unshuffle(input: Any, downscale_factor: int) -> Any:
    """(*, C, H r, W r) to (*, C r^2, H, W)."""
    *lead, c, h, w = input.shape
    r = downscale_factor
    x = ops.reshape(input, shape=(math.prod(lead), c, h // r, r, w // r, r))
    x = ops.permute(x, dims=(0, 1, 3, 5, 2, 4))
    return ops.reshape(x, shape=(*lead, c * r * r, h // r, w // r))


def dropout(input: Any, p: float = 0.5, train: bool = True) -> Any:
    """Elements zeroed with probability `p` and the others scaled by 1 / (1 - p), when `train`."""
    from .random import rand_like

    if not 0.0 <= p <= 1.0:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
    if not train or p == 0.0:
        return input
    if p == 1.0:
        return ops.mul(input, like(input, 0.0))
    noise = rand_like(input)
    kept = ops.le(like(noise, p), noise)
    scaled = ops.mul(input, like(input, 1.0 / (1.0 - p)))
    return ops.where(kept, scaled, like(input, 0.0))
