"""DLPack: sharing memory with torch, numpy, jax and others without copying.

numpy makes and reads the capsules, and owns what keeps the memory alive. It does not know bfloat16,
so that such arrays pass through it as uint16, and the element type in the capsule is rewritten.
The layout of a capsule is that of https://dmlc.github.io/dlpack/latest/c_api.html.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from .ir.types import bfloat16
from .tensor import Tensor

CPU, GPU = (1, 0), (2, 0)
UNSIGNED, BFLOAT = 1, 4
OLDER, VERSIONED = b"dltensor", b"dltensor_versioned"
READ_ONLY = 1


class _Tensor(ctypes.Structure):
    """DLTensor."""

    _fields_ = [
        ("data", ctypes.c_void_p), ("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32), ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16), ("shape", ctypes.c_void_p), ("strides", ctypes.c_void_p),
        ("byte_offset", ctypes.c_uint64),
    ]  # fmt: skip


class _Versioned(ctypes.Structure):
    """DLManagedTensorVersioned; the older DLManagedTensor starts with its DLTensor."""

    _fields_ = [
        ("major", ctypes.c_uint32), ("minor", ctypes.c_uint32), ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p), ("flags", ctypes.c_uint64), ("tensor", _Tensor),
    ]  # fmt: skip


def _function(name: str, result: Any, *arguments: Any) -> Any:
    return ctypes.PYFUNCTYPE(result, *arguments)((name, ctypes.pythonapi))


_is_valid = _function("PyCapsule_IsValid", ctypes.c_int, ctypes.py_object, ctypes.c_char_p)
_pointer = _function("PyCapsule_GetPointer", ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)


def _is_capsule(x: Any) -> bool:
    return type(x).__name__ == "PyCapsule"


def described(capsule: Any) -> tuple[_Tensor, bool]:
    """(the DLTensor of a capsule, in place; may its memory be written to); BufferError if used."""
    if _is_valid(capsule, OLDER):
        return _Tensor.from_address(_pointer(capsule, OLDER)), True
    if _is_valid(capsule, VERSIONED):
        found = _Versioned.from_address(_pointer(capsule, VERSIONED))
        if found.major != 1:
            raise BufferError(f"the DLPack capsule has version {found.major}, expected 1")
        return found.tensor, not found.flags & READ_ONLY
    raise BufferError(
        "expected a DLPack capsule that was not used before; call __dlpack__() once for each use"
    )


def capsule_of(array: np.ndarray, options: dict[str, Any]) -> Any:
    """The capsule of an array; `options` are the arguments of __dlpack__()."""
    if array.dtype != bfloat16.numpy:
        return array.__dlpack__(**options)
    capsule = array.view(np.uint16).__dlpack__(**options)
    described(capsule)[0].code = BFLOAT
    return capsule


def _device_of(source: Any) -> tuple[int, int]:
    """Where the memory of a capsule, or of an object with the protocol, is; (0, 0) for others."""
    if _is_capsule(source):
        found, _ = described(source)
        return found.device_type, found.device_id
    ask = getattr(source, "__dlpack_device__", None)
    return (0, 0) if ask is None else tuple(map(int, ask()))


class _Exporter:
    """What numpy reads: an object with the protocol, or a capsule, whose bfloat16 is uint16."""

    def __init__(self, source: Any) -> None:
        self.source, self.is_bfloat16, self.writeable = source, False, False

    def __dlpack__(self, **options: Any) -> Any:
        capsule = self.source
        if not _is_capsule(capsule):
            capsule = capsule.__dlpack__(**options)
        found, self.writeable = described(capsule)
        self.is_bfloat16 = (found.code, found.bits, found.lanes) == (BFLOAT, 16, 1)
        if self.is_bfloat16:
            found.code = UNSIGNED
        return capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return _device_of(self.source)


class _Writeable:
    """Memory of an array as numpy is told about it, free to be written to."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array  # keeps the memory alive
        address, _ = array.__array_interface__["data"]
        self.__array_interface__ = {**array.__array_interface__, "data": (address, False)}


def from_dlpack(ext_tensor: Any, *, device: Any = None, copy: bool | None = None) -> Tensor:
    """A tensor on the memory of an object with __dlpack__() on the CPU, or of a DLPack capsule.

    Memory that is read-only is copied. TypeError for other objects, BufferError for a capsule that
    was used or for read-only memory if `copy` is False, RuntimeError for other devices. GPU memory
    is taken from objects that have __cuda_array_interface__ too.
    """
    from .device import require_cpu
    from .functions import from_numpy

    on_gpu = getattr(ext_tensor, "__cuda_array_interface__", None) is not None
    if on_gpu:
        from .cuda.exchange import from_interface

        made = from_interface(ext_tensor)
        return made.clone() if copy else made
    if _device_of(ext_tensor) == GPU:
        from .cuda.capsules import from_capsule

        is_capsule = _is_capsule(ext_tensor)
        made = from_capsule(ext_tensor if is_capsule else ext_tensor.__dlpack__())
        return made.clone() if copy else made
    require_cpu(device)
    exporter = _Exporter(ext_tensor)
    if not _is_capsule(ext_tensor) and not hasattr(ext_tensor, "__dlpack__"):
        raise TypeError(
            "from_dlpack() needs a DLPack capsule or an object with __dlpack__(), got "
            f"{type(ext_tensor).__name__}"
        )
    array = np.from_dlpack(exporter)
    if exporter.writeable and not array.flags.writeable:  # numpy trusts no capsule without version
        array = np.asarray(_Writeable(array))
    if exporter.is_bfloat16:
        array = array.view(bfloat16.numpy)
    if copy is False and not array.flags.writeable:
        raise BufferError("the memory is read-only; from_dlpack(..., copy=True) makes a copy")
    return from_numpy(array.copy() if copy or not array.flags.writeable else array)


def to_dlpack(tensor: Tensor) -> Any:
    """The DLPack capsule of a tensor, to be used once."""
    return tensor.__dlpack__()


__all__ = ["capsule_of", "described", "from_dlpack", "to_dlpack"]
