"""A tagger: token embedding, two LSTM layers of 512, one score per token and tag."""

from __future__ import annotations

import nncomp as torch
import nncomp.nn.functional as F
from nncomp import nn


class Tagger(nn.Module):
    """Tokens (B, T) -> scores (B, T, tags)."""

    def __init__(self, tokens: int = 10000, width: int = 512, tags: int = 17) -> None:
        super().__init__()
        self.embedding = nn.Embedding(tokens, width)
        self.lstm = nn.LSTM(width, width, num_layers=2, batch_first=True)
        self.head = nn.Linear(width, tags)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        states, _ = self.lstm(self.embedding(tokens))
        return self.head(states)


def loss(scores: torch.Tensor, tags: torch.Tensor) -> torch.Tensor:
    """Cross-entropy over all tokens."""
    return F.cross_entropy(scores.flatten(0, 1), tags.flatten())
