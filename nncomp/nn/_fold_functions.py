"""fold, unfold and channel_shuffle of nn.functional: elements moved between dimensions."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..ir import ops
from ..tensor import Tensor
from ._structure_functions import Size, ntuple


def _geometry(
    space: Sequence[int], kernel_size: Size, dilation: Size, padding: Size, stride: Size
) -> tuple[dict, list[int]]:
    """The attributes of a 2-d sliding window, and how many places it has."""
    kernel, steps = ntuple(kernel_size, 2), ntuple(stride, 2)
    gaps, pads = ntuple(dilation, 2), ntuple(padding, 2)
    rows = zip(space, kernel, gaps, pads, steps, strict=True)
    counts = [(m + 2 * p - d * (k - 1) - 1) // s + 1 for m, k, d, p, s in rows]
    window = dict(stride=steps, padding=tuple((p, p) for p in pads), dilation=gaps)
    return {"kernel": kernel, **window}, counts


def unfold(
    input: Tensor, kernel_size: Size, dilation: Size = 1, padding: Size = 0, stride: Size = 1
) -> Tensor:
    """The windows of (N, C, H, W) as columns: (N, C * kernel elements, places)."""
    if input.dim() not in (3, 4):
        raise RuntimeError(
            "Expected 3D or 4D (batch mode) tensor with possibly 0 batch size and other non-zero "
            f"dimensions for input, but got: {list(input.shape)}"
        )
    window, counts = _geometry(input.shape[-2:], kernel_size, dilation, padding, stride)
    if min(counts) < 1:
        raise RuntimeError(
            f"Given input with spatial size {tuple(input.shape[-2:])}, "
            f"kernel_size={window['kernel']}, dilation={window['dilation']}, "
            f"padding={ntuple(padding, 2)}, calculated shape of the array of sliding blocks as "
            f"{tuple(counts)}, but its components must be at least one."
        )
    x = input if input.dim() == 4 else input.unsqueeze(0)
    windows = ops.unfold(x, **window).permute(0, 1, 4, 5, 2, 3)
    columns = windows.reshape([x.shape[0], -1, math.prod(counts)])
    return columns if input.dim() == 4 else columns.squeeze(0)


def fold(
    input: Tensor,
    output_size: Size,
    kernel_size: Size,
    dilation: Size = 1,
    padding: Size = 0,
    stride: Size = 1,
) -> Tensor:
    """Columns (N, C * kernel elements, places) put back and summed: (N, C, *output_size)."""
    if input.dim() not in (2, 3):
        raise RuntimeError(
            "Expected 2D or 3D (batch mode) tensor for input with possibly 0 batch size and "
            f"non-zero dimensions for input, but got: {list(input.shape)}"
        )
    size = output_size if isinstance(output_size, Sequence) else (output_size, output_size)
    if len(size) != 2:
        raise RuntimeError(f"It is expected output_size equals to 2, but got size {len(size)}")
    window, counts = _geometry(size, kernel_size, dilation, padding, stride)
    kernel = window.pop("kernel")
    x = input if input.dim() == 3 else input.unsqueeze(0)
    rows, places = x.shape[1:]
    if rows % math.prod(kernel):
        raise RuntimeError(
            "Expected size of input's dimension 1 to be divisible by the product of kernel_size, "
            f"but got input.size(1)={rows} and kernel_size={kernel}."
        )
    if places != math.prod(counts) or min(counts) < 1:
        raise RuntimeError(
            f"Given output_size={tuple(size)}, kernel_size={kernel}, "
            f"dilation={window['dilation']}, padding={ntuple(padding, 2)}, "
            f"stride={window['stride']}, expected size of input's dimension 2 to match the "
            f"calculated number of sliding blocks {counts[0]} * {counts[1]} = "
            f"{math.prod(counts)}, but got input.size(2)={places}."
        )
    channels = rows // math.prod(kernel)
    windows = x.reshape([x.shape[0], channels, *kernel, *counts]).permute(0, 1, 4, 5, 2, 3)
    result = ops.fold(windows, size=tuple(int(m) for m in size), **window)
    return result if input.dim() == 3 else result.squeeze(0)


def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """Channels of (*, C, H, W) in another order: number c of each group in turn (Zhang, 2017)."""
    if input.dim() <= 2:
        raise RuntimeError(
            "channel_shuffle expects input with > 2 dims, but got input with sizes "
            f"{list(input.shape)}"
        )
    channels = input.shape[1]
    if groups <= 0:
        raise RuntimeError(f"Number of groups to divide channels in must be positive. Value of "
                           f"groups:{groups}")  # fmt: skip
    if channels % groups:
        raise RuntimeError(
            f"Number of channels must be divisible by groups. Got {channels} channels and "
            f"{groups} groups."
        )
    shape = [input.shape[0], groups, channels // groups, *input.shape[2:]]
    return input.reshape(shape).transpose(1, 2).reshape(input.shape)


native_channel_shuffle = channel_shuffle

__all__ = ["channel_shuffle", "fold", "native_channel_shuffle", "unfold"]
