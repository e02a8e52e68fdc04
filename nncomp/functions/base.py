"""What every function family needs: the Tensor class, constants, dims and shape arguments.

The class body of Tensor lists the functions of this package, so the package finds Tensor late, by
`tensor_class()`. Constants never become captured tensors: `constant` applies the op `full`.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from ..hyper_number import HyperNumber
from ..ir import DType, Op, ops
from ..ir import types as dt

Number = bool | int | float
OPERAND_NUMBERS = (bool, int, float, np.generic, HyperNumber)


@functools.cache
def tensor_class() -> type:
    """The Tensor class."""
    from ..tensor import Tensor

    return Tensor


def is_tensor(obj: Any) -> bool:
    """True if `obj` is a Tensor."""
    return isinstance(obj, tensor_class())


def create(op: Op, **attrs: Any) -> Any:
    """Apply an op without operands: recorded when tracing, else computed."""
    return tensor_class().apply_op(op, (), attrs)


def constant(value: Number, shape: Sequence[int], dtype: DType) -> Any:
    """A tensor with one value everywhere, as a single op."""
    return create(ops.full, value=to_kind(value, dtype), shape=tuple(shape), dtype=dtype)


def like(x: Any, value: Number) -> Any:
    """`value` everywhere, with the shape and dtype of `x`."""
    return constant(value, x.shape, x.dtype)


def to_kind(value: Number, dtype: DType) -> Number:
    """A Python number of the kind that `dtype` stores; integers wrap to its width."""
    if isinstance(value, np.generic):
        value = value.item()
    if dtype.kind == "f":
        return float(value)
    if dtype.kind == "b":
        return bool(value)
    value = int(value)
    if not -(2**63) <= value < 2**64:
        raise RuntimeError(f"value cannot be converted to type {dtype.name} without overflow")
    bits = 8 * dtype.itemsize
    value &= (1 << bits) - 1
    return value - (1 << bits) if dtype.kind == "i" and value >> (bits - 1) else value


def wrap_dim(dim: Any, rank: int) -> int:
    """`dim` in [0, rank), counted from the end if negative; a 0-d tensor has dims -1 and 0."""
    dim = operator.index(dim)
    limit = max(rank, 1)
    if not -limit <= dim < limit:
        raise IndexError(
            "Dimension out of range (expected to be in range of "
            f"[{-limit}, {limit - 1}], but got {dim})"
        )
    return dim + limit if dim < 0 else dim


def reduced_axes(dim: Any, rank: int) -> tuple[int, ...]:
    """The sorted axes that a reduction's `dim` names: all for None or ()."""
    if dim is None or (isinstance(dim, (tuple, list)) and not dim):
        return tuple(range(rank))
    dims = dim if isinstance(dim, (tuple, list)) else (dim,)
    axes = tuple(sorted(wrap_dim(d, rank) for d in dims))
    for a, b in zip(axes, axes[1:], strict=False):
        if a == b:
            raise RuntimeError(f"dim {a} appears multiple times in the list of dims")
    return axes if rank else ()


def shape_argument(sizes: tuple) -> tuple[int, ...]:
    """The shape given as f(2, 3), f((2, 3)) or f(torch.Size([2, 3]))."""
    if len(sizes) == 1 and isinstance(sizes[0], Iterable) and not is_tensor(sizes[0]):
        sizes = tuple(sizes[0])
    return tuple(operator.index(n) for n in sizes)


def check_sizes(name: str, shape: Sequence[int]) -> None:
    """RuntimeError for a negative extent."""
    if any(n < 0 for n in shape):
        raise RuntimeError(
            f"Trying to create tensor with negative dimension {min(shape)}: {list(shape)} ({name})"
        )


def numpy_names(function: Callable) -> Callable:
    """Let a function take numpy's keywords axis and keepdims for dim and keepdim, as torch does."""

    @functools.wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if kwargs:
            if "axis" in kwargs:
                kwargs["dim"] = kwargs.pop("axis")
            if "keepdims" in kwargs:
                kwargs["keepdim"] = kwargs.pop("keepdims")
        return function(*args, **kwargs)

    return wrapped


def no_out(name: str, out: Any) -> None:
    """Results are always new tensors: refuse `out=` with a sentence."""
    if out is not None:
        raise NotImplementedError(
            f"{name}(): out= is not supported, as results are always new tensors; "
            f"write out.copy_({name}(...)) instead"
        )


def default_float() -> DType:
    """The dtype of Python floats, which set_default_dtype changes."""
    return _state["dtype"]


def get_default_dtype() -> DType:
    """The floating dtype of new tensors and of integer division; float32 unless set."""
    return _state["dtype"]


def set_default_dtype(dtype: DType) -> None:
    """Set the floating dtype of new tensors and of results from Python floats."""
    if not isinstance(dtype, DType) or not dtype.is_floating_point:
        raise TypeError(
            f"only floating-point types are supported as the default type, got {dtype!r}"
        )
    _state["dtype"] = dtype


_state = {"dtype": dt.float32}


def is_traced(x: Any) -> bool:
    """True if the values of `x` are not known yet, because a trace is being recorded."""
    return x.is_traced


def pair(value: Any, n: int, name: str) -> tuple[int, ...]:
    """`n` integers: one repeated, or a sequence of them."""
    if isinstance(value, Iterable):
        values = tuple(operator.index(v) for v in value)
        if len(values) == 1:
            return values * n
        if len(values) != n:
            raise RuntimeError(f"{name} must be one integer or {n}, got {list(values)}")
        return values
    return (operator.index(value),) * n
