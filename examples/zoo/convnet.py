"""A convolutional net 1-16-16-10 with stride 2 for 28x28 images, one nn.Sequential."""

from __future__ import annotations

from collections.abc import Callable

import nncomp as torch
from nncomp import nn


class Lambda(nn.Module):
    """Any function as a layer."""

    def __init__(self, func: Callable) -> None:
        super().__init__()
        self.func = func

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.func(x)


def convnet() -> nn.Sequential:
    """Flat images (B, 784) -> scores (B, 10)."""
    return nn.Sequential(
        Lambda(lambda x: x.view(-1, 1, 28, 28)),
        nn.Conv2d(1, 16, kernel_size=3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 16, kernel_size=3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 10, kernel_size=3, stride=2, padding=1),
        nn.ReLU(),
        nn.AvgPool2d(4),
        Lambda(lambda x: x.view(x.size(0), -1)),
    )
