"""DLPack capsules on GPU memory, both ways.

numpy makes the capsule, of an array with the same shape whose elements are never read; the device
and the address in it are then those on the GPU. It keeps that array, which keeps the GPU's buffer.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from .. import dispatch
from ..dlpack import BFLOAT, described
from ..ir.types import TensorType, bfloat16, dtype_of_name
from .eager import apply_marked, require
from .memory import CUDA, Buffer, CudaArray

DEVICE = 2, 0  # kDLCUDA, the only device
KINDS = {0: "int", 1: "uint", 2: "float", BFLOAT: "bfloat", 6: "bool"}


class _Standing(np.ndarray):
    """An array in place of one on the GPU; `buffer` is that one's memory."""

    buffer: Buffer


def capsule_on(array: CudaArray, options: dict[str, Any]) -> Any:
    """The capsule of an array on the GPU, complete; `options` are the arguments of __dlpack__().

    BufferError where a copy or another device is asked for.
    """
    if options.get("copy") or options.get("dl_device") not in (None, DEVICE):
        raise BufferError("__dlpack__() of a tensor on cuda shares its memory; it copies nothing")
    array.buffer.device.synchronize()  # so no stream has to be waited for
    raw = np.uint16 if array.type.dtype is bfloat16 else array.dtype
    one = np.zeros(1, raw)
    there = np.lib.stride_tricks.as_strided(one, array.shape, array.strides).view(_Standing)
    there.buffer = array.buffer
    version = {k: v for k, v in options.items() if k == "max_version"}
    capsule = there.__dlpack__(**version)
    found = described(capsule)[0]
    found.data, (found.device_type, found.device_id) = array.address, DEVICE
    if array.type.dtype is bfloat16:
        found.code = BFLOAT
    return capsule


def from_capsule(capsule: Any) -> Any:
    """A tensor on the GPU memory of a capsule that was not used; the capsule lives as long.

    BufferError for memory that is read-only or not contiguous, TypeError for an unknown dtype.
    """
    require(CUDA)
    found, is_writable = described(capsule)
    shape = _numbers(found.shape, found.ndim)
    type_ = TensorType(shape, _dtype(found))
    made = CudaArray(type_, Buffer(type_.nbytes, capsule, (found.data or 0) + found.byte_offset))
    strides = tuple(s // made.itemsize for s in made.strides)
    if found.strides and type_.size:
        given = zip(_numbers(found.strides, found.ndim), strides, shape, strict=True)
        if any(stride != wanted and n != 1 for stride, wanted, n in given):
            raise BufferError("the array in GPU memory is not contiguous; make a contiguous copy")
    if not is_writable:
        raise BufferError("the array in GPU memory is read-only; copy it first")
    dispatch.apply_through(apply_marked)
    return dispatch.wrap(made, type_)


def _numbers(address: int | None, count: int) -> tuple[int, ...]:
    return tuple((ctypes.c_int64 * count).from_address(address)) if count and address else ()


def _dtype(found: Any) -> Any:
    kind = KINDS.get(found.code, "")
    try:
        if found.lanes != 1:
            raise KeyError(found.lanes)
        return dtype_of_name("bool" if kind == "bool" else f"{kind}{found.bits}")
    except (KeyError, TypeError, ValueError):
        raise TypeError(
            f"the DLPack capsule has elements of type {found.code}, {found.bits} bits, "
            f"{found.lanes} lanes, which no dtype here is"
        ) from None


__all__ = ["DEVICE", "capsule_on", "from_capsule"]
