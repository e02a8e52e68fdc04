"""Random functions of nn.functional that belong to activations: rrelu, alpha_dropout, gumbel."""

from __future__ import annotations

import math
import warnings

import nncomp

from ..tensor import Tensor
from ._activation_functions import finish, leaky_relu, softmax

_ALPHA = 1.7580993408473766  # selu's limit at minus infinity, negated


def rrelu(
    input: Tensor, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False,
    inplace: bool = False,
) -> Tensor:  # fmt: skip
    """leaky_relu whose slopes are drawn from U(lower, upper); their mean unless ``training``."""
    if lower > upper:
        raise RuntimeError("Lower bound should be less than or equal to the upper bound")
    if not training:
        return leaky_relu(input, (lower + upper) / 2, inplace)
    slopes = nncomp.rand_like(input) * (upper - lower) + lower
    return finish(input, nncomp.where(input > 0, input, input * slopes), inplace)


def _alpha(input: Tensor, p: float, shape: list[int]) -> Tensor:
    """Dropped elements become -_ALPHA; then mean 0 and variance 1 are restored."""
    if p == 1.0:
        return input * 0.0
    kept = nncomp.rand(shape, dtype=input.dtype) >= p
    scale = 1.0 / math.sqrt((_ALPHA * _ALPHA * p + 1) * (1 - p))
    shift = _ALPHA * scale * p
    return nncomp.where(kept, input * scale, -_ALPHA * scale) + shift


def _check_p(p: float) -> None:
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")


def alpha_dropout(
    input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False
) -> Tensor:
    """Dropout that keeps mean and variance of selu activations (Klambauer et al., 2017)."""
    _check_p(p)
    if not training or p == 0.0:
        return input
    return finish(input, _alpha(input, p, list(input.shape)), inplace)


def feature_alpha_dropout(
    input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False
) -> Tensor:
    """alpha_dropout of whole channels of (N, C, *)."""
    _check_p(p)
    if not training or p == 0.0:
        return input
    if input.dim() < 2:
        raise RuntimeError("Feature dropout requires at least 2 dimensions in the input")
    shape = [*input.shape[:2], *([1] * (input.dim() - 2))]
    return finish(input, _alpha(input, p, shape), inplace)


def gumbel_softmax(
    logits: Tensor, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1
) -> Tensor:
    """A sample of the relaxed categorical distribution (Jang et al., 2017).

    ``hard`` gives one-hot vectors, with the gradient of the soft ones.
    """
    if eps != 1e-10:
        warnings.warn("`eps` parameter is deprecated and has no effect.", stacklevel=3)
    noise = -nncomp.log(nncomp.empty_like(logits).exponential_())
    soft = softmax((logits + noise) / tau, dim)
    if not hard:
        return soft
    index = soft.detach().argmax(dim, keepdim=True)
    chosen = nncomp.scatter(nncomp.zeros_like(soft), dim, index, 1.0)
    return chosen - soft.detach() + soft


__all__ = ["alpha_dropout", "feature_alpha_dropout", "gumbel_softmax", "rrelu"]
