"""Bilinear maps, padding, dropout and embedding of nn.functional.

What the ``nncomp`` namespace has under the same name and signature (linear, conv2d, max_pool2d,
...) is not repeated here: nn.functional takes it from there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import nncomp

from ..tensor import Tensor
from ._activation_functions import finish

Size = int | Sequence[int]


def ntuple(value: Size, n: int) -> tuple[int, ...]:
    """Return ``n`` integers: those of ``value``, or the one number ``n`` times."""
    if isinstance(value, Sequence):
        return tuple(int(v) for v in value)
    return (int(value),) * n


def bilinear(
    input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None
) -> Tensor:
    """x1^T W_k x2 + b_k for each k; ``weight`` (out, in1, in2)."""
    out, in1, in2 = weight.shape
    flat = weight.permute(1, 0, 2).reshape([in1, out * in2])
    left = nncomp.matmul(input1, flat).reshape([*input1.shape[:-1], out, in2])
    output = (left * input2.unsqueeze(-2)).sum(dim=-1)
    return output if bias is None else output + bias


def pad(
    input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None
) -> Tensor:
    """Pad the last dimensions; ``pad`` lists (left, right) from the last dimension backwards.

    ``mode`` is constant, reflect, replicate or circular. Negative padding crops.
    """
    if mode == "constant":
        return nncomp.constant_pad_nd(input, pad, 0.0 if value is None else value)
    if mode not in ("reflect", "replicate", "circular"):
        raise NotImplementedError(f"Unrecognised padding mode {mode}")
    if len(pad) % 2 or len(pad) > 2 * input.dim():
        raise RuntimeError(
            f"Padding length must be even and at most twice the input dimension {input.dim()}, "
            f"got {list(pad)}"
        )
    for number in range(len(pad) // 2):
        before, after = int(pad[2 * number]), int(pad[2 * number + 1])
        if before or after:
            input = _pad_by_index(input, input.dim() - 1 - number, before, after, mode)
    return input


def _pad_by_index(input: Tensor, dim: int, before: int, after: int, mode: str) -> Tensor:
    size = input.shape[dim]
    limit = {"reflect": size - 1, "circular": size, "replicate": max(before, after)}[mode]
    if max(before, after) > limit:
        raise RuntimeError(
            "Padding size should be less than the corresponding input dimension, but got: "
            f"padding ({before}, {after}) at dimension {dim} of input {list(input.shape)}"
        )
    positions = range(-before, size + after)
    if mode == "replicate":
        index = [min(max(position, 0), size - 1) for position in positions]
    elif mode == "circular":
        index = [position % size for position in positions]
    else:
        last = size - 1
        index = [last - abs(last - abs(position)) for position in positions]
    return nncomp.index_select(input, dim, nncomp.tensor(index, dtype=nncomp.int64))


def dropout(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Zero each element with probability ``p`` and scale the rest by 1 / (1 - p)."""
    return finish(input, nncomp.dropout(input, p, training), inplace and training)


def _channel_dropout(name: str, n: int) -> Callable:
    def drop(
        input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
    ) -> Tensor:
        channel_dims = input.dim() - n
        if channel_dims not in (1, 2):
            raise RuntimeError(
                f"{name}: Expected {n + 1}D or {n + 2}D input, but received a {input.dim()}D "
                "input."
            )
        if not training:
            return nncomp.dropout(input, p, False)
        shape = [*input.shape[:channel_dims], *([1] * n)]
        ones = nncomp.ones(shape, dtype=input.dtype, device=input.device)
        return finish(input, input * nncomp.dropout(ones, p, True), inplace)

    drop.__name__ = drop.__qualname__ = name
    drop.__doc__ = f"Zero whole channels of (N, C, *{n} sizes) or (C, *) with probability ``p``."
    return drop


dropout1d = _channel_dropout("dropout1d", 1)
dropout2d = _channel_dropout("dropout2d", 2)
dropout3d = _channel_dropout("dropout3d", 3)


def embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """Return the rows of ``weight`` at ``input``; row ``padding_idx`` gets no gradient."""
    if max_norm is not None:
        raise NotImplementedError(
            f"embedding() got max_norm={max_norm}, which is not supported; leave it None."
        )
    count = weight.shape[0]
    if padding_idx is not None and not -count <= padding_idx < count:
        raise AssertionError("Padding_idx must be within num_embeddings")
    row = -1 if padding_idx is None else padding_idx % count
    return nncomp.embedding(weight, input, row, scale_grad_by_freq, sparse)


__all__ = ["bilinear", "dropout", "dropout1d", "dropout2d", "dropout3d", "embedding", "pad"]
