"""Linear maps, convolutions, pooling, padding, dropout and embedding of nn.functional.

Arguments are checked and completed here (one number for all dimensions, "same" padding, inputs
without a batch dimension); the work is done by the functions of the ``nncomp`` namespace.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import nncomp

from ..tensor import Tensor

Size = int | Sequence[int]


def ntuple(value: Size, n: int) -> tuple[int, ...]:
    """Return ``n`` integers: ``value`` itself, or the one number ``n`` times."""
    if isinstance(value, Sequence):
        values = tuple(int(v) for v in value)
        return values * n if len(values) == 1 else values
    return (int(value),) * n


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x W^T + b; ``input`` (*, in), ``weight`` (out, in), ``bias`` (out)."""
    if input.shape[-1] != weight.shape[-1]:
        rows = input.numel() // max(input.shape[-1], 1)
        transposed = "x".join(str(extent) for extent in reversed(weight.shape))
        raise RuntimeError(
            f"mat1 and mat2 shapes cannot be multiplied ({rows}x{input.shape[-1]} and "
            f"{transposed})"
        )
    output = nncomp.matmul(input, weight.t() if weight.dim() == 2 else weight)
    return output if bias is None else output + bias


def bilinear(
    input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None
) -> Tensor:
    """x1^T W_k x2 + b_k for each k; ``weight`` (out, in1, in2)."""
    out, in1, in2 = weight.shape
    flat = weight.permute(1, 0, 2).reshape([in1, out * in2])
    left = nncomp.matmul(input1, flat).reshape([*input1.shape[:-1], out, in2])
    output = (left * input2.unsqueeze(-2)).sum(dim=-1)
    return output if bias is None else output + bias


# ---- padding ----


def pad(input: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None
        ) -> Tensor:  # fmt: skip
    """Pad the last dimensions; ``pad`` lists (left, right) from the last dimension backwards.

    ``mode`` is constant, reflect, replicate or circular. Negative padding crops.
    """
    if len(pad) % 2:
        raise RuntimeError(f"Padding length must be divisible by 2, got {len(pad)} numbers")
    if len(pad) > 2 * input.dim():
        raise RuntimeError(
            f"Padding length should be less than or equal to two times the input dimension but "
            f"got padding length {len(pad)} and input of dimension {input.dim()}"
        )
    if mode not in ("constant", "reflect", "replicate", "circular"):
        raise NotImplementedError(f"Unrecognised padding mode {mode}")
    for number in range(len(pad) // 2):
        dim = input.dim() - 1 - number
        sides = int(pad[2 * number]), int(pad[2 * number + 1])
        if sides == (0, 0):
            continue
        if mode == "constant":
            input = _pad_constant(input, dim, sides, 0.0 if value is None else value)
        else:
            input = _pad_by_index(input, dim, sides, mode)
    return input


def _pad_constant(input: Tensor, dim: int, sides: tuple[int, int], value: float) -> Tensor:
    before, after = sides
    start, size = max(-before, 0), input.shape[dim]
    length = size - start - max(-after, 0)
    if length < 0:
        raise RuntimeError(
            f"The input size {size}, plus negative padding {before} and {after}, resulted in a "
            "negative output size"
        )
    if (start, length) != (0, size):
        input = input.narrow(dim, start, length)
    sizes = list(input.shape)

    def filler(amount: int) -> list[Tensor]:
        sizes[dim] = amount
        filled = dict(dtype=input.dtype, device=input.device)
        return [nncomp.full(sizes, value, **filled)] if amount > 0 else []

    parts = [*filler(before), input, *filler(after)]
    return nncomp.cat(parts, dim=dim) if len(parts) > 1 else input


def _pad_by_index(input: Tensor, dim: int, sides: tuple[int, int], mode: str) -> Tensor:
    before, after = sides
    size = input.shape[dim]
    limit = {"reflect": size - 1, "circular": size, "replicate": max(before, after, 0)}[mode]
    if max(before, after) > limit:
        raise RuntimeError(
            f"Padding size should be less than the corresponding input dimension, but got: "
            f"padding {sides} at dimension {dim} of input {list(input.shape)}"
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


# ---- convolution ----


def _same_padding(
    input: Tensor, weight: Tensor, dilation: tuple[int, ...], stride: tuple[int, ...]
) -> tuple[Tensor, tuple[int, ...]]:
    """Return the input and padding for output size = input size; an odd rest goes right."""
    if any(step != 1 for step in stride):
        raise RuntimeError("padding='same' is not supported for strided convolutions")
    kernel = weight.shape[2:]
    totals = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    extra = [side for total in reversed(totals) for side in (0, total % 2)]
    return pad(input, extra), tuple(total // 2 for total in totals)


def _convolution(function: Callable, n: int) -> Callable:
    """Make conv{n}d out of the namespace function of that name."""

    def conv(
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Size = 1,
        padding: Size | str = 0,
        dilation: Size = 1,
        groups: int = 1,
    ) -> Tensor:
        stride, dilation = ntuple(stride, n), ntuple(dilation, n)
        if input.dim() not in (n + 1, n + 2):
            raise RuntimeError(
                f"Expected {n + 1}D (unbatched) or {n + 2}D (batched) input to conv{n}d, but got "
                f"input of size: {list(input.shape)}"
            )
        batched = input.dim() == n + 2
        x = input if batched else input.unsqueeze(0)
        if x.shape[1] != weight.shape[1] * groups:
            raise RuntimeError(
                f"Given groups={groups}, weight of size {list(weight.shape)}, expected "
                f"input{list(input.shape)} to have {weight.shape[1] * groups} channels, but got "
                f"{x.shape[1]} channels instead"
            )
        if padding == "same":
            x, padding = _same_padding(x, weight, dilation, stride)
        padding = (0,) * n if padding == "valid" else ntuple(padding, n)
        output = function()(x, weight, bias, stride, padding, dilation, groups)
        return output if batched else output.squeeze(0)

    conv.__name__ = conv.__qualname__ = f"conv{n}d"
    conv.__doc__ = (
        f"Convolve ``input`` (N, C, *{n} sizes) or without N with ``weight`` "
        "(out, C / groups, *kernel); padding is a number, a tuple, 'same' or 'valid'."
    )
    return conv


conv1d = _convolution(lambda: nncomp.conv1d, 1)
conv2d = _convolution(lambda: nncomp.conv2d, 2)
conv3d = _convolution(lambda: nncomp.conv3d, 3)


# ---- dropout, embedding, one_hot ----


def _check_probability(p: float) -> None:
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")


def _dropped(input: Tensor, p: float, mask_shape: Sequence[int], inplace: bool) -> Tensor:
    if p == 1.0:
        output = input * 0.0
    else:
        keep = nncomp.rand(list(mask_shape)) >= p
        output = nncomp.where(keep, input * (1.0 / (1.0 - p)), 0.0)
    return input.copy_(output) if inplace else output


def dropout(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Zero each element with probability ``p`` and scale the rest by 1 / (1 - p)."""
    _check_probability(p)
    if not training or p == 0.0:
        return input
    return _dropped(input, p, input.shape, inplace)


def _channel_dropout(name: str, n: int) -> Callable:
    def drop(
        input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
    ) -> Tensor:
        _check_probability(p)
        if input.dim() not in (n + 1, n + 2):
            raise RuntimeError(
                f"{name}: Expected {n + 1}D or {n + 2}D input, but received a {input.dim()}D "
                "input."
            )
        if not training or p == 0.0:
            return input
        channel_dims = input.dim() - n
        mask_shape = [*input.shape[:channel_dims], *([1] * n)]
        return _dropped(input, p, mask_shape, inplace)

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
    for name, given in (("max_norm", max_norm is not None), ("sparse", sparse),
                        ("scale_grad_by_freq", scale_grad_by_freq)):  # fmt: skip
        if given:
            raise NotImplementedError(
                f"embedding() got {name}, which is not supported; leave it at its default."
            )
    rows = weight[input]
    if padding_idx is None:
        return rows
    count = weight.shape[0]
    if not -count <= padding_idx < count:
        raise AssertionError("Padding_idx must be within num_embeddings")
    is_padding = (input == padding_idx % count).unsqueeze(-1)
    return nncomp.where(is_padding, rows.detach(), rows)


def one_hot(input: Tensor, num_classes: int = -1) -> Tensor:
    """Return int64 indicators (*, num_classes); the number must be given for a static graph."""
    if num_classes == -1:
        num_classes = int(input.max().item()) + 1
    return (input.unsqueeze(-1) == nncomp.arange(num_classes)).long()


def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """x1 . x2 / (|x1| |x2|) along ``dim``, each norm being at least ``eps``."""
    dot = (x1 * x2).sum(dim=dim)
    norms: list[Any] = []
    for x in (x1, x2):
        square = (x * x).sum(dim=dim)
        norms.append(nncomp.sqrt(nncomp.where(square > eps * eps, square, eps * eps)))
    return dot / (norms[0] * norms[1])


__all__ = [
    "bilinear", "conv1d", "conv2d", "conv3d", "cosine_similarity", "dropout", "dropout1d",
    "dropout2d", "dropout3d", "embedding", "linear", "one_hot", "pad",
]  # fmt: skip
