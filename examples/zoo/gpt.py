"""GPT-2 (Radford et al., 2019): the small one, and a tiny one over characters for training."""

from __future__ import annotations

import nncomp as torch
import nncomp.nn.functional as F
from nncomp import nn


class Attention(nn.Module):
    """Multi-head attention; a token sees itself and those before it."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.inlet = nn.Linear(width, 3 * width)
        self.outlet = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, width = x.shape
        parts = self.inlet(x).split(width, dim=2)
        query, key, value = (
            part.view(batch, length, self.heads, width // self.heads).transpose(1, 2)
            for part in parts
        )
        y = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.outlet(y.transpose(1, 2).reshape(batch, length, width))


class Block(nn.Module):
    """Attention and a feed-forward net, each with LayerNorm before it and a shortcut."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.attention_norm(x))
        return x + self.down(F.gelu(self.up(self.norm(x)), approximate="tanh"))


class GPT(nn.Module):
    """Tokens (B, S) -> scores of the next token (B, S, tokens); the head is the embedding."""

    def __init__(self, tokens: int, length: int, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(tokens, width)
        self.positions = nn.Embedding(length, width)
        self.blocks = nn.ModuleList([Block(width, heads) for _ in range(depth)])
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, tokens, bias=False)
        for name, weight in self.named_parameters():
            if weight.dim() > 1:
                residual = name.endswith(("outlet.weight", "down.weight"))
                nn.init.normal_(weight, std=0.02 / (2 * depth) ** 0.5 if residual else 0.02)
        self.head.weight = self.tokens.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.tokens(tokens) + self.positions(torch.arange(tokens.size(1)))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


def gpt2_small() -> GPT:
    return GPT(tokens=50257, length=1024, width=768, depth=12, heads=12)


def char_gpt() -> GPT:
    return GPT(tokens=65, length=256, width=384, depth=6, heads=6)


def loss(scores: torch.Tensor, following: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of the next token over all positions."""
    return F.cross_entropy(scores.flatten(0, 1), following.flatten())
