"""Bilinear maps and dropout of nn.functional.

What the ``nncomp`` namespace has under the same name and signature (linear, conv2d, max_pool2d,
...) is not repeated here: nn.functional takes it from there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import nncomp

from ..functions.autocasting import as_given
from ..tensor import Tensor
from ._activation_functions import finish

Size = int | Sequence[int]


def ntuple(value: Size, n: int) -> tuple[int, ...]:
    """Return ``n`` integers: those of ``value``, or the one number ``n`` times."""
    if isinstance(value, Sequence):
        return tuple(int(v) for v in value)
    return (int(value),) * n


@as_given
def bilinear(
    input1: Tensor, input2: Tensor, weight: Tensor, bias: Tensor | None = None
) -> Tensor:
    """x1^T W_k x2 + b_k for each k; ``weight`` (out, in1, in2)."""
    out, in1, in2 = weight.shape
    flat = weight.permute(1, 0, 2).reshape([in1, out * in2])
    left = nncomp.matmul(input1, flat).reshape([*input1.shape[:-1], out, in2])
    output = (left * input2.unsqueeze(-2)).sum(dim=-1)
    return output if bias is None else output + bias


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


__all__ = ["bilinear", "dropout", "dropout1d", "dropout2d", "dropout3d"]
