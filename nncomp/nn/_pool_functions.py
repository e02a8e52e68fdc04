"""Pooling functions of nn.functional.

1-d pooling is 2-d pooling of height 1. Adaptive pooling is a mean over equal cells when they
divide the input, else a product with constant averaging matrices: sizes are static, so both are
plain tensor operations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import nncomp

from ..tensor import Tensor
from ._structure_functions import Size, ntuple


def _batched(input: Tensor, n: int, name: str) -> tuple[Tensor, bool]:
    if input.dim() not in (n + 1, n + 2):
        raise RuntimeError(
            f"{name}() Expected {n + 1}D or {n + 2}D input tensor, but got input of size "
            f"{list(input.shape)}"
        )
    unbatched = input.dim() == n + 1
    return (input.unsqueeze(0) if unbatched else input), unbatched


def _over_batch(input: Tensor, n: int, name: str, pool: Callable[[Tensor], Any]) -> Any:
    """Run ``pool`` on (N, C, *), adding and dropping N for an input without it."""
    x, unbatched = _batched(input, n, name)
    output = pool(x)
    if not unbatched:
        return output
    if isinstance(output, tuple):
        return tuple(part.squeeze(0) for part in output)
    return output.squeeze(0)


def max_pool2d(
    input: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Maximum over windows of (N, C, H, W) or (C, H, W); with indices (h * W + w) on demand."""
    kernel = ntuple(kernel_size, 2)
    step = kernel if stride is None else ntuple(stride, 2)
    pads, dilation = ntuple(padding, 2), ntuple(dilation, 2)
    if any(p > k // 2 for p, k in zip(pads, kernel, strict=True)):
        raise RuntimeError(
            "pad should be at most half of effective kernel size, but got "
            f"pad={max(pads)}, kernel_size={kernel[0]} and dilation={dilation[0]}"
        )
    return _over_batch(
        input, 2, "max_pool2d",
        lambda x: nncomp.max_pool2d(x, kernel, step, pads, dilation, ceil_mode, return_indices),
    )  # fmt: skip


def _one(value: Size | None) -> Any:
    return None if value is None else ntuple(value, 1)[0]


def max_pool1d(
    input: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """Maximum over windows of (N, C, L) or (C, L)."""
    kernel = _one(kernel_size)
    output = max_pool2d(
        input.unsqueeze(-2),
        (1, kernel),
        (1, kernel if stride is None else _one(stride)),
        (0, _one(padding)),
        (1, _one(dilation)),
        ceil_mode,
        return_indices,
    )
    if return_indices:
        return tuple(part.squeeze(-2) for part in output)
    return output.squeeze(-2)


def avg_pool2d(
    input: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """Mean over windows of (N, C, H, W) or (C, H, W)."""
    kernel = ntuple(kernel_size, 2)
    step = kernel if stride is None else ntuple(stride, 2)
    pads = ntuple(padding, 2)
    if any(p > k // 2 for p, k in zip(pads, kernel, strict=True)):
        raise RuntimeError("pad should be smaller than or equal to half of kernel size, but got "
                           f"padding {pads} and kernel_size {kernel}")  # fmt: skip
    return _over_batch(
        input, 2, "avg_pool2d",
        lambda x: nncomp.avg_pool2d(
            x, kernel, step, pads, ceil_mode, count_include_pad, divisor_override
        ),
    )  # fmt: skip


def avg_pool1d(
    input: Tensor,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Size = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """Mean over windows of (N, C, L) or (C, L)."""
    kernel = _one(kernel_size)
    step = kernel if stride is None else _one(stride)
    wide = input.unsqueeze(-2)
    pads = (0, _one(padding))
    return avg_pool2d(wide, (1, kernel), (1, step), pads, ceil_mode, count_include_pad).squeeze(-2)


def _mean_in_cells(x: Tensor, dim: int, out: int) -> Tensor:
    """Average dimension ``dim`` down to ``out`` cells; cell i is [i*n//out, ceil((i+1)*n/out))."""
    size = x.shape[dim]
    if size == out:
        return x
    if out and size % out == 0:
        shape = [*x.shape[:dim], out, size // out, *x.shape[dim + 1 :]]
        return x.reshape(shape).mean(dim=dim + 1)
    rows = []
    for cell in range(out):
        start, end = cell * size // out, -((cell + 1) * size // -out)
        rows.append([1.0 / (end - start) if start <= i < end else 0.0 for i in range(size)])
    averaging = nncomp.tensor(rows, dtype=x.dtype).reshape([out, size])
    return nncomp.matmul(x.transpose(dim, -1), averaging.t()).transpose(dim, -1)


def _adaptive_avg_pool(name: str, n: int) -> Callable:
    def pool(input: Tensor, output_size: int | None | Sequence[int | None]) -> Tensor:
        given = output_size if isinstance(output_size, Sequence) else (output_size,) * n
        if input.dim() not in (n + 1, n + 2):
            raise RuntimeError(
                f"{name}(): Expected {n + 1}D or {n + 2}D tensor, but got {list(input.shape)}"
            )
        if len(given) != n:
            raise ValueError(f"{name}(): output_size must have {n} elements, got {len(given)}")
        for number, out in enumerate(given):
            if out is not None:
                input = _mean_in_cells(input, input.dim() - n + number, int(out))
        return input

    pool.__name__ = pool.__qualname__ = name
    pool.__doc__ = "Average to ``output_size``, in which None keeps the size of a dimension."
    return pool


adaptive_avg_pool1d = _adaptive_avg_pool("adaptive_avg_pool1d", 1)
adaptive_avg_pool2d = _adaptive_avg_pool("adaptive_avg_pool2d", 2)
adaptive_avg_pool3d = _adaptive_avg_pool("adaptive_avg_pool3d", 3)

__all__ = [
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d", "avg_pool1d",
    "avg_pool2d", "max_pool1d", "max_pool2d",
]  # fmt: skip
