"""An MLP with layer normalization, GELU and residual blocks, trained with AdamW."""

from __future__ import annotations

import sys

from compare import accuracy, make_batches, options, train_both

import nncomp as torch
import nncomp.nn.functional as F
from nncomp import nn
from nncomp.datasets import digits


class Block(nn.Module):
    """x + W2 gelu(W1 norm(x)), the feed-forward part of a transformer block."""

    def __init__(self, width, hidden):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, width)

    def forward(self, x):
        return x + self.down(F.gelu(self.up(self.norm(x))))


class Classifier(nn.Module):
    def __init__(self, width, depth):
        super().__init__()
        self.inlet = nn.Linear(64, width)
        self.blocks = nn.ModuleList([Block(width, 2 * width) for _ in range(depth)])
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 10)

    def forward(self, x):
        x = self.inlet(x.flatten(1))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


def main() -> int:
    args = options(__doc__)
    torch.manual_seed(0)
    model = Classifier(width=64, depth=2)
    batches = make_batches(*digits("train"), args)
    code = train_both(model, batches, lambda p: torch.optim.AdamW(p, lr=2e-3))
    print(f"test accuracy {accuracy(model, *digits('test')):.1%}")
    return code


if __name__ == "__main__":
    sys.exit(main())
