"""AdaptiveLogSoftmaxWithLoss: a softmax over many classes of very different frequency."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import nncomp

from ..functions.masks import known_values
from ..tensor import Tensor
from ._activation_functions import log_softmax
from .container import ModuleList, Sequential
from .linear import Linear
from .module import Module


class _ASMoutput(NamedTuple):
    """What forward() returns: log probabilities of the targets and their negated mean."""

    output: Tensor
    loss: Tensor


_CUTOFFS = (
    "cutoffs should be a sequence of unique, positive integers sorted in an increasing order, "
    "where each value is between 1 and n_classes-1"
)


class AdaptiveLogSoftmaxWithLoss(Module):
    """Classes in clusters, the rarer ones with smaller projections (Grave et al., 2017).

    The first ``cutoffs[0]`` classes stand in the head, beside one entry per cluster. All clusters
    are computed for all rows and masked, so that the graph does not depend on the targets.
    """

    def __init__(
        self,
        in_features: int,
        n_classes: int,
        cutoffs: Sequence[int],
        div_value: float = 4.0,
        head_bias: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        cutoffs = list(cutoffs)
        if not cutoffs:
            raise ValueError("cutoffs should be a sequence of length larger than 0")
        if (
            cutoffs != sorted(set(cutoffs))
            or min(cutoffs) <= 0
            or max(cutoffs) > n_classes - 1
            or any(int(cutoff) != cutoff for cutoff in cutoffs)
        ):
            raise ValueError(_CUTOFFS)
        options = {"device": device, "dtype": dtype}
        self.in_features, self.n_classes = in_features, n_classes
        self.cutoffs = [*cutoffs, n_classes]
        self.div_value, self.head_bias = div_value, head_bias
        self.shortlist_size = self.cutoffs[0]
        self.n_clusters = len(self.cutoffs) - 1
        self.head_size = self.shortlist_size + self.n_clusters
        self.head = Linear(in_features, self.head_size, bias=head_bias, **options)
        self.tail = ModuleList()
        for number in range(self.n_clusters):
            width = int(in_features // div_value ** (number + 1))
            size = self.cutoffs[number + 1] - self.cutoffs[number]
            self.tail.append(Sequential(
                Linear(in_features, width, bias=False, **options),
                Linear(width, size, bias=False, **options),
            ))  # fmt: skip

    def reset_parameters(self) -> None:
        """Draw the parameters of all Linear layers anew."""
        self.head.reset_parameters()
        for first, second in self.tail:
            first.reset_parameters()
            second.reset_parameters()

    def _check(self, input: Tensor, target: Tensor) -> None:
        if target.dim() not in (0, 1):
            raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
        if target.dim() == 1 and input.shape[0] != target.shape[0]:
            raise RuntimeError(
                "Input and target should have the same size in the batch dimension."
            )
        if target.dim() == 1 and input.dim() != 2:
            raise RuntimeError(
                "1D target tensor expects 2D input tensors, but found inputs with size "
                f"{input.size()}"
            )
        if target.dim() == 0 and input.dim() != 1:
            raise RuntimeError(
                "0D target tensor expects 1D input tensors, but found inputs with size "
                f"{input.size()}"
            )
        if target.is_traced or not target.numel():
            return
        values = known_values(target, "the check of target classes")
        if values.min() < 0 or values.max() >= self.n_classes:
            raise RuntimeError(
                f"Target values should be in [0, {self.n_classes - 1}], but values in range "
                f"[{values.min()}, {values.max()}] were found. "
            )

    def forward(self, input_: Tensor, target_: Tensor) -> _ASMoutput:
        """Map (N, in_features) and classes (N) to the log probabilities (N) and the loss."""
        self._check(input_, target_)
        input = input_ if target_.dim() else input_.unsqueeze(0)
        target = (target_ if target_.dim() else target_.unsqueeze(0)).unsqueeze(1)
        head = log_softmax(self.head(input), 1)
        first = self.shortlist_size
        output = nncomp.gather(head, 1, nncomp.clamp(target, max=first - 1))
        for number, layer in enumerate(self.tail):
            low, high = self.cutoffs[number], self.cutoffs[number + 1]
            inside = nncomp.clamp(target - low, 0, high - low - 1)
            found = nncomp.gather(log_softmax(layer(input), 1), 1, inside)
            found = found + head[:, first + number].unsqueeze(1)
            output = nncomp.where(target >= low, found, output)
        output = output.squeeze(1)
        loss = -output.mean()
        return _ASMoutput(output if target_.dim() else output.squeeze(0), loss)

    def log_prob(self, input: Tensor) -> Tensor:
        """The log probabilities (N, n_classes) of all classes."""
        head = log_softmax(self.head(input), 1)
        first = self.shortlist_size
        parts = [head[:, :first]]
        for number, layer in enumerate(self.tail):
            share = head[:, first + number].unsqueeze(1)
            parts.append(log_softmax(layer(input), 1) + share)
        return nncomp.cat(parts, 1)

    def predict(self, input: Tensor) -> Tensor:
        """The most likely class (N)."""
        return nncomp.argmax(self.log_prob(input), 1)


__all__ = ["AdaptiveLogSoftmaxWithLoss"]
