"""Pooling beyond plain windows: adaptive, fractional and power mean pooling, and max_unpool.

Cells of adaptive_max_pool that differ in size are made equal by repeating their last element, which
changes neither the maximum nor which of equal elements is the first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import nncomp

from ..functions import avg_pool1d, avg_pool2d, avg_pool3d, max_pool1d, max_pool2d, max_pool3d
from ..functions.autocasting import full_precision
from ..tensor import Tensor
from ._structure_functions import Size, ntuple

_MAX_POOL = {1: max_pool1d, 2: max_pool2d, 3: max_pool3d}
_AVG_POOL = {1: avg_pool1d, 2: avg_pool2d, 3: avg_pool3d}


def _cells(size: int, out: int) -> list[list[int]]:
    """The positions in each of ``out`` cells [i*n//out, ceil((i+1)*n/out)), of equal length."""
    cells = [list(range(i * size // out, -((i + 1) * size // -out))) for i in range(out)]
    longest = max(len(cell) for cell in cells)
    return [cell + cell[-1:] * (longest - len(cell)) for cell in cells]


def _adaptive_max_pool(name: str, n: int) -> Callable:
    def pool(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
        if input.dim() not in (n + 1, n + 2):
            raise RuntimeError(
                f"{name}(): Expected {n + 1}D or {n + 2}D tensor, but got: {list(input.shape)}"
            )
        given = output_size if isinstance(output_size, Sequence) else (output_size,) * n
        if len(given) != n:
            raise RuntimeError(f"{name}(): output_size must have {n} elements, got {len(given)}")
        space = input.shape[-n:]
        sizes = [m if out is None else int(out) for m, out in zip(space, given, strict=True)]
        cells = [_cells(m, out) for m, out in zip(space, sizes, strict=True)]
        spread, places = input, [[i for cell in row for i in cell] for row in cells]
        for number, (m, row) in enumerate(zip(space, places, strict=True)):
            if row != list(range(m)):
                dim = input.dim() - n + number
                spread = nncomp.index_select(spread, dim, nncomp.tensor(row))
        kernel = [len(row[0]) for row in cells]
        if not return_indices:
            return _MAX_POOL[n](spread, kernel)
        values, index = _MAX_POOL[n](spread, kernel, return_indices=True)
        return values, _original(index, places, space)

    pool.__name__ = pool.__qualname__ = name
    pool.__doc__ = (
        "Maximum over ``output_size`` cells, in which None keeps a size; on demand with positions."
    )
    return pool


def _original(index: Tensor, places: list[list[int]], space: Sequence[int]) -> Tensor:
    """Flat positions in the spread tensor as flat positions in a tensor of sizes ``space``."""
    if all(row == list(range(m)) for row, m in zip(places, space, strict=True)):
        return index
    flat = [0]
    for row, m in zip(places, space, strict=True):
        flat = [start * m + place for start in flat for place in row]
    return nncomp.embedding(nncomp.tensor(flat).unsqueeze(1), index).squeeze(-1)


adaptive_max_pool1d = _adaptive_max_pool("adaptive_max_pool1d", 1)
adaptive_max_pool2d = _adaptive_max_pool("adaptive_max_pool2d", 2)
adaptive_max_pool3d = full_precision(_adaptive_max_pool("adaptive_max_pool3d", 3))


def _lp_pool(n: int) -> Callable:
    def pool(
        input: Tensor, norm_type: float, kernel_size: Size, stride: Size | None = None,
        ceil_mode: bool = False,
    ) -> Tensor:  # fmt: skip
        powers = input * input if norm_type == 2 else nncomp.pow(input, norm_type)
        mean = _AVG_POOL[n](powers, kernel_size, stride, 0, ceil_mode)
        total = nncomp.sign(mean) * nncomp.relu(nncomp.abs(mean))
        return nncomp.pow(total * math.prod(ntuple(kernel_size, n)), 1.0 / norm_type)

    pool.__name__ = pool.__qualname__ = f"lp_pool{n}d"
    pool.__doc__ = "(sum x^p)^(1/p) over windows; p is ``norm_type``."
    return pool


lp_pool1d, lp_pool2d, lp_pool3d = (_lp_pool(n) for n in (1, 2, 3))


# -- fractional -----------------------------------------------------------------------------------


def _starts(sample: Tensor, size: int, out: int, kernel: int) -> Tensor:
    """Where each of ``out`` windows begins (N, C, out): int64, the last one at the end."""
    last = nncomp.full((*sample.shape, 1), size - kernel, dtype=nncomp.int64)
    if out == 1:
        return last
    step = (size - kernel) / (out - 1)
    sample = sample.unsqueeze(-1)
    ramp = nncomp.arange(out - 1, dtype=sample.dtype)
    begins = ((ramp + sample) * step).long() - (sample * step).long()
    return nncomp.cat([begins, last], -1)


def _fractional_sizes(
    name: str, n: int, x: Tensor, output_size: Any, output_ratio: Any, kernel: Sequence[int]
) -> tuple[int, ...]:
    if output_size is None and output_ratio is None:
        raise ValueError(f"{name} requires specifying either an output_size or an output_ratio")
    if output_size is None:
        ratios = output_ratio if isinstance(output_ratio, Sequence) else (output_ratio,) * n
        rows = zip(x.shape[-n:], ratios, strict=True)
        output_size = [int(size * ratio) for size, ratio in rows]
    out = ntuple(output_size, n)
    words = ("time", "height", "width")[3 - n :]
    for word, o, k, size in zip(words, out, kernel, x.shape[-n:], strict=True):
        if o + k - 1 > size:
            raise RuntimeError(
                f"{name}(): pool {word} {k} too large relative to input {word} {size}"
            )
    return out


def _fractional_max_pool(n: int) -> Callable:
    name = f"fractional_max_pool{n}d"

    def pool(
        input: Tensor, kernel_size: Size, output_size: Any = None, output_ratio: Any = None,
        return_indices: bool = False, _random_samples: Tensor | None = None,
    ) -> Any:  # fmt: skip
        kernel = ntuple(kernel_size, n)
        out = _fractional_sizes(name, n, input, output_size, output_ratio, kernel)
        x = input if input.dim() == n + 2 else input.unsqueeze(0)
        batch, channels = x.shape[:2]
        samples = _random_samples
        if samples is None:
            samples = nncomp.rand(batch, channels, n, dtype=x.dtype)
        order = (1, 0) if n == 2 else (0, 1, 2)  # torch: samples are (W, H) but (T, H, W)
        position: Any = 0
        for axis, size in enumerate(x.shape[2:]):
            begins = _starts(samples[:, :, order[axis]], size, out[axis], kernel[axis])
            shape = [batch, channels] + [1] * (2 * n)
            shape[2 + axis], shape[2 + n + axis] = out[axis], kernel[axis]
            taps = begins.unsqueeze(-1) + nncomp.arange(kernel[axis])
            position = position * size + taps.reshape(shape)
        index = position.reshape([batch, channels, -1])
        window = nncomp.gather(x.flatten(2), 2, index)
        best = window.reshape([batch, channels, *out, -1]).max(-1)
        values = best.values
        places = index.reshape([batch, channels, *out, -1])
        at = nncomp.gather(places, n + 2, best.indices.unsqueeze(-1)).squeeze(-1)
        if input.dim() != n + 2:
            values, at = values.squeeze(0), at.squeeze(0)
        return (values, at) if return_indices else values

    pool.__name__ = pool.__qualname__ = name
    pool.__doc__ = (
        "Maximum over windows at pseudo-random places (Graham, 2014); give ``output_size`` or "
        "``output_ratio``."
    )
    return pool


fractional_max_pool2d, fractional_max_pool3d = (
    full_precision(_fractional_max_pool(n)) for n in (2, 3)
)


# -- max_unpool -----------------------------------------------------------------------------------


def _unpooled_sizes(
    space: Sequence[int], kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int],
    output_size: Sequence[int] | None,
) -> list[int]:  # fmt: skip
    rows = zip(space, kernel, stride, padding, strict=True)
    default = [(m - 1) * s + k - 2 * p for m, k, s, p in rows]
    if output_size is None:
        return default
    n = len(kernel)
    given = list(output_size)
    if len(given) == n + 2:
        given = given[2:]
    if len(given) != n:
        raise ValueError(
            f"output_size should be a sequence containing {n} or {n + 2} elements, but it has a "
            f"length of '{len(output_size)}'"
        )
    for dim, (size, middle, step) in enumerate(zip(given, default, stride, strict=True)):
        low, high = middle - step, middle + step
        if not low < size < high:
            raise ValueError(
                f'invalid output_size "{tuple(output_size)}" (dim {dim} must be between {low} and '
                f"{high})"
            )
    return given


def _max_unpool(n: int) -> Callable:
    def unpool(
        input: Tensor, indices: Tensor, kernel_size: Size, stride: Size | None = None,
        padding: Size = 0, output_size: Sequence[int] | None = None,
    ) -> Tensor:  # fmt: skip
        kernel = ntuple(kernel_size, n)
        steps = kernel if stride is None else ntuple(stride, n)
        sizes = _unpooled_sizes(
            input.shape[-n:], kernel, steps, ntuple(padding, n), output_size
        )
        if indices.dtype != nncomp.int64:
            raise RuntimeError(
                f"elements in indices should be type int64 but got: {indices.dtype}"
            )
        if tuple(indices.shape) != tuple(input.shape):
            raise RuntimeError(
                "Expected shape of indices to be same as that of the input tensor "
                f"({list(input.shape)}) but got indices tensor with shape: {list(indices.shape)}"
            )
        lead = list(input.shape[:-n])
        zeros = nncomp.zeros(*lead, math.prod(sizes), dtype=input.dtype)
        flat = nncomp.scatter(zeros, -1, indices.flatten(-n), input.flatten(-n))
        return flat.reshape([*lead, *sizes])

    unpool.__name__ = unpool.__qualname__ = f"max_unpool{n}d"
    unpool.__doc__ = (
        "Put values back where max_pool found them (``indices``); 0 elsewhere. IndexError for an "
        "index outside of the result."
    )
    return unpool


max_unpool1d, max_unpool2d, max_unpool3d = (full_precision(_max_unpool(n)) for n in (1, 2, 3))


def _with_indices(pool: Callable, name: str) -> Callable:
    def with_indices(*args: Any, **kwargs: Any) -> Any:
        return pool(*args, **{**kwargs, "return_indices": True})

    with_indices.__name__ = with_indices.__qualname__ = name
    with_indices.__doc__ = f"{pool.__name__} with the positions of the maxima."
    return with_indices


adaptive_max_pool1d_with_indices = _with_indices(
    adaptive_max_pool1d, "adaptive_max_pool1d_with_indices"
)
adaptive_max_pool2d_with_indices = _with_indices(
    adaptive_max_pool2d, "adaptive_max_pool2d_with_indices"
)
adaptive_max_pool3d_with_indices = _with_indices(
    adaptive_max_pool3d, "adaptive_max_pool3d_with_indices"
)
fractional_max_pool2d_with_indices = _with_indices(
    fractional_max_pool2d, "fractional_max_pool2d_with_indices"
)
fractional_max_pool3d_with_indices = _with_indices(
    fractional_max_pool3d, "fractional_max_pool3d_with_indices"
)
max_pool1d_with_indices = _with_indices(max_pool1d, "max_pool1d_with_indices")
max_pool2d_with_indices = _with_indices(max_pool2d, "max_pool2d_with_indices")
max_pool3d_with_indices = _with_indices(max_pool3d, "max_pool3d_with_indices")

__all__ = [
    "adaptive_max_pool1d", "adaptive_max_pool1d_with_indices", "adaptive_max_pool2d",
    "adaptive_max_pool2d_with_indices", "adaptive_max_pool3d", "adaptive_max_pool3d_with_indices",
    "fractional_max_pool2d", "fractional_max_pool2d_with_indices", "fractional_max_pool3d",
    "fractional_max_pool3d_with_indices", "lp_pool1d", "lp_pool2d", "lp_pool3d",
    "max_pool1d_with_indices", "max_pool2d_with_indices", "max_pool3d_with_indices",
    "max_unpool1d", "max_unpool2d", "max_unpool3d",
]  # fmt: skip
