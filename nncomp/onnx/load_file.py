"""Reading ONNX files that nobody vouches for: every size is checked before it is believed.

`read_model` gives the protobuf message, `array_of` the value of a tensor in it. Weights beside the
file are read from its folder only; no code of the file runs, as it holds none.
"""

from __future__ import annotations

import math
import os
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from ..ir.types import DType
from .protobuf import dtype_of_number, third_party

_FIELDS = {  # where TensorProto keeps numbers that are not raw bytes
    "float32": "float_data", "float64": "double_data", "int64": "int64_data",
}  # fmt: skip
EXTERNAL = 1  # TensorProto.DataLocation


class SmallType(NamedTuple):
    """An element type that is widened: its name, its bits, and the type that has its values."""

    name: str
    bits: int
    meaning: Any

    def decoded(self, codes: np.ndarray) -> np.ndarray:
        """The numbers with these bits."""
        if self.meaning is np.uint8:
            return codes
        if self.meaning is np.int8:
            sign = 1 << (self.bits - 1)
            return (codes ^ sign).astype(np.int8) - np.int8(sign)
        return codes.view(self.meaning).astype(np.float32)


SMALL_TYPES = {  # by TensorProto.DataType
    17: SmallType("FLOAT8E4M3FN", 8, ml_dtypes.float8_e4m3fn),
    18: SmallType("FLOAT8E4M3FNUZ", 8, ml_dtypes.float8_e4m3fnuz),
    19: SmallType("FLOAT8E5M2", 8, ml_dtypes.float8_e5m2),
    20: SmallType("FLOAT8E5M2FNUZ", 8, ml_dtypes.float8_e5m2fnuz),
    21: SmallType("UINT4", 4, np.uint8),
    22: SmallType("INT4", 4, np.int8),
    25: SmallType("UINT2", 2, np.uint8),
    26: SmallType("INT2", 2, np.int8),
}


class OnnxLoadError(ValueError):
    """A file that is no ONNX model, is damaged, or holds what has no counterpart here."""


def read_model(path: str) -> Any:
    """The ModelProto in the file `path`; OnnxLoadError if it is not whole."""
    onnx = third_party()
    with open(path, "rb") as file:
        data = file.read()
    if not data:
        raise OnnxLoadError(f"{path} is empty, an ONNX model was expected")
    try:
        model = onnx.ModelProto.FromString(data)
    except Exception as error:  # protobuf's DecodeError, of whichever implementation
        raise OnnxLoadError(
            f"{path} ({len(data)} bytes) is no ONNX model, or it is cut off: {error}"
        ) from error
    if not model.HasField("graph") or not model.graph.output or not model.opset_import:
        raise OnnxLoadError(
            f"{path} ({len(data)} bytes) holds no graph with outputs and an operator set version; "
            "it is no ONNX model, or it is cut off"
        )
    return model


class Tensors:
    """Values of TensorProtos; `folder` is where files with weights may be (None: nowhere)."""

    def __init__(self, folder: str | None):
        self.folder = folder
        self.widened: dict[str, str] = {}  # names of values in small types, and the type

    def array_of(self, proto: Any, name: str = "") -> np.ndarray:
        """The numpy array of a TensorProto; OnnxLoadError if its bytes are not what it says.

        Numbers of 2, 4 or 8 bits without a type here come in a wider one; `name` is noted then.
        """
        what = f"tensor {proto.name or name!r}"
        shape = tuple(proto.dims)
        if any(n < 0 for n in shape):
            raise OnnxLoadError(f"{what} has the shape {shape}; sizes cannot be negative")
        if proto.data_type in SMALL_TYPES:
            return self._widened(proto, what, shape, proto.name or name)
        try:
            dtype = dtype_of_number(proto.data_type)
        except TypeError as error:
            raise OnnxLoadError(f"{what}: {error}") from None
        count = math.prod(shape)
        if proto.data_location == EXTERNAL:
            data = self._external(proto, what, count * dtype.itemsize)
        elif proto.HasField("raw_data"):
            data = proto.raw_data
        else:
            return _from_numbers(proto, what, dtype, shape)
        if len(data) != count * dtype.itemsize:
            raise OnnxLoadError(
                f"{what} of shape {shape} and type {dtype.name} needs {count * dtype.itemsize} "
                f"bytes, got {len(data)}"
            )
        return _from_bytes(data, dtype, shape)

    def _widened(self, proto: Any, what: str, shape: tuple[int, ...], name: str) -> np.ndarray:
        """Small numbers as int8, uint8 or float32; several share a byte, the first in its low bits.
        """
        small = SMALL_TYPES[proto.data_type]
        self.widened[name] = small.name
        count = math.prod(shape)
        size = -(-count * small.bits // 8)
        if proto.data_location == EXTERNAL:
            data = self._external(proto, what, size)
        else:
            data = proto.raw_data or bytes(v & 255 for v in proto.int32_data)
        if len(data) != size:
            raise OnnxLoadError(
                f"{what} of shape {shape} and type {small.name} needs {size} bytes, got {len(data)}"
            )
        octets = np.frombuffer(data, np.uint8)
        shifts = np.arange(0, 8, small.bits, dtype=np.uint8)
        codes = (octets[:, None] >> shifts & (1 << small.bits) - 1).reshape(-1)[:count]
        return small.decoded(codes.astype(np.uint8)).reshape(shape)

    def _external(self, proto: Any, what: str, size: int) -> bytes:
        """The bytes that a tensor has in a file beside the model."""
        entries = {entry.key: entry.value for entry in proto.external_data}
        path = self._inside(entries.get("location", ""), what)
        try:
            offset, length = int(entries.get("offset", 0)), int(entries.get("length", size))
        except ValueError:
            raise OnnxLoadError(
                f"{what}: offset and length must be integers, got {entries}"
            ) from None
        try:
            available = os.path.getsize(path)
        except OSError as error:
            raise OnnxLoadError(
                f"{what} is stored in {path}, which cannot be read: {error}"
            ) from error
        if length != size or offset < 0 or offset + length > available:
            raise OnnxLoadError(
                f"{what} needs {size} bytes; the model says bytes {offset} to {offset + length} of "
                f"{path}, which has {available}"
            )
        with open(path, "rb") as file:
            file.seek(offset)
            return file.read(length)

    def _inside(self, location: str, what: str) -> str:
        """The path of a file with weights, which must lie in the folder of the model."""
        if self.folder is None:
            raise OnnxLoadError(f"{what} is stored in the file {location!r} beside the model; "
                                "load the model by its path")  # fmt: skip
        folder = os.path.realpath(self.folder)
        path = os.path.realpath(os.path.join(folder, location))
        if not location or os.path.isabs(location) or not path.startswith(folder + os.sep):
            raise OnnxLoadError(
                f"{what} is stored in {location!r}, which is not inside of the model's folder "
                f"{folder}; move the file there"
            )
        return path


def _from_bytes(data: bytes, dtype: DType, shape: tuple[int, ...]) -> np.ndarray:
    array = np.frombuffer(data, dtype.numpy.newbyteorder("<") if dtype.kind != "f" else dtype.numpy)
    if not np.little_endian and dtype.kind == "f":
        array = array.byteswap()
    return array.astype(dtype.numpy, copy=True).reshape(shape)


def _from_numbers(proto: Any, what: str, dtype: DType, shape: tuple[int, ...]) -> np.ndarray:
    """A tensor whose numbers are a list; 16-bit floats are there as the integers of their bits."""
    numbers = getattr(proto, _FIELDS.get(dtype.name, "int32_data"))
    count = math.prod(shape)
    if len(numbers) != count:
        raise OnnxLoadError(
            f"{what} of shape {shape} and type {dtype.name} needs {count} numbers, got "
            f"{len(numbers)}"
        )
    if dtype.kind == "f" and dtype.itemsize == 2:
        return np.array(numbers, np.int32).astype(np.uint16).view(dtype.numpy).reshape(shape)
    return np.array(numbers, np.int64 if dtype.kind in "iu" else None).astype(dtype.numpy).reshape(
        shape
    )
