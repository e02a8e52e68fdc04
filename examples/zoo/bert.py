"""The encoder of BERT-base (Devlin et al., 2018): 12 layers, 768 wide, normalization after."""

from __future__ import annotations

import nncomp as torch
import nncomp.nn.functional as F
from nncomp import nn


class Attention(nn.Module):
    """Multi-head attention over all tokens."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)

    def split(self, x: torch.Tensor) -> torch.Tensor:
        """(B, S, width) -> (B, heads, S, width / heads)."""
        return x.view(x.size(0), x.size(1), self.heads, -1).transpose(1, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        query, key, value = (self.split(f(x)) for f in (self.query, self.key, self.value))
        y = F.scaled_dot_product_attention(query, key, value)
        return self.output(y.transpose(1, 2).reshape(x.shape))


class Layer(nn.Module):
    """Attention and a feed-forward net, each with a shortcut and LayerNorm behind it."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = Attention(width, heads)
        self.attention_norm = nn.LayerNorm(width, eps=1e-12)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.attention_norm(x + self.attention(x))
        return self.norm(x + self.down(F.gelu(self.up(x))))


class Bert(nn.Module):
    """Tokens (B, S) -> states (B, S, 768)."""

    def __init__(
        self, tokens: int = 30522, width: int = 768, depth: int = 12, heads: int = 12
    ) -> None:
        super().__init__()
        self.tokens = nn.Embedding(tokens, width)
        self.positions = nn.Embedding(512, width)
        self.kinds = nn.Embedding(2, width)
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.layers = nn.ModuleList([Layer(width, heads) for _ in range(depth)])

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.tokens(tokens) + self.positions(torch.arange(tokens.size(1)))
        x = self.norm(x + self.kinds(torch.zeros_like(tokens)))
        for layer in self.layers:
            x = layer(x)
        return x
