"""A multilayer perceptron on 8x8 handwritten digits."""

from __future__ import annotations

import sys

from compare import accuracy, make_batches, options, train_both

import nncomp as torch
from nncomp import nn
from nncomp.datasets import digits


class MLP(nn.Module):
    def __init__(self, input_num):
        super().__init__()
        self.flatten = nn.Flatten()
        self.linear_relu_stack = nn.Sequential(
            nn.Linear(input_num, 256),
            nn.ReLU(),
            nn.Linear(256, 10),
        )

    def forward(self, x):
        x = self.flatten(x)
        pred = self.linear_relu_stack(x)
        return pred


def main() -> int:
    args = options(__doc__)
    torch.manual_seed(0)
    model = MLP(64)
    batches = make_batches(*digits("train"), args)
    code = train_both(model, batches, lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9))
    print(f"test accuracy {accuracy(model, *digits('test')):.1%}")
    return code


if __name__ == "__main__":
    sys.exit(main())
