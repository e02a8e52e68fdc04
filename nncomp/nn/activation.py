"""Activation layers; the formulas are in ``_activation_functions.py``."""

from __future__ import annotations

from typing import Any

import nncomp

from ..tensor import Tensor
from . import functional as F
from . import init
from .module import Module
from .parameter import Parameter


class _Inplace(Module):
    """An activation whose only option is ``inplace``; ``_function`` computes it."""

    _function: Any

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        """Apply the function by element."""
        return type(self)._function(input, inplace=self.inplace)

    def extra_repr(self) -> str:
        """Show ``inplace`` if it is set."""
        return "inplace=True" if self.inplace else ""


class ReLU(_Inplace):
    """max(x, 0)."""

    _function = staticmethod(F.relu)


class SELU(_Inplace):
    """The scaled elu of self-normalizing networks."""

    _function = staticmethod(F.selu)


class SiLU(_Inplace):
    """x * sigmoid(x)."""

    _function = staticmethod(F.silu)


class Mish(_Inplace):
    """x * tanh(softplus(x))."""

    _function = staticmethod(F.mish)


class Hardswish(_Inplace):
    """x * hardsigmoid(x)."""

    _function = staticmethod(F.hardswish)


class Hardsigmoid(_Inplace):
    """x / 6 + 1/2 limited to [0, 1]."""

    _function = staticmethod(F.hardsigmoid)


class _Plain(Module):
    """An activation without options."""

    _function: Any

    def forward(self, input: Tensor) -> Tensor:
        """Apply the function by element."""
        return type(self)._function(input)


class Tanh(_Plain):
    """The hyperbolic tangent."""

    _function = staticmethod(F.tanh)


class Sigmoid(_Plain):
    """1 / (1 + exp(-x))."""

    _function = staticmethod(F.sigmoid)


class LogSigmoid(_Plain):
    """log(sigmoid(x))."""

    _function = staticmethod(F.logsigmoid)


class Softsign(_Plain):
    """x / (1 + |x|)."""

    _function = staticmethod(F.softsign)


class Tanhshrink(_Plain):
    """x - tanh(x)."""

    _function = staticmethod(F.tanhshrink)


class Softmax2d(Module):
    """softmax over the channels of (N, C, H, W) or (C, H, W)."""

    def forward(self, input: Tensor) -> Tensor:
        """Apply softmax along dimension -3."""
        if input.dim() not in (3, 4):
            raise ValueError(
                f"Softmax2d: expected input to be 3D or 4D, got {input.dim()}D instead"
            )
        return F.softmax(input, -3)


class Hardtanh(Module):
    """x limited to [min_val, max_val]."""

    def __init__(
        self, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
    ) -> None:
        super().__init__()
        if max_val <= min_val:
            raise AssertionError(
                f"max_val ({max_val}) must be greater than min_val ({min_val})"
            )
        self.min_val, self.max_val, self.inplace = min_val, max_val, inplace

    def forward(self, input: Tensor) -> Tensor:
        """Apply hardtanh by element."""
        return F.hardtanh(input, self.min_val, self.max_val, self.inplace)

    def extra_repr(self) -> str:
        """Show the limits."""
        return f"min_val={self.min_val}, max_val={self.max_val}" + _inplace_text(self)


def _inplace_text(module: Any) -> str:
    return ", inplace=True" if module.inplace else ""


class ReLU6(Hardtanh):
    """x limited to [0, 6]."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__(0.0, 6.0, inplace)

    def extra_repr(self) -> str:
        """Show ``inplace`` if it is set."""
        return "inplace=True" if self.inplace else ""


class LeakyReLU(Module):
    """x where x > 0, else negative_slope * x."""

    def __init__(self, negative_slope: float = 1e-2, inplace: bool = False) -> None:
        super().__init__()
        self.negative_slope, self.inplace = negative_slope, inplace

    def forward(self, input: Tensor) -> Tensor:
        """Apply leaky_relu by element."""
        return F.leaky_relu(input, self.negative_slope, self.inplace)

    def extra_repr(self) -> str:
        """Show the slope."""
        return f"negative_slope={self.negative_slope}" + _inplace_text(self)


class _Alpha(Module):
    _function: Any

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__()
        self.alpha, self.inplace = alpha, inplace

    def forward(self, input: Tensor) -> Tensor:
        """Apply the function by element."""
        return type(self)._function(input, self.alpha, self.inplace)

    def extra_repr(self) -> str:
        """Show alpha."""
        return f"alpha={self.alpha}" + _inplace_text(self)


class ELU(_Alpha):
    """x where x > 0, else alpha * (exp(x) - 1)."""

    _function = staticmethod(F.elu)


class CELU(_Alpha):
    """x where x > 0, else alpha * (exp(x / alpha) - 1)."""

    _function = staticmethod(F.celu)


class GELU(Module):
    """x * Phi(x); ``approximate`` is "none" or "tanh"."""

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        self.approximate = approximate

    def forward(self, input: Tensor) -> Tensor:
        """Apply gelu by element."""
        return F.gelu(input, approximate=self.approximate)

    def extra_repr(self) -> str:
        """Show the kind of approximation."""
        return f"approximate={self.approximate!r}"


class Softplus(Module):
    """log(1 + exp(beta * x)) / beta."""

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__()
        self.beta, self.threshold = beta, threshold

    def forward(self, input: Tensor) -> Tensor:
        """Apply softplus by element."""
        return F.softplus(input, self.beta, self.threshold)

    def extra_repr(self) -> str:
        """Show the options."""
        return f"beta={self.beta}, threshold={self.threshold}"


class Threshold(Module):
    """x where x > threshold, else value."""

    def __init__(self, threshold: float, value: float, inplace: bool = False) -> None:
        super().__init__()
        self.threshold, self.value, self.inplace = threshold, value, inplace

    def forward(self, input: Tensor) -> Tensor:
        """Apply threshold by element."""
        return F.threshold(input, self.threshold, self.value, self.inplace)

    def extra_repr(self) -> str:
        """Show the options."""
        return f"threshold={self.threshold}, value={self.value}" + _inplace_text(self)


class PReLU(Module):
    """leaky_relu with a learned slope for all or for each of ``num_parameters`` channels."""

    def __init__(
        self, num_parameters: int = 1, init: float = 0.25, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__()
        self.num_parameters, self.init = num_parameters, init
        self.weight = Parameter(nncomp.empty(num_parameters, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set all slopes to ``init``."""
        init.constant_(self.weight, self.init)

    def forward(self, input: Tensor) -> Tensor:
        """Apply prelu by element."""
        return F.prelu(input, self.weight)

    def extra_repr(self) -> str:
        """Show the number of slopes."""
        return f"num_parameters={self.num_parameters}"


class _Lambd(Module):
    _function: Any

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__()
        self.lambd = lambd

    def forward(self, input: Tensor) -> Tensor:
        """Apply the function by element."""
        return type(self)._function(input, self.lambd)

    def extra_repr(self) -> str:
        """Show lambd."""
        return str(self.lambd)


class Hardshrink(_Lambd):
    """x where |x| > lambd, else 0."""

    _function = staticmethod(F.hardshrink)


class Softshrink(_Lambd):
    """x moved towards 0 by lambd."""

    _function = staticmethod(F.softshrink)


class _AlongDim(Module):
    _function: Any

    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        """Apply the function along ``dim``."""
        return type(self)._function(input, self.dim)

    def extra_repr(self) -> str:
        """Show the dimension."""
        return f"dim={self.dim}"


class Softmax(_AlongDim):
    """exp(x) / sum(exp(x)) along ``dim``."""

    _function = staticmethod(F.softmax)


class LogSoftmax(_AlongDim):
    """log(softmax(x)) along ``dim``."""

    _function = staticmethod(F.log_softmax)


class Softmin(_AlongDim):
    """softmax(-x) along ``dim``."""

    _function = staticmethod(F.softmin)


class GLU(_AlongDim):
    """a * sigmoid(b) for the halves a, b of the input along ``dim``."""

    _function = staticmethod(F.glu)

    def __init__(self, dim: int = -1) -> None:
        super().__init__(dim)


__all__ = [
    "CELU", "ELU", "GELU", "GLU", "Hardshrink", "Hardsigmoid", "Hardswish", "Hardtanh",
    "LeakyReLU", "LogSigmoid", "LogSoftmax", "Mish", "PReLU", "ReLU", "ReLU6", "SELU", "SiLU",
    "Sigmoid", "Softmax", "Softmax2d", "Softmin", "Softplus", "Softshrink", "Softsign", "Tanh",
    "Tanhshrink", "Threshold",
]  # fmt: skip
