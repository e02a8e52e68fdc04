"""Reading ONNX files that nobody vouches for: every size is checked before it is believed.

`read_model` gives the protobuf message, `array_of` the value of a tensor in it. Weights beside the
file are read from its folder only; no code of the file runs, as it holds none.
"""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np

from ..ir.types import DType
from .protobuf import dtype_of_number, third_party

_FIELDS = {  # where TensorProto keeps numbers that are not raw bytes
    "float32": "float_data", "float64": "double_data", "int64": "int64_data",
}  # fmt: skip
EXTERNAL = 1  # TensorProto.DataLocation


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

    def array_of(self, proto: Any) -> np.ndarray:
        """The numpy array of a TensorProto; OnnxLoadError if its bytes are not what it says."""
        what = f"tensor {proto.name!r}"
        try:
            dtype = dtype_of_number(proto.data_type)
        except TypeError as error:
            raise OnnxLoadError(f"{what}: {error}") from None
        shape = tuple(proto.dims)
        if any(n < 0 for n in shape):
            raise OnnxLoadError(f"{what} has the shape {shape}; sizes cannot be negative")
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
