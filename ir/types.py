"""Element types and tensor types.

A `DType` is one of the nine element types, with torch's names; a `TensorType` is a static shape and
a DType, written `f32[8,784]`. Both are immutable and compare by value.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import ml_dtypes
import numpy as np


class DType:
    """An element type. `short` is its spelling in IR text, `numpy` the dtype that stores it."""

    __slots__ = ("name", "short", "numpy", "itemsize", "kind", "rank")

    def __init__(self, name: str, short: str, numpy_type, kind: str, rank: int):
        self.name, self.short, self.kind, self.rank = name, short, kind, rank
        self.numpy = np.dtype(numpy_type)
        self.itemsize = self.numpy.itemsize

    @property
    def is_floating_point(self) -> bool:
        return self.kind == "f"

    @property
    def is_complex(self) -> bool:
        return False

    @property
    def is_signed(self) -> bool:
        return self.kind in "fi"

    def __repr__(self) -> str:
        return f"torch.{self.name}"

    def __reduce__(self):
        return (dtype_of_name, (self.name,))

    def __copy__(self):
        return self

    def __deepcopy__(self, memo):
        return self


bool_ = DType("bool", "bool", np.bool_, "b", 0)
uint8 = DType("uint8", "u8", np.uint8, "u", 1)
int8 = DType("int8", "i8", np.int8, "i", 2)
int16 = DType("int16", "i16", np.int16, "i", 3)
int32 = DType("int32", "i32", np.int32, "i", 4)
int64 = DType("int64", "i64", np.int64, "i", 5)
float16 = DType("float16", "f16", np.float16, "f", 6)
bfloat16 = DType("bfloat16", "bf16", ml_dtypes.bfloat16, "f", 7)
float32 = DType("float32", "f32", np.float32, "f", 8)
float64 = DType("float64", "f64", np.float64, "f", 9)

DTYPES = (bool_, uint8, int8, int16, int32, int64, float16, bfloat16, float32, float64)
_BY_NAME = {d.name: d for d in DTYPES}
_BY_SHORT = {d.short: d for d in DTYPES}
_BY_NUMPY = {d.numpy: d for d in DTYPES}


def dtype_of_name(name: str) -> DType:
    """The DType called `float32`, `f32`, ...; KeyError for others."""
    return _BY_NAME.get(name) or _BY_SHORT[name]


def dtype_of_numpy(numpy_type) -> DType:
    """The DType that stores a numpy dtype; TypeError when there is none."""
    found = _BY_NUMPY.get(np.dtype(numpy_type))
    if found is None:
        known = ", ".join(d.name for d in DTYPES)
        raise TypeError(
            f"numpy dtype {np.dtype(numpy_type)} has no counterpart here (have: {known})"
        )
    return found


def promote(a: DType, b: DType) -> DType:
    """The dtype that holds values of both, by torch's promotion lattice."""
    if a is b:
        return a
    if {a, b} == {uint8, int8}:
        return int16
    if {a, b} == {float16, bfloat16}:
        return float32
    return a if a.rank > b.rank else b


class TensorType(NamedTuple):
    """Shape and element type of a tensor: `f32[8,784]`."""

    shape: tuple[int, ...]
    dtype: DType

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    def __str__(self) -> str:
        return f"{self.dtype.short}[{','.join(map(str, self.shape))}]"


def type_of_array(array: np.ndarray) -> TensorType:
    return TensorType(array.shape, dtype_of_numpy(array.dtype))


def broadcast_shapes(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape all broadcast to, aligned at the last dimension; ValueError when they do not."""
    rank = max(map(len, shapes), default=0)
    out = [1] * rank
    for shape in shapes:
        for i, n in enumerate(shape, rank - len(shape)):
            if n != 1 and out[i] not in (1, n):
                raise ValueError(
                    f"The size of tensor a ({out[i]}) must match the size of tensor b ({n}) "
                    f"at non-singleton dimension {i}"
                )
            out[i] = n if n != 1 else out[i]
    return tuple(out)
