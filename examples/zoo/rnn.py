"""A recurrent net with a cell written by hand, unrolled by a Python loop."""

from __future__ import annotations

import math

import nncomp as torch
import nncomp.nn.functional as F
from nncomp import nn


class RNNCell(nn.Module):
    """h' = relu(W_ih x + b_ih + W_hh h + b_hh)."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.weight_ih = nn.Parameter(torch.empty(hidden_size, input_size))
        self.weight_hh = nn.Parameter(torch.empty(hidden_size, hidden_size))
        self.bias_ih = nn.Parameter(torch.empty(hidden_size))
        self.bias_hh = nn.Parameter(torch.empty(hidden_size))
        bound = 1.0 / math.sqrt(hidden_size)
        for weight in self.parameters():
            nn.init.uniform_(weight, -bound, bound)

    def forward(self, x: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        output = F.linear(x, self.weight_ih, self.bias_ih)
        return F.relu(output + F.linear(h, self.weight_hh, self.bias_hh))


class RNN(nn.Module):
    """(B, T, 64) -> the hidden states (B, T, 128)."""

    def __init__(self, input_size: int = 64, hidden_size: int = 128) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.cell = RNNCell(input_size, hidden_size)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        state = torch.zeros(inputs.size(0), self.hidden_size)
        outputs = []
        for t in range(inputs.size(1)):
            state = self.cell(inputs[:, t, :], state)
            outputs.append(state)
        return torch.stack(outputs, 1)
