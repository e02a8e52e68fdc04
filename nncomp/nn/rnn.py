"""RNN, LSTM and GRU: layers that run over time, in both directions on demand.

Each layer and direction is one loop (see ``_recurrent_functions.py``). PackedSequences are spread
out to (time, batch) for the loop, in which a sequence that has ended keeps its state.
"""

from __future__ import annotations

import math
import numbers
import warnings
from collections.abc import Sequence
from typing import Any

import nncomp

from ..autograd import modes
from ..tensor import Tensor
from . import functional as F
from . import init
from ._recurrent_functions import CHUNKS, Weights, input_share, run_direction
from .module import Module
from .parameter import Parameter
from .utils.rnn import PackedSequence, fixed, padded_rows, read_fixed


class _Steps:
    """The layout of a dense batch (time, batch, *): the loop takes it as it is."""

    mask: Tensor | None = None

    def spread(self, x: Tensor) -> Tensor:
        """The given layout as (time, batch, width)."""
        return x

    def gather(self, steps: Tensor) -> Tensor:
        """The inverse of ``spread``."""
        return steps


class _PackedSteps(_Steps):
    """The layout of the rows of a PackedSequence, of which some steps have fewer than others."""

    def __init__(self, sizes: list[int]) -> None:
        batch = sizes[0]
        rows = padded_rows(sizes)
        steps = [rows[start : start + batch] for start in range(0, len(rows), batch)]
        self.mask = nncomp.tensor([[[row >= 0] for row in step] for step in steps])
        self._from = nncomp.tensor([[max(row, 0) for row in step] for step in steps])
        self._to = fixed([place for place, row in enumerate(rows) if row >= 0])

    def spread(self, x: Tensor) -> Tensor:
        """(sum of lengths, width) as (time, batch, width)."""
        return nncomp.embedding(x, self._from)

    def gather(self, steps: Tensor) -> Tensor:
        """The inverse of ``spread``."""
        return nncomp.index_select(steps.flatten(0, 1), 0, self._to)


class RNNBase(Module):
    """What RNN, LSTM and GRU share: options, parameters, and the stack of layers."""

    mode: str
    input_size: int
    hidden_size: int
    num_layers: int
    bias: bool
    batch_first: bool
    dropout: float
    bidirectional: bool
    proj_size: int

    def __init__(
        self,
        mode: str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        _check_options(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, proj_size
        )
        if mode not in CHUNKS:
            raise ValueError("Unrecognized RNN mode: " + mode)
        self.mode, self.input_size, self.hidden_size = mode, input_size, hidden_size
        self.num_layers, self.bias, self.batch_first = num_layers, bias, batch_first
        self.dropout, self.bidirectional = float(dropout), bidirectional
        self.proj_size = proj_size
        self._all_weights: list[list[str]] = []
        for layer in range(num_layers):
            for suffix in ("", "_reverse")[: self._directions]:
                self._add_layer(layer, suffix, {"device": device, "dtype": dtype})
        self.reset_parameters()

    @property
    def _directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def _output_size(self) -> int:
        return self.proj_size or self.hidden_size

    def _add_layer(self, layer: int, suffix: str, options: dict) -> None:
        gates = CHUNKS[self.mode] * self.hidden_size
        width = self.input_size if layer == 0 else self._output_size * self._directions
        sizes = {"weight_ih": (gates, width), "weight_hh": (gates, self._output_size)}
        if self.bias:
            sizes |= {"bias_ih": (gates,), "bias_hh": (gates,)}
        if self.proj_size:
            sizes["weight_hr"] = (self.proj_size, self.hidden_size)
        names = []
        for kind, size in sizes.items():
            names.append(f"{kind}_l{layer}{suffix}")
            setattr(self, names[-1], Parameter(nncomp.empty(*size, **options)))
        self._all_weights.append(names)

    def reset_parameters(self) -> None:
        """Draw all parameters uniformly within 1 / sqrt(hidden_size)."""
        bound = 1.0 / math.sqrt(self.hidden_size) if self.hidden_size > 0 else 0
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)

    def flatten_parameters(self) -> None:
        """Accepted for torch's sake: parameters need no special memory here."""

    @property
    def _flat_weights_names(self) -> list[str]:
        return [name for names in self._all_weights for name in names]

    @property
    def _flat_weights(self) -> list[Tensor]:
        return [getattr(self, name) for name in self._flat_weights_names]

    @property
    def all_weights(self) -> list[list[Parameter]]:
        """The parameters of each layer and direction."""
        return [[getattr(self, name) for name in names] for names in self._all_weights]

    def _weights(self, layer: int, direction: int) -> Weights:
        end = f"_l{layer}{'_reverse' if direction else ''}"
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")
        return Weights(*(getattr(self, name + end, None) for name in names))

    # ---- checks ----

    def check_input(self, input: Tensor, batch_sizes: Tensor | None) -> None:
        """Raise torch's errors for an input of wrong dtype or size."""
        dtype = self._flat_weights[0].dtype
        if input.dtype is not dtype and modes.state.autocast is None:
            raise ValueError(
                f"RNN input dtype ({input.dtype}) does not match weight dtype ({dtype}). Convert "
                f"input: input.to({dtype}), or convert model: model.to({input.dtype})"
            )
        expected = 2 if batch_sizes is not None else 3
        if input.dim() != expected:
            raise RuntimeError(
                f"input must have {expected} dimensions, got {input.dim()}"
            )
        if input.size(-1) != self.input_size:
            raise RuntimeError(
                "input.size(-1) must be equal to input_size. Expected "
                f"{self.input_size}, got {input.size(-1)}"
            )

    def _check_state(self, state: Sequence[Tensor], batch: int) -> None:
        widths = (self._output_size, self.hidden_size)
        for number, (x, width) in enumerate(zip(state, widths, strict=False)):
            expected = (self.num_layers * self._directions, batch, width)
            if tuple(x.shape) != expected:
                which = f"[{number}]" if len(state) > 1 else ""
                raise RuntimeError(
                    f"Expected hidden{which} size {expected}, got {list(x.shape)}"
                )

    # ---- running ----

    def _zero_state(self, batch: int, like: Tensor) -> list[Tensor]:
        widths = [self._output_size] + ([self.hidden_size] if self.mode == "LSTM" else [])
        rows = self.num_layers * self._directions
        return [nncomp.zeros(rows, batch, width, dtype=like.dtype) for width in widths]

    def _run(
        self, x: Tensor, steps: _Steps, state: Sequence[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """Run all layers on x, whose layout ``steps`` knows; the output and the final state."""
        finals: list[list[Tensor]] = []
        for layer in range(self.num_layers):
            outputs = []
            for direction in range(self._directions):
                weights = self._weights(layer, direction)
                number = layer * self._directions + direction
                gates = steps.spread(input_share(self.mode, x, weights))
                output, final = run_direction(
                    self.mode, gates, [part[number] for part in state], weights, bool(direction),
                    steps.mask,
                )  # fmt: skip
                outputs.append(steps.gather(output))
                finals.append(final)
            x = outputs[0] if len(outputs) == 1 else nncomp.cat(outputs, -1)
            if self.dropout and self.training and layer + 1 < self.num_layers:
                x = F.dropout(x, self.dropout, True)
        return x, [nncomp.stack(part) for part in zip(*finals, strict=True)]

    def _forward(
        self, input: Any, state: Sequence[Tensor] | None
    ) -> tuple[Any, list[Tensor]]:
        """The output and the final state; ``state`` is (h,) or (h, c) as the caller gave it."""
        if isinstance(input, PackedSequence):
            return self._forward_packed(input, state)
        if input.dim() not in (2, 3):
            name = type(self).__name__
            tail = "D tensor instead" if self.mode.startswith("RNN") else "D instead"
            raise ValueError(f"{name}: Expected input to be 2D or 3D, got {input.dim()}{tail}")
        batched = input.dim() == 3
        if state is not None:
            self._check_state_dims(state, batched)
        if not batched:
            input = input.unsqueeze(0 if self.batch_first else 1)
            state = None if state is None else [x.unsqueeze(1) for x in state]
        self.check_input(input, None)
        x = input.transpose(0, 1) if self.batch_first else input
        time, batch = x.shape[:2]
        if time == 0:
            raise RuntimeError("Expected sequence length to be larger than 0 in RNN")
        if state is None:
            state = self._zero_state(batch, input)
        self._check_state(state, batch)
        output, final = self._run(x, _Steps(), state)
        output = output.transpose(0, 1) if self.batch_first else output
        if batched:
            return output, final
        return output.squeeze(0 if self.batch_first else 1), [x.squeeze(1) for x in final]

    def _check_state_dims(self, state: Sequence[Tensor], batched: bool) -> None:
        want, kind = (3, "batched") if batched else (2, "unbatched")
        if all(x.dim() == want for x in state):
            return
        if len(state) == 1:
            got, names = f"{state[0].dim()}-D tensor", "hx"
        else:
            got, names = "(" + ", ".join(f"{x.dim()}-D" for x in state) + ") tensors", "hx and cx"
        raise RuntimeError(
            f"For {kind} {want}-D input, {names} should also be {want}-D but got {got}"
        )

    def _forward_packed(
        self, input: PackedSequence, state: Sequence[Tensor] | None
    ) -> tuple[PackedSequence, list[Tensor]]:
        data, batch_sizes, order, back = input
        self.check_input(data, batch_sizes)
        sizes = read_fixed(batch_sizes, "batch_sizes of a PackedSequence")
        if state is None:
            state = self._zero_state(sizes[0], data)
        elif order is not None:
            state = [nncomp.index_select(x, 1, order) for x in state]
        self._check_state(state, sizes[0])
        rows, final = self._run(data, _PackedSteps(sizes), state)
        if back is not None:
            final = [nncomp.index_select(x, 1, back) for x in final]
        return PackedSequence(rows, batch_sizes, order, back), final

    def forward(self, input: Any, hx: Tensor | None = None) -> tuple[Any, Tensor]:
        """Map (time, batch, input_size), or a PackedSequence, to all outputs and the final state.

        ``hx`` (layers * directions, batch, hidden_size) is zero by default.
        """
        output, final = self._forward(input, None if hx is None else [hx])
        return output, final[0]

    def extra_repr(self) -> str:
        """Show the sizes and the options that are not the default."""
        text = f"{self.input_size}, {self.hidden_size}"
        defaults = {"proj_size": 0, "num_layers": 1, "bias": True, "batch_first": False,
                    "dropout": 0, "bidirectional": False}  # fmt: skip
        for name, default in defaults.items():
            value = getattr(self, name)
            if value != default:
                text += f", {name}={value}"
        return text


def _check_options(
    input_size: int, hidden_size: int, num_layers: int, bias: bool, batch_first: bool,
    dropout: float, proj_size: int,
) -> None:  # fmt: skip
    """Raise torch's errors for wrong options."""
    number = isinstance(dropout, numbers.Number) and not isinstance(dropout, bool)
    if not number or not 0 <= dropout <= 1:
        raise ValueError(
            "dropout should be a number in range [0, 1] representing the probability of an "
            "element being zeroed"
        )
    if dropout > 0 and num_layers == 1:
        warnings.warn(
            "dropout option adds dropout after all but last recurrent layer, so non-zero dropout "
            f"expects num_layers greater than 1, but got dropout={dropout} and "
            f"num_layers={num_layers}",
            stacklevel=4,
        )
    for name, value in (("bias", bias), ("batch_first", batch_first)):
        if not isinstance(value, bool):
            raise TypeError(f"{name} should be of type bool, got: {type(value).__name__}")
    for name, value in (("input_size", input_size), ("hidden_size", hidden_size)):
        if not isinstance(value, int):
            raise TypeError(f"{name} should be of type int, got: {type(value).__name__}")
        if value <= 0:
            raise ValueError(f"{name} must be greater than zero")
    if num_layers <= 0:
        raise ValueError("num_layers must be greater than zero")
    if proj_size < 0:
        raise ValueError(
            "proj_size should be a positive integer or zero to disable projections"
        )
    if proj_size >= hidden_size:
        raise ValueError("proj_size has to be smaller than hidden_size")


def _no_projection(options: dict) -> None:
    if "proj_size" in options:
        raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")


class RNN(RNNBase):
    """h' = tanh(x W_ih^T + b_ih + h W_hh^T + b_hh), or relu, over time (Elman, 1990)."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        _no_projection(kwargs)
        if len(args) > 3:
            nonlinearity = args[3]
            args = args[:3] + args[4:]
        else:
            nonlinearity = kwargs.pop("nonlinearity", "tanh")
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(
                f"Unknown nonlinearity '{nonlinearity}'. Select from 'tanh' or 'relu'."
            )
        super().__init__(f"RNN_{nonlinearity.upper()}", *args, **kwargs)
        self.nonlinearity = nonlinearity


class LSTM(RNNBase):
    """Long short-term memory (Hochreiter and Schmidhuber, 1997); with ``proj_size`` projected."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__("LSTM", *args, **kwargs)

    def forward(
        self, input: Any, hx: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Any, tuple[Tensor, Tensor]]:
        """Map (time, batch, input_size), or a PackedSequence, to all outputs and (h, c).

        ``hx`` is (h, c), both zero by default.
        """
        output, final = self._forward(input, hx)
        return output, (final[0], final[1])


class GRU(RNNBase):
    """Gated recurrent units (Cho et al., 2014)."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        _no_projection(kwargs)
        super().__init__("GRU", *args, **kwargs)


__all__ = ["GRU", "LSTM", "RNN", "RNNBase"]
