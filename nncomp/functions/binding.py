"""How functions become operators and in-place methods of Tensor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..inplace import assign
from .base import OPERAND_NUMBERS, is_tensor
from .promotion import stored_as


def operand(value: Any) -> Any:
    """`value` if an operator may take it (arrays become tensors), else NotImplemented."""
    if is_tensor(value) or isinstance(value, OPERAND_NUMBERS):
        return value
    if isinstance(value, np.ndarray):
        from .creation import from_numpy

        return from_numpy(value)
    return NotImplemented


def operator(function: Callable) -> Callable:
    """`self <op> other` as function(self, other); NotImplemented for foreign operands."""

    def method(self: Any, other: Any) -> Any:
        other = operand(other)
        return NotImplemented if other is NotImplemented else function(self, other)

    method.__doc__ = function.__doc__
    return method


def reflected(function: Callable) -> Callable:
    """`other <op> self` as function(other, self)."""

    def method(self: Any, other: Any) -> Any:
        other = operand(other)
        return NotImplemented if other is NotImplemented else function(other, self)

    method.__doc__ = function.__doc__
    return method


def in_place(function: Callable) -> Callable:
    """The method that overwrites self with function(self, ...).

    RuntimeError if the result has another shape or a dtype of a higher category.
    """

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = function(self, *args, **kwargs)
        if result.type_.shape != self.type_.shape:
            raise RuntimeError(
                f"output with shape {list(self.shape)} doesn't match the broadcast shape "
                f"{list(result.shape)}"
            )
        return assign(self, stored_as(result, self.dtype))

    name = getattr(function, "__name__", "function")
    method.__name__ = method.__qualname__ = f"{name}_"
    method.__doc__ = f"In place: {function.__doc__}"
    return method


def in_place_operator(function: Callable) -> Callable:
    """`self <op>= other`: in place, NotImplemented for foreign operands."""
    write = in_place(function)

    def method(self: Any, other: Any) -> Any:
        other = operand(other)
        return NotImplemented if other is NotImplemented else write(self, other)

    method.__doc__ = write.__doc__
    return method
