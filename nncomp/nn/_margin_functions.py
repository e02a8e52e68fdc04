"""More losses of nn.functional: margins, embeddings, triplets and likelihoods.

As in ``_loss_functions.py``, masks replace branches on values; only eager mode looks at targets, to
raise torch's errors.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import nncomp

from ..functions.autocasting import in_float32
from ..tensor import Tensor
from ._activation_functions import logsigmoid
from ._distance_functions import pairwise_distance
from ._loss_functions import _reduced, _reduction, cross_entropy

Flag = bool | None


def _check_values(wrong: Tensor, error: Exception) -> None:
    """Raise ``error`` if an element is True; not while a graph is recorded."""
    if not wrong.is_traced and wrong.numpy_array("the check of targets").any():
        raise error


def _positive(x: Tensor) -> Tensor:
    return nncomp.clamp(x, min=0.0)


def cosine_embedding_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0, size_average: Flag = None,
    reduce: Flag = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """1 - cos where target is 1, max(0, cos - margin) where it is -1; inputs (N, D) or (D)."""
    input1, input2, target = in_float32(input1, input2, target)
    reduction = _reduction(size_average, reduce, reduction)
    if target.dim() not in (0, 1):
        raise RuntimeError("0D or 1D target tensor expected, multi-target not supported")
    if input1.dim() != target.dim() + 1 or input2.dim() != target.dim() + 1:
        raise RuntimeError(
            f"{target.dim()}D target tensor expects {target.dim() + 1}D input tensors, but found "
            f"inputs with sizes {list(input1.shape)} and {list(input2.shape)}."
        )
    eps = 1e-12
    squares = ((input1 * input1).sum(-1) + eps) * ((input2 * input2).sum(-1) + eps)
    cos = (input1 * input2).sum(-1) / nncomp.sqrt(squares)
    same = nncomp.where(target == 1, 1.0 - cos, 0.0)
    other = nncomp.where(target == -1, _positive(cos - margin), 0.0)
    return _reduced(same + other, reduction)


def margin_ranking_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0, size_average: Flag = None,
    reduce: Flag = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """max(0, -target * (input1 - input2) + margin); target is 1 or -1."""
    input1, input2, target = in_float32(input1, input2, target)
    reduction = _reduction(size_average, reduce, reduction)
    if not input1.dim() == input2.dim() == target.dim():
        raise RuntimeError(
            "margin_ranking_loss : All input tensors should have same dimension but got sizes: "
            f"input1: {input1.shape}, input2: {input2.shape}, target: {target.shape} "
        )
    return _reduced(_positive(-target * (input1 - input2) + margin), reduction)


def hinge_embedding_loss(
    input: Tensor, target: Tensor, margin: float = 1.0, size_average: Flag = None,
    reduce: Flag = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """x where target is 1, max(0, margin - x) where it is -1."""
    input, target = in_float32(input, target)
    reduction = _reduction(size_average, reduce, reduction)
    far = nncomp.where(target == 1, 0.0, _positive(margin - input))
    near = nncomp.where(target == -1, 0.0, input)
    return _reduced(far + near, reduction)


def soft_margin_loss(
    input: Tensor, target: Tensor, size_average: Flag = None, reduce: Flag = None,
    reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """log(1 + exp(-target * x)); target is 1 or -1."""
    input, target = in_float32(input, target)
    reduction = _reduction(size_average, reduce, reduction)
    return _reduced(-logsigmoid(target * input), reduction)


def multilabel_soft_margin_loss(
    input: Tensor, target: Tensor, weight: Tensor | None = None, size_average: Flag = None,
    reduce: Flag = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """Binary cross entropy of each class of (N, C), averaged over the classes."""
    reduction = _reduction(size_average, reduce, reduction)
    loss = -(target * logsigmoid(input) + (1 - target) * logsigmoid(-input))
    loss = loss if weight is None else loss * weight
    loss = loss.sum(-1) / input.shape[-1]
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{reduction} is not valid")
    return _reduced(loss, reduction)


def _classes_of(input: Tensor, target: Tensor, classes: int) -> Tensor:
    """True (N, C) at the target class."""
    return target.unsqueeze(-1) == nncomp.arange(classes)


def multi_margin_loss(
    input: Tensor, target: Tensor, p: int = 1, margin: float = 1.0, weight: Tensor | None = None,
    size_average: Flag = None, reduce: Flag = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """Mean of max(0, margin - x[y] + x[i])^p over the classes i other than y; (N, C) or (C)."""
    input, weight = in_float32(input, weight)
    reduction = _reduction(size_average, reduce, reduction)
    if p not in (1, 2):
        raise ValueError("only p == 1 and p == 2 supported")
    x = input if input.dim() == 2 else input.unsqueeze(0)
    y = target.reshape([-1])
    count, classes = x.shape
    if y.shape[0] != count:
        raise RuntimeError(
            "multi_margin_loss: target tensor should be 1-D with size equal to the number of input "
            f"samples (batch size). Expected target size [{count}], but got "
            f"{list(target.shape)}. Input has shape {list(input.shape)}."
        )
    if weight is not None and tuple(weight.shape) != (classes,):
        raise RuntimeError(
            f"inconsistent weight size, expected {classes} but got {list(weight.shape)}"
        )
    _check_values((y < 0) | (y >= classes), RuntimeError("target out of range"))
    own = nncomp.gather(x, 1, y.unsqueeze(1))
    gap = _positive(margin - own + x)
    gap = gap if p == 1 else gap * gap
    if weight is not None:
        gap = gap * weight[y].unsqueeze(1)
    gap = nncomp.where(_classes_of(x, y, classes), 0.0, gap)
    loss = gap.sum(1) / classes
    return _reduced(loss if input.dim() == 2 else loss.squeeze(0), reduction)


def multilabel_margin_loss(
    input: Tensor, target: Tensor, size_average: Flag = None, reduce: Flag = None,
    reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """Mean of max(0, 1 - x[y] + x[i]) over targets y and other classes i; (N, C) or (C).

    ``target`` lists classes; those after the first -1 do not count.
    """
    (input,) = in_float32(input)
    reduction = _reduction(size_average, reduce, reduction)
    if tuple(target.shape) != tuple(input.shape):
        raise RuntimeError(
            f"inconsistent target size: {list(target.shape)} for input of size: "
            f"{list(input.shape)}"
        )
    x = input if input.dim() == 2 else input.unsqueeze(0)
    y = target if target.dim() == 2 else target.unsqueeze(0)
    classes = x.shape[1]
    _check_values(
        (y < -1) | (y >= classes), RuntimeError("argument #2 'target' is out of range")
    )
    counts = nncomp.cumsum((y < 0).long(), 1) == 0
    y = nncomp.where(counts, y, 0).long()
    listed = (_classes_of(x, y, classes) & counts.unsqueeze(-1)).any(1)
    gap = _positive(1.0 - nncomp.gather(x, 1, y).unsqueeze(2) + x.unsqueeze(1))
    counted = counts.unsqueeze(2) & ~listed.unsqueeze(1)
    loss = nncomp.where(counted, gap, 0.0).sum(2).sum(1) / classes
    return _reduced(loss if input.dim() == 2 else loss.squeeze(0), reduction)


def poisson_nll_loss(
    input: Tensor, target: Tensor, log_input: bool = True, full: bool = False,
    size_average: Flag = None, eps: float = 1e-8, reduce: Flag = None, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """Negative log likelihood of counts under rates exp(input), or input unless ``log_input``.

    ``full`` adds Stirling's approximation of log(target!) where target > 1.
    """
    input, target = in_float32(input, target)
    reduction = _reduction(size_average, reduce, reduction)
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{reduction} is not a valid value for reduction")
    if log_input:
        loss = nncomp.exp(input) - target * input
    else:
        loss = input - target * nncomp.log(input + eps)
    if full:
        safe = nncomp.where(target > 1, target, 1.0)
        stirling = safe * nncomp.log(safe) - safe + 0.5 * nncomp.log(2 * math.pi * safe)
        loss = loss + nncomp.where(target > 1, stirling, 0.0)
    return _reduced(loss, reduction)


def _variance(input: Tensor, var: Any) -> Tensor:
    """The variance in a shape that broadcasts against ``input``."""
    if not isinstance(var, Tensor):
        if var < 0:
            raise ValueError("var has negative entry/entries")
        return nncomp.full(input.shape, float(var), dtype=input.dtype)
    shape, own = tuple(input.shape), tuple(var.shape)
    if own != shape:
        if own == shape[:-1]:
            return var.unsqueeze(-1)
        fits = len(own) == len(shape) and all(
            a in (1, b) for a, b in zip(own, shape, strict=True)
        )
        if not fits:
            raise ValueError("var is of incorrect size")
    return var


def gaussian_nll_loss(
    input: Tensor, target: Tensor, var: Any, full: bool = False, eps: float = 1e-6,
    reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """(log var + (input - target)^2 / var) / 2, the variance being at least ``eps``.

    ``full`` adds log(2 pi) / 2. (Nix and Weigend, 1994.)
    """
    var = _variance(input, var)
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{reduction} is not valid")
    _check_values(var < 0, ValueError("var has negative entry/entries"))
    var = var + (nncomp.clamp(var, min=eps) - var).detach()  # the limit has gradient 1
    away = input - target
    loss = 0.5 * (nncomp.log(var) + away * away / var)
    if full:
        loss = loss + 0.5 * math.log(2 * math.pi)
    return _reduced(loss, reduction)


def triplet_margin_with_distance_loss(
    anchor: Tensor, positive: Tensor, negative: Tensor, *,
    distance_function: Callable[[Tensor, Tensor], Tensor] | None = None, margin: float = 1.0,
    swap: bool = False, reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """max(0, d(anchor, positive) - d(anchor, negative) + margin) for any distance d.

    ``swap`` also takes d(positive, negative), if that is smaller (Balntas et al., 2016).
    """
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{reduction} is not a valid value for reduction")
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    ranks = [x.dim() for x in (anchor, positive, negative)]
    if len(set(ranks)) != 1:
        raise RuntimeError(
            "The anchor, positive, and negative tensors are expected to have the same number of "
            f"dimensions, but got: anchor {ranks[0]}D, positive {ranks[1]}D, and negative "
            f"{ranks[2]}D inputs"
        )
    distance = pairwise_distance if distance_function is None else distance_function
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = nncomp.minimum(far, distance(positive, negative))
    return _reduced(_positive(margin + near - far), reduction)


def triplet_margin_loss(
    anchor: Tensor, positive: Tensor, negative: Tensor, margin: float = 1.0, p: float = 2,
    eps: float = 1e-6, swap: bool = False, size_average: Flag = None, reduce: Flag = None,
    reduction: str = "mean",
) -> Tensor:  # fmt: skip
    """triplet_margin_with_distance_loss for the p-norm (Schroff et al., 2015)."""
    anchor, positive, negative = in_float32(anchor, positive, negative)
    reduction = _reduction(size_average, reduce, reduction)

    def distance(a: Tensor, b: Tensor) -> Tensor:
        return pairwise_distance(a, b, p, eps)

    return triplet_margin_with_distance_loss(
        anchor, positive, negative, distance_function=distance, margin=margin, swap=swap,
        reduction=reduction,
    )  # fmt: skip


def linear_cross_entropy(
    input: Tensor, linear_weight: Tensor, target: Tensor, *, linear_bias: Tensor | None = None,
    weight: Tensor | None = None, reduction: str = "mean", ignore_index: int | None = None,
    label_smoothing: float = 0.0, options: Any = None,
) -> Tensor:  # fmt: skip
    """cross_entropy of linear(input, linear_weight); weight (C, *, in), input (N, in) or (in).

    ``options`` only say how torch saves memory; they have no effect here.
    """
    *sizes, width = linear_weight.shape
    flat = linear_weight.reshape([-1, width])
    bias = None if linear_bias is None else linear_bias.reshape([-1])
    logits = nncomp.linear(input, flat, bias)
    if len(sizes) > 1:
        logits = logits.reshape([*input.shape[:-1], *sizes])
    return cross_entropy(
        logits, target, weight, ignore_index=-100 if ignore_index is None else ignore_index,
        reduction=reduction, label_smoothing=label_smoothing,
    )  # fmt: skip


__all__ = [
    "cosine_embedding_loss", "gaussian_nll_loss", "hinge_embedding_loss", "linear_cross_entropy",
    "margin_ranking_loss", "multi_margin_loss", "multilabel_margin_loss",
    "multilabel_soft_margin_loss", "poisson_nll_loss", "soft_margin_loss", "triplet_margin_loss",
    "triplet_margin_with_distance_loss",
]  # fmt: skip
