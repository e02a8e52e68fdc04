"""Adaptive pooling of nn.functional.

It is a mean over equal cells when they divide the input, else a product with a constant averaging
matrix: sizes are static, so both are plain tensor operations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import nncomp

from ..functions.autocasting import as_given, full_precision
from ..tensor import Tensor


@as_given
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
adaptive_avg_pool3d = full_precision(_adaptive_avg_pool("adaptive_avg_pool3d", 3))

__all__ = ["adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d"]
