"""RReLU, AlphaDropout, FeatureAlphaDropout, LocalResponseNorm and CrossMapLRN2d."""

from __future__ import annotations

from ..tensor import Tensor
from . import functional as F
from ._response_functions import cross_map_lrn
from .dropout import _Dropout
from .module import Module


class AlphaDropout(_Dropout):
    """Dropout that keeps mean and variance of selu activations."""

    def forward(self, input: Tensor) -> Tensor:
        """Drop in training mode; return ``input`` in evaluation mode."""
        return F.alpha_dropout(input, self.p, self.training)


class FeatureAlphaDropout(_Dropout):
    """AlphaDropout of whole channels of (N, C, *)."""

    def forward(self, input: Tensor) -> Tensor:
        """Drop in training mode; return ``input`` in evaluation mode."""
        return F.feature_alpha_dropout(input, self.p, self.training)


class RReLU(Module):
    """leaky_relu with random slopes in training mode, with their mean otherwise."""

    def __init__(
        self, lower: float = 1.0 / 8, upper: float = 1.0 / 3, inplace: bool = False
    ) -> None:
        super().__init__()
        self.lower, self.upper, self.inplace = lower, upper, inplace

    def forward(self, input: Tensor) -> Tensor:
        """Apply rrelu by element."""
        return F.rrelu(input, self.lower, self.upper, self.training, self.inplace)

    def extra_repr(self) -> str:
        """Show the limits of the slopes."""
        text = f"lower={self.lower}, upper={self.upper}"
        return text + (", inplace=True" if self.inplace else "")


class LocalResponseNorm(Module):
    """Division by the size of neighbouring channels."""

    def __init__(
        self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
    ) -> None:
        super().__init__()
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, input: Tensor) -> Tensor:
        """Normalize (N, C, *)."""
        return F.local_response_norm(input, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        """Show the options."""
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"


class CrossMapLRN2d(Module):
    """LocalResponseNorm of (N, C, H, W) as older versions of torch had it."""

    def __init__(
        self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1
    ) -> None:
        super().__init__()
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, input: Tensor) -> Tensor:
        """Normalize (N, C, H, W)."""
        return cross_map_lrn(input, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        """Show the options."""
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"


__all__ = ["AlphaDropout", "CrossMapLRN2d", "FeatureAlphaDropout", "LocalResponseNorm", "RReLU"]
