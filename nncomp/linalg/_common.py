"""What the functions of linalg share: checks of operands, numpy calls, the error class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..functions.base import tensor_class
from ..functions.promotion import TYPE_NAMES
from ..functions.special_values import eager_array
from ..ir import ops
from ..ir import types as dt


class LinAlgError(RuntimeError):
    """A matrix for which the result does not exist, such as the inverse of a singular one."""


def matrix(name: str, x: Any, least: int = 2) -> Any:
    """`x` if it is a float32 or float64 tensor with matrices in its last dims."""
    if len(x.shape) < least:
        raise RuntimeError(
            f"linalg.{name}: The input tensor A must have at least {least} dimensions."
        )
    if x.dtype not in (dt.float32, dt.float64):
        kind = "Low precision dtypes not supported" if x.dtype.kind == "f" else (
            "Expected a floating point tensor as input"
        )
        raise RuntimeError(f"linalg.{name}: {kind}. Got {TYPE_NAMES[x.dtype]}")
    return x


def square(name: str, x: Any) -> Any:
    """`x` if it holds square matrices."""
    matrix(name, x)
    if x.shape[-1] != x.shape[-2]:
        raise RuntimeError(
            f"linalg.{name}: A must be batches of square matrices, but they are {x.shape[-2]} by "
            f"{x.shape[-1]} matrices"
        )
    return x


def computed(name: str, function: Callable, *operands: Any, loop: Callable) -> Any:
    """function(arrays) as tensors of the first operand's dtype; LinAlgError if numpy gives up.

    While a graph is recorded it is `loop` of the tensors, which is made of operations.
    """
    if any(x.is_traced for x in operands):
        return loop(*operands)
    arrays = [eager_array(x, f"linalg.{name}") for x in operands]
    try:
        with np.errstate(all="ignore"):
            result = function(*arrays)
    except np.linalg.LinAlgError as error:
        raise LinAlgError(f"linalg.{name}: {_why(name, error)}") from None
    if isinstance(result, tuple):
        return tuple(made(x, arrays[0].dtype) for x in result)
    return made(result, arrays[0].dtype)


def _why(name: str, error: Exception) -> str:
    text = str(error)
    if "Singular" in text:
        return "the input matrix is singular, so that the result does not exist"
    if "positive definite" in text:
        return "The factorization could not be completed because the input is not positive-definite"
    return f"{text} (numpy)"


def made(array: Any, dtype: np.dtype) -> Any:
    """A tensor with the elements of an array, floats as `dtype`."""
    array = np.array(array, order="C")
    if array.dtype.kind == "f":
        array = array.astype(dtype)
    return tensor_class()._wrap(array)


def mT(x: Any) -> Any:
    """The last two dims exchanged."""
    rank = len(x.shape)
    return ops.permute(x, dims=(*range(rank - 2), rank - 1, rank - 2))


def identity(x: Any, n: int | None = None) -> Any:
    """The n x n identity (n: rows of `x`) in the dtype of `x`."""
    from ..functions.creation import eye

    return eye(x.shape[-2] if n is None else n, dtype=x.dtype)
