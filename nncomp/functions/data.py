"""Python numbers, nested sequences and arrays to numpy arrays, with torch's dtype choice."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..ir import DType
from ..ir.types import dtype_of_numpy, float64
from .base import default_float, is_tensor


def array_of(data: Any, dtype: DType | None = None) -> np.ndarray:
    """A new array with `data`: floats as the default dtype, integers as int64, bools as bool.

    TypeError for values that are no numbers, ValueError for sequences of unequal length.
    """
    if isinstance(data, np.ndarray):
        array = np.array(data)
    elif isinstance(data, np.generic):
        array = np.array(data)
    else:
        array = _from_nested(data, dtype)
    if dtype is not None:
        return _converted(array, dtype)
    dtype_of_numpy(array.dtype)
    return array


def _converted(array: np.ndarray, dtype: DType) -> np.ndarray:
    with np.errstate(all="ignore"):
        return array.astype(dtype.numpy)


def _from_nested(data: Any, dtype: DType | None) -> np.ndarray:
    if isinstance(data, (bool, int, float)):
        return _numbers([data], (), dtype)
    if isinstance(data, str) or not hasattr(data, "__len__"):
        if hasattr(data, "__array__"):
            return np.array(data)
        raise TypeError(f"new(): invalid data type '{type(data).__name__}'")
    plain = _plain(data)
    shape = _shape(plain)
    flat: list = []
    _flatten(plain, shape, 0, flat)
    if any(isinstance(x, np.ndarray) for x in flat):
        return _with_arrays(flat, shape)
    return _numbers(flat, shape, dtype)


def _plain(data: Any) -> Any:
    """Tensors inside of lists as arrays."""
    if is_tensor(data):
        array = data.detach().numpy()
        return array
    return data


def _shape(data: Any) -> tuple[int, ...]:
    """The shape that the first elements suggest."""
    shape: list[int] = []
    while not isinstance(data, (str, bool, int, float)) and hasattr(data, "__len__"):
        if isinstance(data, np.ndarray) or is_tensor(data):
            return (*shape, *data.shape)
        shape.append(len(data))
        if not len(data):
            break
        data = data[0]
    return tuple(shape)


def _flatten(data: Any, shape: tuple[int, ...], depth: int, out: list) -> None:
    """The numbers of nested sequences in order; each must have the length `shape` says."""
    if is_tensor(data) or isinstance(data, np.ndarray):
        if tuple(data.shape) != shape[depth:]:
            raise ValueError(
                f"expected an element of shape {list(shape[depth:])} at dim {depth}, got "
                f"{list(data.shape)}"
            )
        out.append(_plain(data))
        return
    if depth == len(shape):
        out.append(_number(data))
        return
    if isinstance(data, (str, bool, int, float)) or not hasattr(data, "__len__"):
        raise TypeError(
            f"expected a sequence of length {shape[depth]} at dim {depth}, got "
            f"{type(data).__name__}"
        )
    if len(data) != shape[depth]:
        raise ValueError(
            f"expected sequence of length {shape[depth]} at dim {depth} (got {len(data)})"
        )
    if depth == len(shape) - 1 and all(type(x) in (int, float, bool) for x in data):
        out.extend(data)
        return
    for item in data:
        _flatten(item, shape, depth + 1, out)


def _number(value: Any) -> Any:
    if isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if hasattr(value, "__len__") and not isinstance(value, str):
        raise ValueError("expected a number, got a sequence: the nested lists have unequal depth")
    if hasattr(value, "__index__"):
        return value.__index__()
    raise TypeError(f"new(): invalid data type '{type(value).__name__}'")


def _numbers(flat: list, shape: tuple[int, ...], dtype: DType | None) -> np.ndarray:
    kinds = set(map(type, flat))
    if any(issubclass(k, float) for k in kinds) or not flat:
        # not through the default dtype if float64 is asked for: it would lose digits
        numpy_type = (float64 if dtype is float64 else default_float()).numpy
    elif kinds == {bool}:
        numpy_type = np.dtype(bool)
    else:
        numpy_type = np.dtype(np.int64)
    try:
        with np.errstate(over="ignore"):
            return np.array(flat, numpy_type).reshape(shape)
    except OverflowError:
        raise RuntimeError("Overflow when unpacking long long") from None


def _with_arrays(flat: list, shape: tuple[int, ...]) -> np.ndarray:
    parts = [np.asarray(x) for x in flat]
    first = parts[0].dtype
    return np.concatenate([p.reshape(-1).astype(first) for p in parts]).reshape(shape)
