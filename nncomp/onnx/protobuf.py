"""The package onnx, imported when it is first needed, and the element types of both sides."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..ir.types import DTYPES, DType, dtype_of_name

_NUMBERS = {
    "float32": 1, "uint8": 2, "int8": 3, "int16": 5, "int32": 6, "int64": 7, "bool": 9,
    "float16": 10, "float64": 11, "bfloat16": 16,
}  # fmt: skip
_NAMES = {number: name for name, number in _NUMBERS.items()}


def third_party() -> Any:
    """The package onnx; ImportError that says how to get it."""
    try:
        import onnx.checker  # a folder called onnx on the path would pass for the package alone
    except ImportError as error:
        raise ImportError(
            "nncomp.onnx needs the package onnx, which is not installed; "
            "run `pip install nncomp[onnx]`"
        ) from error
    return onnx


def type_number(dtype: DType) -> int:
    """The number of an element type in ONNX (`TensorProto.DataType`)."""
    return _NUMBERS[dtype.name]


def dtype_of_number(number: int) -> DType:
    """The element type with this number; TypeError for those that do not exist here."""
    name = _NAMES.get(number)
    if name is None:
        onnx = third_party()
        known = onnx.TensorProto.DataType.items()
        label = next((n for n, v in known if v == number), str(number))
        have = ", ".join(d.name for d in DTYPES)
        raise TypeError(f"ONNX element type {label} has no counterpart here (have: {have})")
    return dtype_of_name(name)


def tensor_proto(array: np.ndarray, dtype: DType, name: str = "") -> Any:
    """A TensorProto that holds the bytes of `array`."""
    proto = third_party().TensorProto()
    fill_tensor(proto, array, dtype, name)
    return proto


def fill_tensor(proto: Any, array: np.ndarray, dtype: DType, name: str) -> None:
    """Put the bytes of `array` into a TensorProto."""
    proto.name = name
    proto.data_type = type_number(dtype)
    proto.dims.extend(array.shape)
    little = np.ascontiguousarray(array, dtype.numpy)
    if little.dtype.byteorder == ">" or (little.dtype.itemsize > 1 and not _LITTLE):
        little = little.byteswap()
    proto.raw_data = little.tobytes()


def array_of_constant(node: Any) -> np.ndarray:
    """The value of a Constant that `tensor_proto` made."""
    proto = next(a.t for a in node.attribute if a.name == "value")
    dtype = dtype_of_number(proto.data_type).numpy
    array = np.frombuffer(proto.raw_data, dtype)
    array = array if _LITTLE or dtype.itemsize == 1 else array.byteswap()
    return array.reshape(tuple(proto.dims))


_LITTLE = np.little_endian
