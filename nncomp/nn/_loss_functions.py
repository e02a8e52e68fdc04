"""Loss functions of nn.functional, as compositions of tensor operations.

Masks and ``where`` replace branches on values (``ignore_index``, zero targets), so each loss is
a static graph. Only eager mode looks at target classes, to raise torch's error for a wrong one.
"""

from __future__ import annotations

import warnings

import nncomp

from ..functions.autocasting import in_float32
from ..functions.masks import known_values
from ..tensor import Tensor
from ._activation_functions import log_softmax, logsigmoid


def _reduced(loss: Tensor, reduction: str) -> Tensor:
    if reduction == "mean":
        return loss.mean()
    if reduction == "sum":
        return loss.sum()
    if reduction != "none":
        raise ValueError(f"{reduction} is not a valid value for reduction")
    return loss


def _reduction(size_average: bool | None, reduce: bool | None, reduction: str) -> str:
    """Return the reduction that the two old arguments name, if one of them is given."""
    if size_average is None and reduce is None:
        return reduction
    new = "none" if reduce is False else "sum" if size_average is False else "mean"
    warnings.warn(
        "size_average and reduce args will be deprecated, please use "
        f"reduction='{new}' instead.",
        stacklevel=4,
    )
    return new


def _warn_if_broadcast(input: Tensor, target: Tensor) -> None:
    if tuple(input.shape) != tuple(target.shape):
        warnings.warn(
            f"Using a target size ({target.shape}) that is different to the input size "
            f"({input.shape}). This will likely lead to incorrect results due to broadcasting. "
            "Please ensure they have the same size.",
            stacklevel=4,
        )


def mse_loss(
    input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None,
    reduction: str = "mean", weight: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """(input - target)^2, reduced; with ``weight`` the mean is a weighted one."""
    input, target, weight = in_float32(input, target, weight)
    reduction = _reduction(size_average, reduce, reduction)
    _warn_if_broadcast(input, target)
    difference = input - target
    return _weighted(difference * difference, weight, reduction)


def l1_loss(
    input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None,
    reduction: str = "mean", weight: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """|input - target|, reduced; with ``weight`` the mean is a weighted one."""
    input, target, weight = in_float32(input, target, weight)
    reduction = _reduction(size_average, reduce, reduction)
    _warn_if_broadcast(input, target)
    return _weighted(nncomp.abs(input - target), weight, reduction)


def _weighted(loss: Tensor, weight: Tensor | None, reduction: str) -> Tensor:
    if weight is None:
        return _reduced(loss, reduction)
    if tuple(weight.shape) != tuple(loss.shape):
        raise ValueError("Inputs and weights must have the same size.")
    if reduction == "mean":
        return (loss * weight).sum() / weight.sum()
    return _reduced(loss * weight, reduction)


def huber_loss(
    input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0,
    weight: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Half the square where |input - target| < delta, else linear (Huber, 1964), reduced."""
    input, target, weight = in_float32(input, target, weight)
    if delta <= 0:
        raise RuntimeError("huber_loss does not support non-positive values for delta.")
    _warn_if_broadcast(input, target)
    size = nncomp.abs(input - target)
    loss = nncomp.where(size < delta, 0.5 * size * size, delta * (size - 0.5 * delta))
    return _weighted(loss, weight, reduction)


def smooth_l1_loss(
    input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None,
    reduction: str = "mean", beta: float = 1.0,
) -> Tensor:  # fmt: skip
    """huber_loss divided by ``beta``; l1_loss for beta = 0 (Girshick, 2015)."""
    input, target = in_float32(input, target)
    reduction = _reduction(size_average, reduce, reduction)
    if beta < 0:
        raise RuntimeError("smooth_l1_loss does not support negative values for beta.")
    _warn_if_broadcast(input, target)
    size = nncomp.abs(input - target)
    if beta == 0:
        return _reduced(size, reduction)
    loss = nncomp.where(size < beta, 0.5 * size * size / beta, size - 0.5 * beta)
    return _reduced(loss, reduction)


def _expect_same_size(input: Tensor, target: Tensor, name: str) -> None:
    if tuple(input.shape) != tuple(target.shape):
        raise ValueError(
            f"{name}: target size ({target.shape}) must be the same as input size ({input.shape})"
        )


def binary_cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None,
    reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """-t log(x) - (1 - t) log(1 - x), each log being at least -100, reduced."""
    input, target, weight = in_float32(input, target, weight)
    reduction = _reduction(size_average, reduce, reduction)
    _expect_same_size(input, target, "binary_cross_entropy")
    log_yes = nncomp.clamp(nncomp.log(input), min=-100.0)
    log_no = nncomp.clamp(nncomp.log1p(-input), min=-100.0)
    loss = (target - 1.0) * log_no - target * log_yes
    return _reduced(loss if weight is None else loss * weight, reduction)


def binary_cross_entropy_with_logits(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None,
    reduce: bool | None = None, reduction: str = "mean", pos_weight: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """binary_cross_entropy of sigmoid(input), without underflow; ``pos_weight`` scales t = 1."""
    input, target, weight, pos_weight = in_float32(input, target, weight, pos_weight)
    reduction = _reduction(size_average, reduce, reduction)
    _expect_same_size(input, target, "binary_cross_entropy_with_logits")
    log_yes = logsigmoid(input)
    scale = 1.0 if pos_weight is None else 1.0 + (pos_weight - 1.0) * target
    # log(1 - sigmoid(x)) = logsigmoid(x) - x
    loss = (1.0 - target) * input - scale * log_yes
    return _reduced(loss if weight is None else loss * weight, reduction)


def kl_div(
    input: Tensor, target: Tensor, size_average: bool | None = None, reduce: bool | None = None,
    reduction: str = "mean", log_target: bool = False,
) -> Tensor:  # fmt: skip
    """t * (log t - input), reduced; ``input`` holds log probabilities.

    reduction="batchmean" divides the sum by the batch size, which is the divergence itself.
    """
    input, target = in_float32(input, target)
    reduction = _reduction(size_average, reduce, reduction)
    if log_target:
        loss = nncomp.exp(target) * (target - input)
    else:
        safe = nncomp.where(target > 0, target, 1.0)
        loss = target * nncomp.log(safe) - target * input
    if reduction == "batchmean":
        return loss.sum() / input.shape[0] if input.dim() else loss.sum()
    if reduction == "mean":
        warnings.warn(
            "reduction: 'mean' divides the total loss by both the batch size and the support "
            "size. 'batchmean' divides only by the batch size, and aligns with the KL div math "
            "definition. 'mean' will be changed to behave the same as 'batchmean' in the next "
            "major release.",
            stacklevel=3,
        )
    return _reduced(loss, reduction)


class _ClassTarget:
    """The class indices of a loss: which are ignored, and a weight for each."""

    def __init__(
        self, input: Tensor, target: Tensor, weight: Tensor | None, ignore_index: int
    ) -> None:
        self.dim = 1 if input.dim() > 1 else 0
        rest = [*input.shape[: self.dim], *input.shape[self.dim + 1 :]]
        if list(target.shape) != rest:
            raise ValueError(
                f"Expected target of shape {rest} for input of shape {list(input.shape)}, "
                f"got {list(target.shape)}"
            )
        self.ignored = target == ignore_index
        if not self.ignored.is_traced:
            _check_classes(target, input.shape[self.dim], self.ignored)
        self.index = nncomp.where(self.ignored, 0, target).long()
        if weight is None:
            kept = nncomp.ones_like(target, dtype=input.dtype)
        else:
            kept = weight[self.index]
        self.weight = nncomp.where(self.ignored, 0.0, kept)

    def pick(self, log_probs: Tensor) -> Tensor:
        """Return -weight * log_probs at the target classes; the class dimension is dropped."""
        index = self.index.unsqueeze(self.dim)
        picked = nncomp.gather(log_probs, self.dim, index).squeeze(self.dim)
        loss = -self.weight * picked
        return nncomp.where(self.ignored, 0.0, loss)

    def reduced(self, loss: Tensor, reduction: str) -> Tensor:
        """Reduce; the mean divides by the sum of the weights of the targets."""
        return loss.sum() / self.weight.sum() if reduction == "mean" else _reduced(loss, reduction)


def _check_classes(target: Tensor, classes: int, ignored: Tensor) -> None:
    """Raise torch's IndexError for a class that does not exist; compiled code checks indices too.
    """
    values = known_values(target, "the check of target classes")
    wrong = ((values < 0) | (values >= classes)) & ~known_values(ignored, "the ignored targets")
    if wrong.any():
        raise IndexError(f"Target {values[wrong].flat[0]} is out of bounds.")


def nll_loss(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None,
    ignore_index: int = -100, reduce: bool | None = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """-input at the target class; ``input`` (N, C, *) or (C), ``target`` without C; reduced."""
    input, weight = in_float32(input, weight)
    reduction = _reduction(size_average, reduce, reduction)
    classes = _ClassTarget(input, target, weight, ignore_index)
    return classes.reduced(classes.pick(input), reduction)


def cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: bool | None = None,
    ignore_index: int = -100, reduce: bool | None = None, reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:  # fmt: skip
    """nll_loss of log_softmax(input); ``target`` holds class indices or class probabilities.

    ``label_smoothing`` mixes the target with the uniform distribution (Szegedy et al., 2016).
    """
    input, target, weight = in_float32(input, target, weight)
    reduction = _reduction(size_average, reduce, reduction)
    if not 0.0 <= label_smoothing <= 1.0:
        raise RuntimeError(
            f"label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing}"
        )
    dim = 1 if input.dim() > 1 else 0
    log_probs = log_softmax(input, dim)
    if target.is_floating_point():
        return _soft_cross_entropy(log_probs, target, weight, reduction, label_smoothing)
    classes = _ClassTarget(input, target, weight, ignore_index)
    loss = classes.pick(log_probs)
    if label_smoothing > 0.0:
        spread = -(log_probs * _class_weight(weight, log_probs, dim)).sum(dim=dim)
        spread = nncomp.where(classes.ignored, 0.0, spread)
        share = label_smoothing / input.shape[dim]
        loss = (1.0 - label_smoothing) * loss + share * spread
    return classes.reduced(loss, reduction)


def _class_weight(weight: Tensor | None, log_probs: Tensor, dim: int) -> Tensor | float:
    if weight is None:
        return 1.0
    return weight.reshape([-1] + [1] * (log_probs.dim() - dim - 1))


def _soft_cross_entropy(
    log_probs: Tensor, target: Tensor, weight: Tensor | None, reduction: str, smoothing: float
) -> Tensor:
    if tuple(log_probs.shape) != tuple(target.shape):
        raise RuntimeError(
            "Expected floating point type for target with class probabilities to have the shape "
            f"of the input, {list(log_probs.shape)}, got {list(target.shape)}"
        )
    dim = 1 if log_probs.dim() > 1 else 0
    classes = log_probs.shape[dim]
    if smoothing > 0.0:
        target = target * (1.0 - smoothing) + smoothing / classes
    loss = -(log_probs * target * _class_weight(weight, log_probs, dim)).sum(dim=dim)
    if reduction == "mean":
        return loss.sum() / max(log_probs.numel() // classes, 1)
    return _reduced(loss, reduction)


__all__ = [
    "binary_cross_entropy", "binary_cross_entropy_with_logits", "cross_entropy", "huber_loss",
    "kl_div", "l1_loss", "mse_loss", "nll_loss", "smooth_l1_loss",
]  # fmt: skip
