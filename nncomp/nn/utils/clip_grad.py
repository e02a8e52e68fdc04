"""Clipping of gradients by norm or by value, in place (torch.nn.utils.clip_grad).

Neither branches on a value of a gradient, so both can be part of a compiled train step.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable

import nncomp

from ...tensor import Tensor

Tensors = Tensor | Iterable[Tensor]


def _listed(tensors: Tensors) -> list[Tensor]:
    return [tensors] if isinstance(tensors, Tensor) else list(tensors)


def _grads(parameters: Tensors) -> list[Tensor]:
    return [p.grad for p in _listed(parameters) if p.grad is not None]


def _norm(tensor: Tensor, norm_type: float) -> Tensor:
    """Return the norm of all elements as a 0-d tensor."""
    if norm_type == math.inf:
        return nncomp.abs(tensor).max()
    if norm_type == 2.0:
        return nncomp.sqrt((tensor * tensor).sum())
    return nncomp.pow(nncomp.pow(nncomp.abs(tensor), norm_type).sum(), 1.0 / norm_type)


def get_total_norm(
    tensors: Tensors, norm_type: float = 2.0, error_if_nonfinite: bool = False
) -> Tensor:
    """Return the norm of the norms of ``tensors``, a 0-d tensor."""
    norm_type = float(norm_type)
    norms = [_norm(tensor, norm_type) for tensor in _listed(tensors)]
    if not norms:
        return nncomp.tensor(0.0)
    total = _norm(nncomp.stack(norms), norm_type)
    if error_if_nonfinite and not math.isfinite(float(total)):
        raise RuntimeError(
            f"The total norm of order {norm_type} for gradients from `parameters` is non-finite, "
            "so it cannot be clipped. To disable this error and scale the gradients by the "
            "non-finite norm anyway, set `error_if_nonfinite=False`"
        )
    return total


def clip_grad_norm_(
    parameters: Tensors,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Scale the gradients so that their total norm is at most ``max_norm``; return the old norm.

    ``foreach`` has no effect: it is accepted because torch has it.
    """
    with nncomp.no_grad():
        listed = _listed(parameters)  # an iterator can be read once
        total = get_total_norm(_grads(listed), norm_type, error_if_nonfinite)
        clip_grads_with_norm_(listed, max_norm, total)
    return total


def clip_grads_with_norm_(
    parameters: Tensors, max_norm: float, total_norm: Tensor, foreach: bool | None = None
) -> None:
    """Scale the gradients by max_norm / total_norm if that is below 1.

    ``foreach`` has no effect: it is accepted because torch has it.
    """
    with nncomp.no_grad():
        scale = nncomp.clamp(float(max_norm) / (total_norm + 1e-6), max=1.0)
        for grad in _grads(parameters):
            grad.mul_(scale)


def clip_grad_norm(
    parameters: Tensors, max_norm: float, norm_type: float = 2.0,
    error_if_nonfinite: bool = False, foreach: bool | None = None,
) -> Tensor:  # fmt: skip
    """clip_grad_norm_ under an old name."""
    warnings.warn(
        "`torch.nn.utils.clip_grad_norm` is now deprecated in favor of "
        "`torch.nn.utils.clip_grad_norm_`.",
        FutureWarning,
        stacklevel=2,
    )
    return clip_grad_norm_(parameters, max_norm, norm_type, error_if_nonfinite, foreach)


def clip_grad_value_(
    parameters: Tensors, clip_value: float, foreach: bool | None = None
) -> None:
    """Limit each element of the gradients to [-clip_value, clip_value]."""
    with nncomp.no_grad():
        for grad in _grads(parameters):
            grad.copy_(nncomp.clamp(grad, min=-float(clip_value), max=float(clip_value)))


__all__ = [
    "clip_grad_norm", "clip_grad_norm_", "clip_grad_value_", "clip_grads_with_norm_",
    "get_total_norm",
]  # fmt: skip
