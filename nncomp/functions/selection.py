"""Choosing between values: where, masked_fill, maximum, minimum, clamp."""

from __future__ import annotations

from typing import Any

from ..ir import ops
from ..ir import types as dt
from .base import OPERAND_NUMBERS, constant, is_tensor, like, no_out
from .promotion import broadcast, broadcast_shapes, cast, expand_to, result_type


def where(condition: Any, input: Any = None, other: Any = None) -> Any:
    """`input` where the bool `condition` holds, `other` elsewhere; alone, like nonzero()."""
    if input is None and other is None:
        from .masks import nonzero

        return nonzero(condition, as_tuple=True)
    if condition.dtype is not dt.bool_:
        if condition.dtype is not dt.uint8:
            raise RuntimeError(
                f"where expected condition to be a boolean tensor, but got a tensor with dtype "
                f"{condition.dtype}"
            )
        condition = cast(condition, dt.bool_)
    dtype = result_type(input, other)
    shape = broadcast_shapes(*(x.shape for x in (condition, input, other) if is_tensor(x)))
    return ops.where(
        expand_to(condition, shape), _filled(input, shape, dtype), _filled(other, shape, dtype)
    )


def _filled(value: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    if is_tensor(value):
        return expand_to(cast(value, dtype), shape)
    return constant(value, shape, dtype)


def masked_fill(input: Any, mask: Any, value: Any) -> Any:
    """`input` with `value` (a number or 0-d tensor) where `mask` is True."""
    if mask.dtype is not dt.bool_:
        raise RuntimeError(
            f"masked_fill_ only supports boolean masks, but got mask with dtype {mask.dtype.name}"
        )
    if is_tensor(value) and value.dim() > 0:
        raise RuntimeError(
            "masked_fill only supports a 0-dimensional value tensor, but got tensor with "
            f"{value.dim()} dimension(s)."
        )
    shape = broadcast_shapes(input.shape, mask.shape)
    x, filler = expand_to(input, shape), _filled(value, shape, input.dtype)
    return ops.where(expand_to(mask, shape), filler, x)


def maximum(input: Any, other: Any, *, out: Any = None) -> Any:
    """The larger of both, nan if either is."""
    no_out("maximum", out)
    a, b = broadcast(input, other)
    return ops.bitwise_or(a, b) if a.dtype is dt.bool_ else ops.maximum(a, b)


def minimum(input: Any, other: Any, *, out: Any = None) -> Any:
    """The smaller of both, nan if either is."""
    no_out("minimum", out)
    a, b = broadcast(input, other)
    return ops.bitwise_and(a, b) if a.dtype is dt.bool_ else ops.minimum(a, b)


def fmax(input: Any, other: Any) -> Any:
    """The larger of both, ignoring nan."""
    a, b = broadcast(input, other)
    return ops.where(ops.bitwise_or(ops.le(b, a), _is_nan(b)), a, b)


def fmin(input: Any, other: Any) -> Any:
    """The smaller of both, ignoring nan."""
    a, b = broadcast(input, other)
    return ops.where(ops.bitwise_or(ops.le(a, b), _is_nan(b)), a, b)


def _is_nan(x: Any) -> Any:
    return ops.bitwise_xor(ops.eq(x, x), constant(True, x.shape, dt.bool_))


def clamp(input: Any, min: Any = None, max: Any = None, *, out: Any = None) -> Any:
    """`input` limited to [min, max] (numbers or tensors); the gradient is 1 up to the limits."""
    no_out("clamp", out)
    if min is None and max is None:
        raise RuntimeError("torch.clamp: At least one of 'min' or 'max' must not be None")
    limits = [x for x in (min, max) if x is not None]
    for limit in limits:
        if not is_tensor(limit) and not isinstance(limit, OPERAND_NUMBERS):
            raise TypeError(f"clamp(): limits must be numbers or tensors, got {limit!r}")
    x, *limits = broadcast(input, *limits)
    if min is not None:
        low = limits.pop(0)
        x = ops.where(ops.lt(x, low), low, x)
    if max is not None:
        high = limits.pop(0)
        x = ops.where(ops.lt(high, x), high, x)
    return x


def clamp_min(input: Any, min: Any) -> Any:
    """`input`, at least `min`."""
    return clamp(input, min=min)


def clamp_max(input: Any, max: Any) -> Any:
    """`input`, at most `max`."""
    return clamp(input, max=max)


def threshold(input: Any, threshold: float, value: float) -> Any:
    """`input` where it is above `threshold`, else `value`."""
    return ops.where(ops.le(input, like(input, threshold)), like(input, value), input)


def heaviside(input: Any, values: Any) -> Any:
    """0 below 0, 1 above, `values` at 0."""
    a, b = broadcast(input, values)
    zero = like(a, 0)
    step = ops.where(ops.lt(zero, a), like(a, 1), zero)
    return ops.where(ops.eq(a, zero), b, step)
