"""Which digit does a sequence of digit tokens favour? Embedding, mean over the sequence, Linear.

The data is made up here: 40 % of the tokens of a sequence are its label, the others are random.
"""

from __future__ import annotations

import sys

from compare import accuracy, make_batches, options, train_both

import nncomp as torch
from nncomp import nn

TOKENS, LENGTH = 10, 24


class Classifier(nn.Module):
    def __init__(self, tokens, width, classes):
        super().__init__()
        self.embedding = nn.Embedding(tokens, width)
        self.head = nn.Linear(width, classes)

    def forward(self, sequence):
        return self.head(self.embedding(sequence).mean(1))


def make_data(size):
    labels = torch.randint(0, TOKENS, (size,))
    noise = torch.randint(0, TOKENS, (size, LENGTH))
    chosen = torch.rand(size, LENGTH) < 0.4
    return torch.where(chosen, labels.unsqueeze(1), noise), labels


def main() -> int:
    args = options(__doc__)
    torch.manual_seed(0)
    model = Classifier(TOKENS, width=32, classes=TOKENS)
    batches = make_batches(*make_data(2048), args)
    code = train_both(model, batches, lambda p: torch.optim.Adam(p, lr=1e-2))
    print(f"test accuracy {accuracy(model, *make_data(512)):.1%}")
    return code


if __name__ == "__main__":
    sys.exit(main())
