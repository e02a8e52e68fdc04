"""embedding and embedding_bag of nn.functional.

Which bag an index belongs to is computed from the offsets by comparisons, so offsets may be data;
only the checks of their values are left out while a graph is recorded.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import nncomp

from ..functions.masks import known_values
from ..functions.statistics import vector_norm
from ..tensor import Tensor


def renormalize(weight: Tensor, index: Tensor, max_norm: float, norm_type: float) -> None:
    """Scale, in place, the rows that ``index`` names to a norm of at most ``max_norm``."""
    with nncomp.no_grad():
        rows, table = index.reshape([-1]), weight.detach()
        used = nncomp.index_fill(nncomp.zeros(weight.shape[0]), 0, rows, 1.0) > 0
        norms = vector_norm(table, float(norm_type), 1, keepdim=True)
        scale = nncomp.where(norms > max_norm, max_norm / (norms + 1e-7), 1.0)
        weight.copy_(nncomp.where(used.unsqueeze(1), table * scale, table))


def _shared_gradient(rows: Tensor, index: Tensor, count: int) -> Tensor:
    """``rows``, whose gradient is divided by how often their index occurs."""
    flat = index.reshape([-1])
    ones = nncomp.ones(flat.shape[0], dtype=rows.dtype)
    often = nncomp.index_add(nncomp.zeros(count, dtype=rows.dtype), 0, flat, ones)
    share = 1.0 / nncomp.embedding(often.unsqueeze(1), index)
    fixed = rows.detach()
    return fixed + (rows - fixed) * share


def embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """Return the rows of ``weight`` at ``input``; row ``padding_idx`` gets no gradient.

    With ``max_norm`` the rows that are used are scaled in place first. Gradients are dense, so
    ``sparse`` is refused.
    """
    count = weight.shape[0]
    if padding_idx is not None and not -count <= padding_idx < count:
        raise AssertionError("Padding_idx must be within num_embeddings")
    row = -1 if padding_idx is None else padding_idx % count
    if max_norm is not None:
        renormalize(weight, input, max_norm, norm_type)
    rows = nncomp.embedding(weight, input, row, False, sparse)
    return _shared_gradient(rows, input, count) if scale_grad_by_freq else rows


class _Bags(NamedTuple):
    """All indices in one line, the bag of each, and which count."""

    index: Tensor
    bag: Tensor
    count: int
    counted: Tensor | None
    weights: Tensor | None
    lengths: int | None  # of all bags, if they are equal


def _check_offsets(offsets: Tensor, count: int, include_last: bool) -> None:
    if offsets.is_traced:
        return
    values = known_values(offsets, "the check of offsets")
    if values.size and values[0] != 0:
        raise RuntimeError(
            "offsets[0] has to be 0, i.e., the first sequence in the mini-batch has to start from "
            f"position 0. However, got {values[0]}"
        )
    if values.size and values[-1] > count:
        raise RuntimeError(
            f"offsets[-1] can not be greater than input's length {count} but got offsets[-1] of "
            f"{values[-1]}"
        )
    if include_last and values.size and values[-1] != count:
        raise RuntimeError(
            "Your input appears to be incorrect: the last offset value should be the size of the "
            "indices tensor, but it seems not to be the case."
        )


def _bags(input: Tensor, offsets: Any, weights: Tensor | None, include_last: bool) -> _Bags:
    if input.dim() not in (1, 2):
        raise ValueError(
            f"input has to be 1D or 2D Tensor, but got Tensor of dimension {input.dim()}"
        )
    if weights is not None and tuple(weights.shape) != tuple(input.shape):
        raise ValueError(
            f"embedding_bag: If per_sample_weights ({weights.shape}) is not None, then it must "
            f"have the same shape as the input ({input.shape})"
        )
    flat = None if weights is None else weights.reshape([-1])
    if input.dim() == 2:
        if offsets is not None:
            raise ValueError(
                "if input is 2D, then offsets has to be None, as input is treated is a mini-batch "
                f"of fixed length sequences. However, found offsets of type {type(offsets)}"
            )
        count, length = input.shape
        bag = nncomp.arange(count).unsqueeze(1).expand(count, length).reshape([-1])
        return _Bags(input.reshape([-1]), bag, count, None, flat, length)
    if not isinstance(offsets, Tensor):
        raise ValueError(f"offsets has to be a 1D Tensor but got {offsets}")
    if offsets.dim() != 1:
        raise ValueError("offsets has to be a 1D Tensor")
    size = input.shape[0]
    _check_offsets(offsets, size, include_last)
    starts = offsets[:-1] if include_last else offsets
    place = nncomp.arange(size).unsqueeze(1)
    bag = (starts.unsqueeze(0) <= place).long().sum(1) - 1
    return _Bags(input, bag, starts.shape[0], None, flat, None)


def _summed(rows: Tensor, bags: _Bags) -> Tensor:
    """The rows (n, D) summed by bag (count, D)."""
    if bags.lengths is not None:
        return rows.reshape([bags.count, bags.lengths, -1]).sum(1)
    zeros = nncomp.zeros(bags.count, rows.shape[1], dtype=rows.dtype)
    return nncomp.index_add(zeros, 0, bags.bag, rows)


def _largest(rows: Tensor, bags: _Bags) -> Tensor:
    """The largest element of each column by bag; 0 for empty bags."""
    if bags.lengths is not None:
        spread = rows.reshape([bags.count, bags.lengths, -1])
        mask = None
        if bags.counted is not None:
            mask = bags.counted.reshape([bags.count, bags.lengths, 1])
    else:
        spread = rows.unsqueeze(0)
        mask = bags.bag.unsqueeze(0) == nncomp.arange(bags.count).unsqueeze(1)
        if bags.counted is not None:
            mask = mask & bags.counted
        mask = mask.unsqueeze(2)
    if 0 in (rows.shape[0], bags.lengths):
        return nncomp.zeros(bags.count, rows.shape[1], dtype=rows.dtype)
    if mask is None:
        return spread.max(1).values
    best = nncomp.where(mask, spread, float("-inf")).max(1).values
    return nncomp.where(mask.any(1), best, 0.0)


_MODES = ("sum", "mean", "max")


def _check_mode(mode: str, weights: Tensor | None, by_freq: bool, sparse: bool) -> None:
    if mode not in _MODES:
        raise ValueError("mode has to be one of sum, mean or max")
    if mode == "max" and by_freq:
        raise ValueError("max mode does not support scaling the gradient by the frequency")
    if mode == "max" and sparse:
        raise ValueError("max mode does not support sparse weights")
    if weights is not None and mode != "sum":
        raise NotImplementedError(
            "embedding_bag: per_sample_weights was not None. per_sample_weights is only supported "
            f"for mode='sum' (got mode='{mode}'). Please open a feature request on GitHub."
        )


def embedding_bag(
    input: Tensor,
    weight: Tensor,
    offsets: Tensor | None = None,
    max_norm: float | None = None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Tensor:
    """The sum, mean or maximum of rows of ``weight`` by bag: (bags, columns).

    A bag is a row of ``input`` (bags, length), or begins in ``input`` (n) at each of ``offsets``.
    Indices equal to ``padding_idx`` do not count. Gradients are dense, so ``sparse`` is refused.
    """
    _check_mode(mode, per_sample_weights, scale_grad_by_freq, sparse)
    bags = _bags(input, offsets, per_sample_weights, include_last_offset)
    size = weight.shape[0]
    if padding_idx is not None:
        if not -size <= padding_idx < size:
            raise RuntimeError(
                f"padding_idx must be within the number of embeddings, {-size} through "
                f"{size - 1}, but got {padding_idx}"
            )
        bags = bags._replace(counted=bags.index != padding_idx % size)
    rows = embedding(
        bags.index, weight, None, max_norm, norm_type, scale_grad_by_freq, sparse
    )
    if mode == "max":
        return _largest(rows, bags)
    if bags.weights is not None:
        rows = rows * bags.weights.unsqueeze(1)
    if bags.counted is not None:
        rows = nncomp.where(bags.counted.unsqueeze(1), rows, 0.0)
    total = _summed(rows, bags)
    if mode == "sum":
        return total
    ones = nncomp.ones(rows.shape[0], 1, dtype=rows.dtype)
    if bags.counted is not None:
        ones = nncomp.where(bags.counted.unsqueeze(1), ones, 0.0)
    return total / nncomp.clamp(_summed(ones, bags), min=1.0)


__all__ = ["embedding", "embedding_bag"]
