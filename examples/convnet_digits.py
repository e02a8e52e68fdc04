"""A small convolutional net on 8x8 handwritten digits, as one nn.Sequential."""

from __future__ import annotations

import sys

from compare import accuracy, make_batches, options, train_both

import nncomp as torch
from nncomp import nn
from nncomp.datasets import digits


class Lambda(nn.Module):
    def __init__(self, func):
        super().__init__()
        self.func = func

    def forward(self, x):
        return self.func(x)


def preprocess(x):
    return x.view(-1, 1, 8, 8)


def make_model() -> nn.Sequential:
    return nn.Sequential(
        Lambda(preprocess),
        nn.Conv2d(1, 16, kernel_size=3, stride=1, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 16, kernel_size=3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 10, kernel_size=3, stride=2, padding=1),
        nn.ReLU(),
        nn.AvgPool2d(2),
        Lambda(lambda x: x.view(x.size(0), -1)),
    )


def main() -> int:
    args = options(__doc__)
    torch.manual_seed(0)
    model = make_model()
    batches = make_batches(*digits("train"), args)
    code = train_both(model, batches, lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9))
    print(f"test accuracy {accuracy(model, *digits('test')):.1%}")
    return code


if __name__ == "__main__":
    sys.exit(main())
