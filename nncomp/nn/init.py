"""Initialization of parameters in place (torch.nn.init); no function records a gradient.

Random numbers come from nncomp's generator, so they differ from torch's for equal seeds; the
distributions are the same.
"""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

import nncomp

from ..tensor import Tensor

_LINEAR = ("linear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d",
           "conv_transpose3d", "sigmoid")  # fmt: skip
_TABLE_STEPS = 16384


def _write(tensor: Tensor, values: np.ndarray) -> Tensor:
    """Copy ``values`` into ``tensor``."""
    with nncomp.no_grad():
        return tensor.copy_(nncomp.tensor(np.ascontiguousarray(values)).to(tensor.dtype))


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """Return the recommended gain; ``param`` is the slope of leaky_relu (0.01 by default)."""
    if nonlinearity in _LINEAR:
        return 1
    fixed = {"tanh": 5.0 / 3, "relu": math.sqrt(2.0), "selu": 3.0 / 4}
    if nonlinearity in fixed:
        return fixed[nonlinearity]
    if nonlinearity != "leaky_relu":
        raise ValueError(f"Unsupported nonlinearity {nonlinearity}")
    slope = 0.01 if param is None else param
    if isinstance(slope, bool) or not isinstance(slope, (int, float)):
        raise ValueError(f"negative_slope {param} not a valid number")
    return math.sqrt(2.0 / (1 + slope**2))


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Any = None) -> Tensor:
    """Fill from U(a, b)."""
    with nncomp.no_grad():
        return tensor.uniform_(a, b, **_given(generator))


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Any = None) -> Tensor:
    """Fill from N(mean, std^2)."""
    with nncomp.no_grad():
        return tensor.normal_(mean, std, **_given(generator))


def _given(generator: Any) -> dict[str, Any]:
    return {} if generator is None else {"generator": generator}


def trunc_normal_(
    tensor: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: Any = None,
) -> Tensor:
    """Fill from N(mean, std^2) cut to [a, b], by the inverse of the distribution function.

    The inverse is read off a table by linear interpolation; its error is below 1e-6 std.
    """
    if mean < a - 2 * std or mean > b + 2 * std:
        warnings.warn(
            "mean is more than 2 std from [a, b] in nn.init.trunc_normal_. The distribution of "
            "values may be incorrect.",
            stacklevel=2,
        )
    # Beyond 10 std there is no mass to sample, unless [a, b] lies there altogether.
    low = min(max((a - mean) / std, -10.0), (b - mean) / std)
    high = max(min((b - mean) / std, 10.0), low)
    grid = np.linspace(low, high, _TABLE_STEPS + 1)
    cdf = np.array([0.5 * math.erfc(-x / math.sqrt(2.0)) for x in grid])
    draws = nncomp.rand(list(tensor.shape), dtype=nncomp.float64, **_given(generator)).numpy()
    normal = np.interp(cdf[0] + draws * (cdf[-1] - cdf[0]), cdf, grid)
    return _write(tensor, np.clip(normal * std + mean, a, b))


def constant_(tensor: Tensor, val: float) -> Tensor:
    """Fill with ``val``."""
    with nncomp.no_grad():
        return tensor.fill_(val)


def ones_(tensor: Tensor) -> Tensor:
    """Fill with 1."""
    return constant_(tensor, 1.0)


def zeros_(tensor: Tensor) -> Tensor:
    """Fill with 0."""
    return constant_(tensor, 0.0)


def eye_(tensor: Tensor) -> Tensor:
    """Make a 2-d tensor the identity matrix."""
    if tensor.dim() != 2:
        raise ValueError("Only tensors with 2 dimensions are supported")
    return _write(tensor, np.eye(*tensor.shape))


def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """Make a convolution weight of 3 to 5 dimensions pass its input on (in each group)."""
    if tensor.dim() not in (3, 4, 5):
        raise ValueError("Only tensors with 3, 4, or 5 dimensions are supported")
    out, inputs = tensor.shape[:2]
    if out % groups != 0:
        raise ValueError("dim 0 must be divisible by groups")
    values = np.zeros(tuple(tensor.shape))
    center = tuple(extent // 2 for extent in tensor.shape[2:])
    per_group = out // groups
    for group in range(groups):
        for channel in range(min(per_group, inputs)):
            values[(group * per_group + channel, channel, *center)] = 1.0
    return _write(tensor, values)


def _calculate_fan_in_and_fan_out(tensor: Tensor) -> tuple[int, int]:
    """Return the number of inputs and outputs of one unit of a weight (out, in, *kernel)."""
    if tensor.dim() < 2:
        raise ValueError(
            "Fan in and fan out can not be computed for tensor with fewer than 2 dimensions"
        )
    field = math.prod(tensor.shape[2:])
    return tensor.shape[1] * field, tensor.shape[0] * field


def _fan(tensor: Tensor, mode: str) -> int:
    if mode.lower() not in ("fan_in", "fan_out"):
        raise ValueError(f"Mode {mode} not supported, please use one of ['fan_in', 'fan_out']")
    return _calculate_fan_in_and_fan_out(tensor)[mode.lower() == "fan_out"]


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Any = None) -> Tensor:
    """Fill from U(-r, r), r = gain * sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio, 2010)."""
    bound = gain * math.sqrt(6.0 / sum(_calculate_fan_in_and_fan_out(tensor)))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Any = None) -> Tensor:
    """Fill from N(0, s^2), s = gain * sqrt(2 / (fan_in + fan_out)) (Glorot and Bengio, 2010)."""
    std = gain * math.sqrt(2.0 / sum(_calculate_fan_in_and_fan_out(tensor)))
    return normal_(tensor, 0.0, std, generator)


def _is_empty(tensor: Tensor) -> bool:
    if 0 in tensor.shape:
        warnings.warn("Initializing zero-element tensors is a no-op", stacklevel=3)
        return True
    return False


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Any = None,
) -> Tensor:
    """Fill from U(-r, r), r = gain * sqrt(3 / fan) (He et al., 2015)."""
    if _is_empty(tensor):
        return tensor
    bound = calculate_gain(nonlinearity, a) * math.sqrt(3.0 / _fan(tensor, mode))
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor,
    a: float = 0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Any = None,
) -> Tensor:
    """Fill from N(0, s^2), s = gain / sqrt(fan) (He et al., 2015)."""
    if _is_empty(tensor):
        return tensor
    std = calculate_gain(nonlinearity, a) / math.sqrt(_fan(tensor, mode))
    return normal_(tensor, 0.0, std, generator)


def fan_in_bias_(bias: Tensor | None, weight: Tensor) -> None:
    """Fill the bias of a layer, if it has one, from U(-r, r), r = 1 / sqrt(fan_in)."""
    if bias is not None:
        fan_in, _ = _calculate_fan_in_and_fan_out(weight)
        bound = 1 / math.sqrt(fan_in) if fan_in > 0 else 0.0
        uniform_(bias, -bound, bound)


def orthogonal_(tensor: Tensor, gain: float = 1, generator: Any = None) -> Tensor:
    """Fill with a (semi) orthogonal matrix; dimensions after the first are flattened.

    The matrix is the Q of a QR decomposition with the signs of R's diagonal, which makes it
    uniformly distributed (Mezzadri, 2006).
    """
    if tensor.dim() < 2:
        raise ValueError("Only tensors with 2 or more dimensions are supported")
    if tensor.numel() == 0:
        return tensor
    rows = tensor.shape[0]
    columns = tensor.numel() // rows
    draws = nncomp.randn([rows, columns], dtype=nncomp.float64, **_given(generator)).numpy()
    q, r = np.linalg.qr(draws.T if rows < columns else draws)
    q = q * np.where(np.diag(r) < 0, -1.0, 1.0)
    q = q.T if rows < columns else q
    return _write(tensor, gain * q.reshape(tuple(tensor.shape)))


def sparse_(tensor: Tensor, sparsity: float, std: float = 0.01, generator: Any = None) -> Tensor:
    """Fill a 2-d tensor from N(0, std^2), then zero a share ``sparsity`` of each column."""
    if tensor.dim() != 2:
        raise ValueError("Only tensors with 2 dimensions are supported")
    rows, columns = tensor.shape
    zeros = math.ceil(sparsity * rows)
    order = nncomp.rand([rows, columns], **_given(generator)).numpy().argsort(axis=0)
    values = nncomp.randn([rows, columns], **_given(generator)).numpy() * std
    values = np.array(values)
    np.put_along_axis(values, order[:zeros], 0.0, axis=0)
    return _write(tensor, values)


def _older_name(function: Callable[..., Any]) -> Callable[..., Any]:
    """The name without underscore, from before torch marked writing functions with one."""
    name = function.__name__

    @functools.wraps(function)
    def older(*args: Any, **kwargs: Any) -> Any:
        warnings.warn(f"nn.init.{name[:-1]} is deprecated: use nn.init.{name}", FutureWarning, 2)
        return function(*args, **kwargs)

    older.__name__ = older.__qualname__ = name[:-1]
    older.__doc__ = f"Deprecated name of ``{name}``."
    return older


constant = _older_name(constant_)
dirac = _older_name(dirac_)
eye = _older_name(eye_)
kaiming_normal = _older_name(kaiming_normal_)
kaiming_uniform = _older_name(kaiming_uniform_)
normal = _older_name(normal_)
orthogonal = _older_name(orthogonal_)
sparse = _older_name(sparse_)
uniform = _older_name(uniform_)
xavier_normal = _older_name(xavier_normal_)
xavier_uniform = _older_name(xavier_uniform_)

__all__ = [
    "calculate_gain", "constant_", "dirac_", "eye_", "kaiming_normal_", "kaiming_uniform_",
    "normal_", "ones_", "orthogonal_", "sparse_", "trunc_normal_", "uniform_", "xavier_normal_",
    "xavier_uniform_", "zeros_",
]  # fmt: skip
