"""Residual nets (He et al., 2015): ResNet-18 and -50 for 224x224 images, -18 for 32x32.

The stride of a bottleneck block sits in its 3x3 convolution, as in torchvision's models.
"""

from __future__ import annotations

import nncomp as torch
from nncomp import nn


def conv_norm(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Convolution without bias, batch normalization."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions around a shortcut."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.first = conv_norm(inputs, width, 3, stride)
        self.second = conv_norm(width, width, 3)
        self.relu = nn.ReLU()
        change = stride != 1 or inputs != width
        self.shortcut = conv_norm(inputs, width, 1, stride) if change else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.second(self.relu(self.first(x)))
        return self.relu(y + self.shortcut(x))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions around a shortcut."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = width * self.expansion
        self.first = conv_norm(inputs, width, 1)
        self.second = conv_norm(width, width, 3, stride)
        self.third = conv_norm(width, outputs, 1)
        self.relu = nn.ReLU()
        change = stride != 1 or inputs != outputs
        self.shortcut = conv_norm(inputs, outputs, 1, stride) if change else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.relu(self.first(x))
        y = self.relu(self.second(y))
        return self.relu(self.third(y) + self.shortcut(x))


class ResNet(nn.Module):
    """Images (B, 3, H, W) -> scores (B, classes)."""

    def __init__(self, block: type, depths: list[int], stem: nn.Module, classes: int) -> None:
        super().__init__()
        self.stem = stem
        layers, inputs = [], 64
        for stage, depth in enumerate(depths):
            width = 64 << stage
            for i in range(depth):
                layers.append(block(inputs, width, 2 if stage and i == 0 else 1))
                inputs = width * block.expansion
        self.layers = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(inputs, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(self.layers(self.stem(x)))
        return self.head(torch.flatten(x, 1))


def large_stem() -> nn.Sequential:
    """For 224x224 images: to a quarter of the size."""
    return nn.Sequential(conv_norm(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1))


def resnet18() -> ResNet:
    return ResNet(BasicBlock, [2, 2, 2, 2], large_stem(), 1000)


def resnet50() -> ResNet:
    return ResNet(Bottleneck, [3, 4, 6, 3], large_stem(), 1000)


def resnet18_cifar() -> ResNet:
    stem = nn.Sequential(conv_norm(3, 64, 3), nn.ReLU())
    return ResNet(BasicBlock, [2, 2, 2, 2], stem, 10)
