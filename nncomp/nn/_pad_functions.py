"""pad of nn.functional. All modes but the constant one put slices of the input around it."""

from __future__ import annotations

from collections.abc import Sequence

import nncomp

from ..functions.autocasting import in_float32
from ..tensor import Tensor

_COMBINATIONS = (
    "\nSupported combinations for non-constant padding:\n"
    "  - 2D or 3D input: padding size = 2 (pads last dimension)\n"
    "  - 3D or 4D input: padding size = 4 (pads last 2 dimensions)\n"
    "  - 4D or 5D input: padding size = 6 (pads last 3 dimensions)"
)


def pad(
    input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None
) -> Tensor:
    """Pad the last dimensions; ``pad`` lists (left, right) from the last dimension backwards.

    ``mode`` is constant, reflect, replicate or circular. Negative padding crops.
    """
    widths = [int(width) for width in pad]
    if len(widths) % 2:
        raise RuntimeError("Padding length must be divisible by 2")
    if len(widths) > 2 * input.dim():
        raise RuntimeError(
            "Padding length should be less than or equal to two times the input dimension but got "
            f"padding length {len(widths)} and input of dimension {input.dim()}"
        )
    if mode == "constant":
        return nncomp.constant_pad_nd(input, widths, 0.0 if value is None else value)
    if mode not in ("reflect", "replicate", "circular"):
        raise NotImplementedError(f"Unrecognised padding mode {mode}")
    if value is not None and value != 0:
        raise RuntimeError(f'Padding mode "{mode}" doesn\'t take in value argument')
    dims = len(widths) // 2
    if input.dim() not in (dims + 1, dims + 2) or dims not in (1, 2, 3):
        raise NotImplementedError(
            f"Padding size {len(widths)} is not supported for {input.dim()}D input tensor."
            + _COMBINATIONS
        )
    if mode == "replicate" or (mode == "reflect" and dims < 3):
        (input,) = in_float32(input)
    result = input
    sides = [(widths[2 * number], widths[2 * number + 1]) for number in range(dims)]
    for number, (before, after) in enumerate(sides):
        _check_width(input, number, before, after, mode)
    for number, (before, after) in enumerate(sides):
        if before or after:
            result = _pad_dim(result, input.dim() - 1 - number, before, after, mode)
    return result


def _check_width(x: Tensor, number: int, before: int, after: int, mode: str) -> None:
    """Raise torch's errors for too wide a padding of the ``number``-th dimension from the end."""
    dim = x.dim() - 1 - number
    if mode == "reflect" and max(before, after) >= x.shape[dim]:
        raise RuntimeError(
            f"Argument #{4 + 2 * number}: Padding size should be less than the corresponding input "
            f"dimension, but got: padding ({before}, {after}) at dimension {dim} of input "
            f"{list(x.shape)}"
        )
    if mode == "circular" and max(before, after) > x.shape[dim]:
        raise RuntimeError("Padding value causes wrapping around more than once.")


def _pad_dim(x: Tensor, dim: int, before: int, after: int, mode: str) -> Tensor:
    size = x.shape[dim]
    first, last = max(-before, 0), size - max(-after, 0)
    if last - first + max(before, 0) + max(after, 0) < 0:
        raise RuntimeError("narrow(): length must be non-negative.")
    parts = [] if before <= 0 else [_before(x, dim, before, mode)]
    parts.append(x.narrow(dim, first, max(last - first, 0)))
    if after > 0:
        parts.append(_after(x, dim, after, mode))
    return parts[0] if len(parts) == 1 else nncomp.cat(parts, dim)


def _before(x: Tensor, dim: int, count: int, mode: str) -> Tensor:
    if mode == "reflect":
        return nncomp.flip(x.narrow(dim, 1, count), (dim,))
    if mode == "circular":
        return x.narrow(dim, x.shape[dim] - count, count)
    return _repeated(x.narrow(dim, 0, 1), dim, count)


def _after(x: Tensor, dim: int, count: int, mode: str) -> Tensor:
    size = x.shape[dim]
    if mode == "reflect":
        return nncomp.flip(x.narrow(dim, size - 1 - count, count), (dim,))
    if mode == "circular":
        return x.narrow(dim, 0, count)
    return _repeated(x.narrow(dim, size - 1, 1), dim, count)


def _repeated(edge: Tensor, dim: int, count: int) -> Tensor:
    sizes = list(edge.shape)
    sizes[dim] = count
    return edge.expand(sizes)


__all__ = ["pad"]
