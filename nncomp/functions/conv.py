"""Convolutions in 1, 2 and 3 dims and their adjoints, with torch's argument rules.

An input without a batch dim gives a result without one. Work is done by the ops `conv` and
`conv_transpose`; here arguments are completed and checked.
"""

from __future__ import annotations

from typing import Any

from ..ir import ops
from .autocasting import lowered
from .base import pair
from .promotion import expand_to


def _check_conv(name: str, x: Any, weight: Any, n: int, groups: int, transposed: bool) -> None:
    if len(weight.shape) != n + 2:
        raise RuntimeError(
            f"{name}() expects a {n + 2}D weight, got weight of size {list(weight.shape)}"
        )
    if len(x.shape) not in (n + 1, n + 2):
        raise RuntimeError(
            f"Expected {n + 1}D (unbatched) or {n + 2}D (batched) input to {name}, but got input "
            f"of size: {list(x.shape)}"
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
    return tuple((p, p) for p in at_least("padding", pair(padding, n, "padding")))


def at_least(name: str, values: tuple[int, ...], least: int = 0) -> tuple[int, ...]:
    if min(values) < least:
        raise RuntimeError(f"{name} must be at least {least}, got {list(values)}")
    return values


def _conv(
    n: int, input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0,
    dilation: Any = 1, groups: int = 1,
) -> Any:  # fmt: skip
    """Cross-correlation of (N, C, *S) or (C, *S) with weight (O, C / groups, *K); bias (O)."""
    input, weight, bias = lowered(input, weight, bias)
    _check_conv(f"conv{n}d", input, weight, n, groups, False)
    stride = at_least("stride", pair(stride, n, "stride"), 1)
    dilation = at_least("dilation", pair(dilation, n, "dilation"), 1)
    pads = _paddings(padding, weight, stride, dilation, n)
    for i, (size, (a, b)) in enumerate(zip(input.shape[-n:], pads, strict=True)):
        span = dilation[i] * (weight.shape[2 + i] - 1) + 1
        if span > size + a + b:
            raise RuntimeError(
                f"Calculated padded input size per channel: ({size + a + b}). Kernel size: "
                f"({span}). Kernel size can't be greater than actual input size"
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
    input, weight, bias = lowered(input, weight, bias)
    _check_conv(f"conv_transpose{n}d", input, weight, n, groups, True)
    stride = at_least("stride", pair(stride, n, "stride"), 1)
    dilation = at_least("dilation", pair(dilation, n, "dilation"), 1)
    padding = at_least("padding", pair(padding, n, "padding"))
    extra = at_least("output_padding", pair(output_padding, n, "output_padding"))
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


def conv1d(
    input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0,
    dilation: Any = 1, groups: int = 1,
) -> Any:  # fmt: skip
    """Cross-correlation of (N, C, L) with weight (O, C / groups, K); bias (O)."""
    return _conv(1, input, weight, bias, stride, padding, dilation, groups)


def conv2d(
    input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0,
    dilation: Any = 1, groups: int = 1,
) -> Any:  # fmt: skip
    """Cross-correlation of (N, C, H, W) with weight (O, C / groups, K, K'); bias (O)."""
    return _conv(2, input, weight, bias, stride, padding, dilation, groups)


def conv3d(
    input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0,
    dilation: Any = 1, groups: int = 1,
) -> Any:  # fmt: skip
    """Cross-correlation of (N, C, D, H, W) with weight (O, C / groups, K, K', K''); bias (O)."""
    return _conv(3, input, weight, bias, stride, padding, dilation, groups)


def conv_transpose1d(
    input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0,
    output_padding: Any = 0, groups: int = 1, dilation: Any = 1,
) -> Any:  # fmt: skip
    """The adjoint of conv1d: (N, C, L) with weight (C, O / groups, K)."""
    return _conv_transpose(
        1, input, weight, bias, stride, padding, output_padding, groups, dilation
    )


def conv_transpose2d(
    input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0,
    output_padding: Any = 0, groups: int = 1, dilation: Any = 1,
) -> Any:  # fmt: skip
    """The adjoint of conv2d: (N, C, H, W) with weight (C, O / groups, K, K')."""
    return _conv_transpose(
        2, input, weight, bias, stride, padding, output_padding, groups, dilation
    )


def conv_transpose3d(
    input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0,
    output_padding: Any = 0, groups: int = 1, dilation: Any = 1,
) -> Any:  # fmt: skip
    """The adjoint of conv3d: (N, C, D, H, W) with weight (C, O / groups, K, K', K'')."""
    return _conv_transpose(
        3, input, weight, bias, stride, padding, output_padding, groups, dilation
    )
