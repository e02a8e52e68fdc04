"""Activation functions of nn.functional, as compositions of tensor operations.

None of them branches on a value, so each is a static graph. Where a formula is cut in two at 0,
``where`` picks one branch, so that the gradient at 0 is that of one side and never a mixture.
Half precision softmaxes are computed in float32 and rounded once.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import nncomp

from ..functions.autocasting import lowered
from ..tensor import Tensor

_SQRT_HALF = math.sqrt(0.5)
_SQRT_2_OVER_PI = math.sqrt(2.0 / math.pi)
_SELU_ALPHA = 1.6732632423543772848170429916717
_SELU_SCALE = 1.0507009873554804934193349852946


def widened(input: Tensor) -> Tensor:
    """Return float16 and bfloat16 tensors as float32, others as they are."""
    return input.float() if input.dtype in (nncomp.float16, nncomp.bfloat16) else input


def finish(input: Tensor, result: Tensor, inplace: bool) -> Tensor:
    """Return ``result``, written back to ``input`` first when ``inplace`` is true."""
    return input.copy_(result) if inplace else result


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """max(x, 0) by element; any shape."""
    return finish(input, nncomp.relu(input), inplace)


def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """x where x > threshold, else ``value``."""
    return finish(input, nncomp.threshold(input, threshold, value), inplace)


def hardtanh(
    input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> Tensor:
    """x limited to [min_val, max_val]; the gradient at the limits is 0."""
    if min_val > max_val:
        raise ValueError("min_val cannot be greater than max_val")
    upper = nncomp.where(input >= max_val, float(max_val), input)
    return finish(input, nncomp.where(input <= min_val, float(min_val), upper), inplace)


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """x limited to [0, 6]."""
    return hardtanh(input, 0.0, 6.0, inplace)


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """x where x > 0, else ``negative_slope`` * x."""
    return finish(input, nncomp.where(input > 0, input, input * negative_slope), inplace)


def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """leaky_relu with a learned slope, one in all or one per channel (dimension 1)."""
    input, weight = lowered(input, weight)
    if weight.numel() != 1:
        channels = input.shape[1] if input.dim() > 1 else 1
        if channels != weight.numel():
            raise RuntimeError(
                "Mismatch of parameter numbers and input channel size. Found parameter numbers = "
                f"{weight.numel()} and channel size = {channels}."
            )
        weight = weight.reshape([channels] + [1] * (input.dim() - 2))
    return nncomp.where(input > 0, input, weight * input)


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where x > 0, else alpha * (exp(x) - 1) (Clevert et al., 2015)."""
    # exp of the positive part would overflow and put nan into the gradient.
    below = nncomp.where(input > 0, 0.0, input)
    return finish(input, nncomp.where(input > 0, input, alpha * nncomp.expm1(below)), inplace)


def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """x where x > 0, else alpha * (exp(x / alpha) - 1) (Barron, 2017)."""
    below = nncomp.where(input > 0, 0.0, input)
    low = alpha * nncomp.expm1(below / alpha)
    return finish(input, nncomp.where(input > 0, input, low), inplace)


def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """The self-normalizing scaled elu (Klambauer et al., 2017)."""
    return finish(input, _SELU_SCALE * elu(input, _SELU_ALPHA), inplace)


def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """x * Phi(x) with the normal distribution function Phi; "tanh" approximates it."""
    if approximate == "none":
        return 0.5 * input * (1.0 + nncomp.erf(input * _SQRT_HALF))
    if approximate != "tanh":
        raise RuntimeError("approximate argument must be either none or tanh.")
    cubic = input + 0.044715 * (input * input * input)
    return 0.5 * input * (1.0 + nncomp.tanh(_SQRT_2_OVER_PI * cubic))


def sigmoid(input: Tensor) -> Tensor:
    """1 / (1 + exp(-x))."""
    return nncomp.sigmoid(input)


def tanh(input: Tensor) -> Tensor:
    """The hyperbolic tangent."""
    return nncomp.tanh(input)


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """x * sigmoid(x), also known as swish."""
    return finish(input, input * nncomp.sigmoid(input), inplace)


def _log1p_exp_minus_abs(input: Tensor) -> Tensor:
    """log(1 + exp(-|x|)), the part that softplus and logsigmoid share."""
    return nncomp.log1p(nncomp.exp(nncomp.where(input >= 0, -input, input)))


def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + exp(beta * x)) / beta, and x itself where beta * x > threshold."""
    scaled = input * beta
    soft = nncomp.where(scaled >= 0, scaled, 0.0) + _log1p_exp_minus_abs(scaled)
    return nncomp.where(scaled > threshold, input, soft / beta)


def logsigmoid(input: Tensor) -> Tensor:
    """log(sigmoid(x)) without underflow."""
    return nncomp.where(input >= 0, 0.0, input) - _log1p_exp_minus_abs(input)


def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """x * tanh(softplus(x)) (Misra, 2019)."""
    return finish(input, input * nncomp.tanh(softplus(input)), inplace)


def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """x / 6 + 1/2 limited to [0, 1]."""
    return finish(input, hardtanh(input + 3.0, 0.0, 6.0) / 6.0, inplace)


def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """x * hardsigmoid(x) (Howard et al., 2019)."""
    middle = input * ((input + 3.0) / 6.0)
    low = nncomp.where(input <= -3.0, 0.0, middle)
    return finish(input, nncomp.where(input >= 3.0, input, low), inplace)


def softsign(input: Tensor) -> Tensor:
    """x / (1 + |x|)."""
    return input / (1.0 + nncomp.abs(input))


def tanhshrink(input: Tensor) -> Tensor:
    """x - tanh(x)."""
    return input - nncomp.tanh(input)


def softshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """x moved towards 0 by ``lambd``, and 0 where |x| <= lambd."""
    low = nncomp.where(input < -lambd, input + lambd, 0.0)
    return nncomp.where(input > lambd, input - lambd, low)


def hardshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """x where |x| > lambd, else 0."""
    return nncomp.where(nncomp.abs(input) > lambd, input, 0.0)


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """a * sigmoid(b) for the two halves a, b of ``input`` along ``dim`` (Dauphin et al., 2016)."""
    size = input.shape[dim]
    if size % 2:
        raise RuntimeError(
            f"Halving dimension must be even, but dimension {dim} is size {size}"
        )
    return input.narrow(dim, 0, size // 2) * nncomp.sigmoid(
        input.narrow(dim, size // 2, size // 2)
    )


def _softmax_dim(name: str, dim: int | None, ndim: int) -> int:
    if dim is not None:
        return dim
    warnings.warn(
        f"Implicit dimension choice for {name} has been deprecated. Change the call to include "
        "dim=X as an argument.",
        stacklevel=4,
    )
    return 0 if ndim in (0, 1, 3) else 1


def softmax(
    input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None
) -> Tensor:
    """exp(x) / sum(exp(x)) along ``dim``; ``dtype`` casts the input first."""
    dim = _softmax_dim("softmax", dim, input.dim())
    given = input if dtype is None else input.to(dtype)
    return nncomp.softmax(widened(given), dim).to(given.dtype)


def log_softmax(
    input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None
) -> Tensor:
    """log(softmax(x)) along ``dim``, computed without underflow."""
    dim = _softmax_dim("log_softmax", dim, input.dim())
    given = input if dtype is None else input.to(dtype)
    return nncomp.log_softmax(widened(given), dim).to(given.dtype)


def softmin(
    input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: Any = None
) -> Tensor:
    """softmax(-x) along ``dim``."""
    return softmax(-input, _softmax_dim("softmin", dim, input.dim()), dtype=dtype)


def normalize(
    input: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12
) -> Tensor:
    """x divided by its p-norm along ``dim``, the norm being at least ``eps``."""
    norm = nncomp.abs(input) if p == 1 else input * input
    if p not in (1, 2):
        norm = nncomp.pow(nncomp.abs(input), p)
    norm = norm.sum(dim=dim, keepdim=True)
    if p != 1:
        norm = nncomp.sqrt(norm) if p == 2 else nncomp.pow(norm, 1.0 / p)
    return input / nncomp.where(norm > eps, norm, eps)


__all__ = [
    "celu", "elu", "gelu", "glu", "hardshrink", "hardsigmoid", "hardswish", "hardtanh",
    "leaky_relu", "log_softmax", "logsigmoid", "mish", "normalize", "prelu", "relu", "relu6",
    "selu", "sigmoid", "silu", "softmax", "softmin", "softplus", "softshrink", "softsign", "tanh",
    "tanhshrink", "threshold",
]  # fmt: skip
