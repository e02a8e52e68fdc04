"""What a file declares about its inputs, and the check of what is passed for them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..functions.base import is_tensor
from .load_steps import OnnxRunError
from .protobuf import dtype_of_number


class Input(NamedTuple):
    """An input of a file: `sizes` has None for open ones, and is None if nothing is said."""

    name: str
    kind: str  # tensor, sequence, optional, ...
    number: int  # of the element type of a tensor
    sizes: tuple[int | None, ...] | None


def input_of(info: Any) -> Input:
    """The Input that a ValueInfoProto declares."""
    kind = (info.type.WhichOneof("value") or "").removesuffix("_type")
    if kind != "tensor":
        return Input(info.name, kind, 0, None)
    declared, sizes = info.type.tensor_type, None
    if declared.HasField("shape"):
        dims = declared.shape.dim
        sizes = tuple(d.dim_value if d.HasField("dim_value") else None for d in dims)
    return Input(info.name, kind, declared.elem_type, sizes)


def checked(declared: Input, value: Any) -> Any:
    """The value for an input: a Tensor of the declared type, or a known array.

    OnnxRunError for another type or shape.
    """
    if declared.kind == "optional" or (declared.kind == "sequence" and isinstance(value, list)):
        return value
    if declared.kind != "tensor":
        raise OnnxRunError(
            f"input {declared.name!r} is a {declared.kind or 'value without a type'}, got "
            f"{type(value).__name__}; only tensors and lists of them are supported"
        )
    dtype = dtype_of_number(declared.number)
    if not is_tensor(value):
        value = np.asarray(value, dtype.numpy)
    elif value.dtype is not dtype:
        raise OnnxRunError(
            f"input {declared.name!r} must be {dtype.name}, got {value.dtype.name}; convert it "
            f"with `.to(nncomp.{dtype.name})`"
        )
    sizes, shape = declared.sizes, tuple(value.shape)
    if sizes is not None and not _fits(sizes, shape):
        shown = ", ".join("any" if n is None else str(n) for n in sizes)
        raise OnnxRunError(f"input {declared.name!r} must have the shape ({shown}), got {shape}")
    return value


def _fits(sizes: tuple[int | None, ...], shape: tuple[int, ...]) -> bool:
    pairs = zip(sizes, shape, strict=False)
    return len(sizes) == len(shape) and all(n is None or n == m for n, m in pairs)
