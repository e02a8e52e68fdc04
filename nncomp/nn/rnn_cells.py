"""RNNCell, LSTMCell and GRUCell: one time step of the recurrent layers."""

from __future__ import annotations

import math
from typing import Any

import nncomp

from ..tensor import Tensor
from . import functional as F
from . import init
from ._activation_functions import relu
from .module import Module
from .parameter import Parameter


class RNNCellBase(Module):
    """Parameters and checks of the cells; ``num_chunks`` counts the gates."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool,
        num_chunks: int,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.input_size, self.hidden_size, self.bias = input_size, hidden_size, bias
        gates, options = num_chunks * hidden_size, {"device": device, "dtype": dtype}
        self.weight_ih = Parameter(nncomp.empty(gates, input_size, **options))
        self.weight_hh = Parameter(nncomp.empty(gates, hidden_size, **options))
        for name in ("bias_ih", "bias_hh"):
            value = Parameter(nncomp.empty(gates, **options)) if bias else None
            self.register_parameter(name, value)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all parameters uniformly within 1 / sqrt(hidden_size)."""
        bound = 1.0 / math.sqrt(self.hidden_size) if self.hidden_size > 0 else 0
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)

    def extra_repr(self) -> str:
        """Show the sizes and the options that are not the default."""
        text = f"{self.input_size}, {self.hidden_size}"
        if self.bias is not True:
            text += f", bias={self.bias}"
        if getattr(self, "nonlinearity", "tanh") != "tanh":
            text += f", nonlinearity={self.nonlinearity}"
        return text

    def _checked(self, input: Tensor, state: tuple[Tensor, ...] | None, names: tuple[str, ...]
                 ) -> tuple[Tensor, tuple[Tensor, ...]]:  # fmt: skip
        """The input and the state as (batch, size); the state is zero if it is None."""
        name = type(self).__name__
        for what, x in (("input", input), *zip(names, state or (), strict=False)):
            if x.dim() not in (1, 2):
                raise ValueError(
                    f"{name}: Expected {what} to be 1D or 2D, got {x.dim()}D instead"
                )
        if input.dim() == 1:
            input = input.unsqueeze(0)
            state = None if state is None else tuple(x.unsqueeze(0) for x in state)
        if state is None:
            zero = nncomp.zeros(input.shape[0], self.hidden_size, dtype=input.dtype)
            state = (zero,) * len(names)
        if input.shape[1] != self.input_size:
            raise RuntimeError(
                f"input has inconsistent input_size: got {input.shape[1]} expected "
                f"{self.input_size}"
            )
        for number, x in enumerate(state):
            if x.shape[0] != input.shape[0]:
                raise RuntimeError(
                    f"Input batch size {input.shape[0]} doesn't match hidden{number} batch size "
                    f"{x.shape[0]}"
                )
            if x.shape[1] != self.hidden_size:
                raise RuntimeError(
                    f"hidden{number} has inconsistent hidden_size: got {x.shape[1]}, expected "
                    f"{self.hidden_size}"
                )
        return input, state

    def _shares(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        return F.linear(x, self.weight_ih, self.bias_ih), F.linear(h, self.weight_hh, self.bias_hh)


class RNNCell(RNNCellBase):
    """h' = tanh(x W_ih^T + b_ih + h W_hh^T + b_hh), or relu."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 1, device, dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """Map (batch, input_size) and (batch, hidden_size) to the new h; the batch is optional."""
        x, (h,) = self._checked(input, None if hx is None else (hx,), ("hidden",))
        if self.nonlinearity not in ("tanh", "relu"):
            raise RuntimeError(f"Unknown nonlinearity: {self.nonlinearity}")
        mine, theirs = self._shares(x, h)
        act = nncomp.tanh if self.nonlinearity == "tanh" else relu
        y = act(mine + theirs)
        return y if input.dim() == 2 else y.squeeze(0)


class LSTMCell(RNNCellBase):
    """One step of LSTM."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 4, device, dtype)

    def forward(
        self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Map (batch, input_size) and (h, c) to the new (h, c); the batch is optional."""
        x, (h, c) = self._checked(input, hx, ("hx[0]", "hx[1]"))
        mine, theirs = self._shares(x, h)
        i, f, g, o = (mine + theirs).chunk(4, 1)
        c = nncomp.sigmoid(f) * c + nncomp.sigmoid(i) * nncomp.tanh(g)
        h = nncomp.sigmoid(o) * nncomp.tanh(c)
        return (h, c) if input.dim() == 2 else (h.squeeze(0), c.squeeze(0))


class GRUCell(RNNCellBase):
    """One step of GRU."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 3, device, dtype)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        """Map (batch, input_size) and (batch, hidden_size) to the new h; the batch is optional."""
        x, (h,) = self._checked(input, None if hx is None else (hx,), ("hidden",))
        mine, theirs = (share.chunk(3, 1) for share in self._shares(x, h))
        r, z = (nncomp.sigmoid(mine[number] + theirs[number]) for number in range(2))
        n = nncomp.tanh(mine[2] + r * theirs[2])
        y = n + z * (h - n)
        return y if input.dim() == 2 else y.squeeze(0)


__all__ = ["GRUCell", "LSTMCell", "RNNCell", "RNNCellBase"]
