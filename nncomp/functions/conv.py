"""Convolutions and pooling in 1, 2 and 3 dims, with torch's argument rules."""

from __future__ import annotations

import functools
import math
from typing import Any

from ..ir import ops
from .base import constant, like, pair
from .promotion import expand_to


def _check_conv(name: str, x: Any, weight: Any, n: int, groups: int, transposed: bool) -> None:
    if len(weight.shape) != n + 2:
        raise RuntimeError(f"{name}() expects a {n + 2}D weight, got weight of size {list(weight.shape)}")
    if len(x.shape) not in (n + 1, n + 2):
        raise RuntimeError(
            f"Expected {n + 1}D (unbatched) or {n + 2}D (batched) input to {name}, but got input of "
            f"size: {list(x.shape)}"
        )
    if x.dtype is not weight.dtype:
        raise RuntimeError(
            f"Input type ({x.dtype.name}) and weight type ({weight.dtype.name}) should be the same"
        )
    channels = weight.shape[0] if transposed else weight.shape[1] * groups
    if x.shape[-n - 1] != channels:
        kind = "transposed=1, " if transposed else ""
        raise RuntimeError(
            f"Given {kind}groups={groups}, weight of size {list(weight.shape)}, expected "
            f"input{list(x.shape)} to have {channels} channels, but got {x.shape[-n - 1]} channels "
            "instead"
        )
    if groups < 1 or weight.shape[0] % groups:
        raise RuntimeError(
            f"Given groups={groups}, expected weight to be at least {groups} at dimension 0 and "
            f"divisible by it, but got weight of size {list(weight.shape)} instead"
        )


def _with_bias(y: Any, bias: Any) -> Any:
    if bias is None:
        return y
    if len(bias.shape) != 1 or bias.shape[0] != y.shape[1]:
        raise RuntimeError(
            f"expected bias to be 1-dimensional with {y.shape[1]} elements, but got bias of size "
            f"{list(bias.shape)} instead"
        )
    column = ops.reshape(bias, shape=(1, bias.shape[0], *[1] * (len(y.shape) - 2)))
    return ops.add(y, expand_to(column, tuple(y.shape)))


def _paddings(padding: Any, weight: Any, stride: tuple, dilation: tuple, n: int) -> tuple:
    """(low, high) zeros per spatial dim; "same" puts the odd one behind."""
    if padding == "valid":
        return ((0, 0),) * n
    if padding == "same":
        if any(s != 1 for s in stride):
            raise RuntimeError("padding='same' is not supported for strided convolutions")
        totals = [d * (k - 1) for d, k in zip(dilation, weight.shape[2:], strict=True)]
        return tuple((t // 2, t - t // 2) for t in totals)
    if isinstance(padding, str):
        raise RuntimeError(f"Invalid padding string: '{padding}'; use 'valid' or 'same'")
    return tuple((p, p) for p in _not_negative("padding", pair(padding, n, "padding")))


def _not_negative(name: str, values: tuple[int, ...], least: int = 0) -> tuple[int, ...]:
    if min(values) < least:
        raise RuntimeError(f"{name} must be at least {least}, got {list(values)}")
    return values


def _conv(
    n: int, input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0,
    dilation: Any = 1, groups: int = 1,
) -> Any:  # fmt: skip
    """Cross-correlation of (N, C, *S) or (C, *S) with weight (O, C / groups, *K); bias (O)."""
    _check_conv(f"conv{n}d", input, weight, n, groups, False)
    stride = _not_negative("stride", pair(stride, n, "stride"), 1)
    dilation = _not_negative("dilation", pair(dilation, n, "dilation"), 1)
    pads = _paddings(padding, weight, stride, dilation, n)
    for i, (size, (a, b)) in enumerate(zip(input.shape[-n:], pads, strict=True)):
        span = dilation[i] * (weight.shape[2 + i] - 1) + 1
        if span > size + a + b:
            raise RuntimeError(
                f"Calculated padded input size per channel: ({size + a + b}). Kernel size: ({span}). "
                "Kernel size can't be greater than actual input size"
            )
    x = input if len(input.shape) == n + 2 else ops.reshape(input, shape=(1, *input.shape))
    y = ops.conv(x, weight, stride=stride, padding=pads, dilation=dilation, groups=groups)
    y = _with_bias(y, bias)
    return y if x is input else ops.reshape(y, shape=tuple(y.shape[1:]))


def _conv_transpose(
    n: int, input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0,
    output_padding: Any = 0, groups: int = 1, dilation: Any = 1,
) -> Any:  # fmt: skip
    """The adjoint of conv: (N, C, *S) with weight (C, O / groups, *K) gives (N, O, *S')."""
    _check_conv(f"conv_transpose{n}d", input, weight, n, groups, True)
    stride = _not_negative("stride", pair(stride, n, "stride"), 1)
    dilation = _not_negative("dilation", pair(dilation, n, "dilation"), 1)
    padding = _not_negative("padding", pair(padding, n, "padding"))
    extra = _not_negative("output_padding", pair(output_padding, n, "output_padding"))
    for e, s, d in zip(extra, stride, dilation, strict=True):
        if e >= max(s, d):
            raise RuntimeError(
                "output padding must be smaller than either stride or dilation, but got "
                f"output_padding {e}, stride {s}, dilation {d}"
            )
    rows = zip(input.shape[-n:], stride, padding, dilation, weight.shape[2:], extra, strict=True)
    size = tuple((m - 1) * s - 2 * p + d * (k - 1) + 1 + e for m, s, p, d, k, e in rows)
    if min(size) < 1:
        raise RuntimeError(f"conv_transpose{n}d(): the output size {list(size)} is too small")
    x = input if len(input.shape) == n + 2 else ops.reshape(input, shape=(1, *input.shape))
    y = ops.conv_transpose(
        x, weight, input_size=size, stride=stride, padding=tuple((p, p) for p in padding),
        dilation=dilation, groups=groups,
    )  # fmt: skip
    y = _with_bias(y, bias)
    return y if x is input else ops.reshape(y, shape=tuple(y.shape[1:]))


conv1d = functools.partial(_conv, 1)
conv2d = functools.partial(_conv, 2)
conv3d = functools.partial(_conv, 3)
conv_transpose1d = functools.partial(_conv_transpose, 1)
conv_transpose2d = functools.partial(_conv_transpose, 2)
conv_transpose3d = functools.partial(_conv_transpose, 3)


def _overhang(size: int, kernel: int, stride: int, pad: int, dilation: int, ceil: bool) -> int:
    """Zeros behind an axis: `pad`, more if `ceil` adds a window that starts inside."""
    span = dilation * (kernel - 1) + 1
    free = size + 2 * pad - span
    if free < 0 and not ceil or free + stride <= 0:
        raise RuntimeError(
            f"Given input size {size}, kernel {kernel} and padding {pad}: the output size is too small"
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
    kernel = _not_negative("kernel_size", pair(kernel_size, n, "kernel_size"), 1)
    empty = stride is None or stride == () or stride == []
    stride = kernel if empty else _not_negative("stride", pair(stride, n, "stride"), 1)
    padding, dilation = pair(padding, n, "padding"), pair(dilation, n, "dilation")
    _not_negative("padding", padding)
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
    """Maximum over windows of (N, C, *S) or (C, *S); on demand with positions in the plane."""
    geometry, _ = _geometry(n, input, kernel_size, stride, padding, dilation, ceil_mode)
    y = ops.max_pool(input, **geometry)
    return (y, ops.argmax_pool(input, **geometry)) if return_indices else y


max_pool1d = functools.partial(_max_pool, 1)
max_pool2d = functools.partial(_max_pool, 2)
max_pool3d = functools.partial(_max_pool, 3)
max_pool1d_with_indices = functools.partial(_max_pool, 1, return_indices=True)
max_pool2d_with_indices = functools.partial(_max_pool, 2, return_indices=True)


def _window_sums(x: Any, geometry: dict) -> Any:
    windows = ops.unfold(x, **geometry)
    rank = len(windows.shape)
    return ops.sum(windows, axes=tuple(range(rank - len(geometry["kernel"]), rank)))


def _avg_pool(
    n: int, input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0,
    ceil_mode: bool = False, count_include_pad: bool = True, divisor_override: int | None = None,
) -> Any:  # fmt: skip
    """Mean over windows of (N, C, *S) or (C, *S); `count_include_pad` counts padding as elements."""
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


avg_pool1d = functools.partial(_avg_pool, 1)
avg_pool2d = functools.partial(_avg_pool, 2)
avg_pool3d = functools.partial(_avg_pool, 3)


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


