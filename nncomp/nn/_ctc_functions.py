"""ctc_loss of nn.functional: connectionist temporal classification (Graves et al., 2006).

With blanks put between the labels, alpha_t[s] is the log probability of all ways to be at label s
after t steps. It is one `scan` over time; lengths are masks, so they may be unknown to the graph:

    alpha_t[s] = log(exp alpha[s] + exp alpha[s - 1] + skip[s] exp alpha[s - 2]) + log p_t(label[s])
"""

from __future__ import annotations

import functools
import warnings
from typing import Any, NamedTuple

import nncomp

from ..autograd.modes import state
from ..functions.autocasting import in_float32
from ..ir import Graph, Node, input_node, ops
from ..ir.types import DType, TensorType, bool_
from ..tensor import Tensor
from .utils.rnn import fixed

_NEVER = -1e30  # the logarithm of 0, finite so that differences of two are no nan


def _later(alpha: Node, steps: int) -> Node:
    """alpha[s - steps]; _NEVER in front."""
    batch, width = alpha.shape
    unit = (1, 1)
    kept = ops.slice(alpha, start=(0, 0), stop=(batch, width - steps), step=unit)
    return ops.concat(ops.full_like(alpha, _NEVER, shape=(batch, steps)), kept, axis=1)


@functools.lru_cache(maxsize=64)
def _body(batch: int, width: int, dtype: DType) -> Graph:
    """(alpha, skip, log p, running) -> alpha; alpha stays where a sequence has ended."""
    rows = TensorType((batch, width), dtype)
    alpha, skip, step = (input_node(name, rows) for name in ("alpha", "skip", "log_p"))
    running = input_node("running", TensorType((batch, 1), bool_))
    ways = [alpha, _later(alpha, 1), _later(alpha, 2) + skip]
    top = ops.detach(ops.maximum(ops.maximum(ways[0], ways[1]), ways[2]))
    total = ops.exp(ways[0] - top) + ops.exp(ways[1] - top) + ops.exp(ways[2] - top)
    new = ops.maximum(ops.log(total) + top + step, ops.full_like(alpha, _NEVER))
    new = ops.where(ops.expand(running, shape=rows.shape), new, alpha)
    return Graph("ctc", (alpha, skip, step, running), (new,))


def _vector(lengths: Any) -> Tensor:
    if isinstance(lengths, Tensor):
        return lengths.long().reshape([-1])
    return fixed([int(n) for n in lengths])


def _known(lengths: Tensor) -> list[int] | None:
    """The values of the lengths; None while a graph is recorded that does not fix them."""
    version, values = getattr(lengths, "_fixed_values", (None, ()))
    if version is not None:
        return list(values)
    return None if state.tracer is not None else lengths.tolist()


class _Problem(NamedTuple):
    log_probs: Tensor  # (T, N, C)
    labels: Tensor  # (N, S)
    input_lengths: Tensor  # (N)
    target_lengths: Tensor  # (N)


def _check(log_probs: Tensor, targets: Tensor, inputs: Tensor, lengths: Tensor, blank: int
           ) -> None:  # fmt: skip
    where = "(while checking arguments for ctc_loss_allocate_outputs)"
    time, batch, classes = log_probs.shape
    if not 0 <= blank < classes:
        raise RuntimeError("blank must be in label range")
    if inputs.shape[0] != batch:
        raise RuntimeError("input_lengths must be of size batch_size")
    if lengths.shape[0] != batch:
        raise RuntimeError("target_lengths must be of size batch_size")
    known = _known(inputs)
    if known is not None and max(known, default=0) > time:
        raise RuntimeError(
            f"Expected input_lengths to have value at most {time}, but got value {max(known)} "
            + where
        )
    known = _known(lengths)
    if targets.dim() == 2 and targets.shape[0] != batch:
        raise RuntimeError(
            f"Expected tensor to have size {batch} at dimension 0, but got size "
            f"{targets.shape[0]} for argument #2 'targets' {where}"
        )
    if known is None:
        return
    if targets.dim() == 1 and targets.shape[0] != sum(known):
        raise RuntimeError(
            f"Expected tensor to have size {sum(known)} at dimension 0, but got size "
            f"{targets.shape[0]} for argument #2 'targets' {where}"
        )
    longest = max(known, default=0)
    if targets.dim() == 2 and targets.shape[1] < longest:
        raise RuntimeError(
            f"Expected tensor to have size at least {longest} at dimension 1, but got size "
            f"{targets.shape[1]} for argument #2 'targets' {where}"
        )


def _labels(targets: Tensor, lengths: Tensor) -> Tensor:
    """The targets as (N, S); those given one after the other are read from their places."""
    if targets.dim() == 2:
        return targets.long()
    known = _known(lengths)
    longest = targets.shape[0] if known is None else max(known, default=0)
    starts = nncomp.cumsum(lengths, 0) - lengths
    places = starts.unsqueeze(1) + nncomp.arange(longest)
    places = nncomp.clamp(places, max=max(targets.shape[0] - 1, 0))
    if not targets.shape[0]:
        return nncomp.zeros(lengths.shape[0], 0, dtype=nncomp.int64)
    return nncomp.embedding(targets.long().unsqueeze(1), places).squeeze(-1)


def _loss(problem: _Problem, blank: int) -> Tensor:
    """The negative log likelihood of each sequence; -_NEVER or so where there is no way."""
    log_probs, labels, input_lengths, lengths = problem
    time, batch, _ = log_probs.shape
    count = labels.shape[1]
    width = 2 * count + 1
    in_use = nncomp.arange(count) < lengths.unsqueeze(1)
    labels = nncomp.where(in_use, labels, blank)
    blanks = nncomp.full((batch, count), blank, dtype=nncomp.int64)
    spread = nncomp.stack([blanks, labels], -1).reshape([batch, 2 * count])
    spread = nncomp.constant_pad_nd(spread, (0, 1), blank)
    steps = nncomp.gather(log_probs, 2, spread.unsqueeze(0).expand(time, batch, width))
    steps = nncomp.clamp(steps, min=_NEVER)
    before = nncomp.constant_pad_nd(spread, (2, 0), -1)[:, :width]
    may_skip = (spread != blank) & (spread != before) & (nncomp.arange(width) >= 2)
    zero = nncomp.zeros(batch, width, dtype=log_probs.dtype)
    skip = nncomp.where(may_skip, zero, _NEVER)
    place = nncomp.arange(width)
    start = (place == 0) | ((place == 1) & (lengths.unsqueeze(1) > 0))
    alpha = nncomp.where(start & (input_lengths.unsqueeze(1) > 0), steps[0], _NEVER)
    alpha = nncomp.where((input_lengths.unsqueeze(1) == 0) & (place == 0), zero, alpha)
    if time > 1:
        numbers = nncomp.arange(1, time).reshape([-1, 1, 1])
        running = numbers < input_lengths.reshape([1, -1, 1])
        found = ops.scan(
            alpha, skip, steps[1:], running, body=_body(batch, width, log_probs.dtype), carries=1,
            consts=1, length=time - 1, reverse=False,
        )  # fmt: skip
        alpha = found[0] if isinstance(found, tuple) else found
    last = nncomp.gather(alpha, 1, (2 * lengths).unsqueeze(1)).squeeze(1)
    previous = nncomp.clamp(2 * lengths - 1, min=0).unsqueeze(1)
    other = nncomp.gather(alpha, 1, previous).squeeze(1)
    other = nncomp.where(lengths > 0, other, _NEVER)
    return -nncomp.logaddexp(last, other)


def _share_of_inputs(problem: _Problem) -> Tensor:
    """0, with torch's second gradient: that of log_softmax, for each of the running steps."""
    time = problem.log_probs.shape[0]
    running = nncomp.arange(time).unsqueeze(1) < problem.input_lengths
    total = nncomp.where(running, nncomp.exp(problem.log_probs).sum(-1), 0.0).sum(0)
    return total - total.detach()


def ctc_loss(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Any,
    target_lengths: Any,
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """The loss of label sequences that are shorter than their inputs.

    log_probs (T, N, C) or (T, C), from log_softmax; targets (N, S), or all labels one after the
    other. The mean divides each loss by its target length first. ``zero_infinity`` makes losses of
    impossible targets 0. The gradient is torch's: that of log_softmax is part of it.
    """
    (log_probs,) = in_float32(log_probs)
    if reduction not in ("none", "mean", "sum"):
        raise ValueError(f"{reduction} is not a valid value for reduction")
    if targets.is_floating_point():
        warnings.warn("ctc_loss: targets are floating point numbers; they are truncated to "
                      "integers", stacklevel=3)  # fmt: skip
    batched = log_probs.dim() == 3
    if not batched:
        log_probs = log_probs.unsqueeze(1)
        targets = targets.unsqueeze(0) if targets.dim() == 1 else targets
        input_lengths, target_lengths = (
            x if isinstance(x, (Tensor, list, tuple)) else [x]
            for x in (input_lengths, target_lengths)
        )
    inputs, lengths = _vector(input_lengths), _vector(target_lengths)
    _check(log_probs, targets, inputs, lengths, blank)
    problem = _Problem(log_probs, _labels(targets, lengths), inputs, lengths)
    loss = _loss(problem, blank) + _share_of_inputs(problem)
    impossible = loss > -0.5 * _NEVER
    loss = nncomp.where(impossible, 0.0 if zero_infinity else float("inf"), loss)
    if reduction == "mean":
        loss = (loss / nncomp.clamp(lengths, min=1).to(loss.dtype)).mean()
    elif reduction == "sum":
        loss = loss.sum()
    return loss if batched or reduction != "none" else loss.squeeze(0)


__all__ = ["ctc_loss"]
