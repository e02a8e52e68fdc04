"""CudaArray: what a Tensor on a GPU has in place of a numpy array.

It answers what arrays answer about shape and layout (always row-major), and refuses everything that
would read elements on the host. Copies that stand for views know the buffer they were taken from:
writing either is refused while both exist, as the other would not see it.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from ..device import device
from ..ir.types import TensorType

CUDA = device("cuda", 0)
_FLAGS = SimpleNamespace(c_contiguous=True, aligned=True, writeable=True, owndata=True)
_OTHER = "Expected all tensors to be on the same device, but found at least two devices, {} and {}!"


class Buffer:
    """Memory of the device, given back with the last array on it."""

    def __init__(self, nbytes: int, owner: Any = None, address: int | None = None):
        from ..backends.ptx.device import get_device

        self.device, self.nbytes, self.owner = get_device(), nbytes, owner
        self.address = self.device.allocate(max(nbytes, 1)) if address is None else address
        self.copies: weakref.WeakSet = weakref.WeakSet()  # arrays that stand for views of this

    def __del__(self) -> None:
        try:
            if self.owner is None:
                self.device.free(self.address)
        except Exception:  # noqa: S110  at exit the device may be gone already
            pass


class CudaArray:
    """Elements of one type in a buffer, from its beginning, row-major."""

    cuda_device = CUDA
    base = None
    flags = _FLAGS

    def __init__(self, type: TensorType, buffer: Buffer | None = None):
        self.type = type
        self.buffer = Buffer(type.nbytes) if buffer is None else buffer
        self.viewed: Buffer | None = None  # the buffer whose elements this is a copy of
        self.shape, self.size, self.nbytes = type.shape, type.size, type.nbytes
        self.dtype, self.itemsize = np.dtype(type.dtype.numpy), type.dtype.itemsize

    @property
    def address(self) -> int:
        """Where the first element is."""
        return self.buffer.address

    @property
    def strides(self) -> tuple[int, ...]:
        """Bytes to skip per dimension."""
        steps, step = [], self.itemsize
        for n in reversed(self.shape):
            steps.append(step)
            step *= max(n, 1)
        return tuple(reversed(steps))

    def fill(self, array: np.ndarray) -> CudaArray:
        """Copy elements from the host; returns the array."""
        if array.nbytes:
            self.buffer.device.copy_in(self.address, np.ascontiguousarray(array))
        return self

    def host(self) -> np.ndarray:
        """The elements, in new memory of the host."""
        array = np.empty(self.shape, self.dtype)
        if array.nbytes:
            self.buffer.device.copy_out(array, self.address)
        return array

    def copy(self) -> CudaArray:
        """The same elements in memory of their own."""
        made = CudaArray(self.type)
        made.take(self)
        return made

    def take(self, other: CudaArray) -> None:
        """Copy the elements of an array of the same type."""
        if self.nbytes:
            self.buffer.device.copy_between(self.address, other.address, self.nbytes)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        """Where it lies, for torch, CuPy and numba; complete, so no stream has to be waited for."""
        self.buffer.device.synchronize()
        if self.type.dtype.name == "bfloat16":
            raise TypeError("__cuda_array_interface__ has no bfloat16; cast to another dtype first")
        return {
            "shape": self.shape, "typestr": self.dtype.str, "data": (self.address, False),
            "strides": None, "stream": None, "version": 3,
        }  # fmt: skip

    def stands_for_view(self, buffer: Buffer) -> None:
        """Remember that these elements are a copy where torch has a view of `buffer`."""
        self.viewed = buffer
        buffer.copies.add(self)

    def check_writable(self) -> None:
        """RuntimeError where a write would have to show in a view that is a copy here."""
        if self.viewed is not None:
            raise RuntimeError(
                "this tensor on cuda is a copy where torch has a view, so writing it in place "
                "would not reach the tensor it was taken from; clone() it, or write to that one"
            )
        if len(self.buffer.copies):
            raise RuntimeError(
                "views of this tensor exist, and on cuda they are copies that would not see an "
                "in-place write; drop them first, or clone() them"
            )

    def __array__(self, *args: Any, **kwargs: Any) -> np.ndarray:
        raise TypeError(
            f"can't convert {CUDA} device type tensor to numpy. Use Tensor.cpu() to copy the "
            "tensor to host memory first."
        )

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        raise RuntimeError(
            f"this operation ('{name}' of the elements) is not available for a tensor on {CUDA}; "
            "call .cpu() first"
        )

    def __getitem__(self, index: Any) -> Any:
        return self.__getattr__("indexing")

    def __setitem__(self, index: Any, value: Any) -> None:
        self.__getattr__("assignment")


def is_there(x: Any) -> bool:
    """Whether a Tensor is on a GPU."""
    return x.__dict__.get("_data").__class__ is CudaArray


def any_there(tensors: Sequence[Any]) -> bool:
    """True if one of the tensors is on a GPU; RuntimeError if others, with a shape, are not."""
    there = [is_there(x) for x in tensors]
    if not any(there):
        return False
    for x, found in zip(tensors, there, strict=True):
        if not found and x._type.shape and not x._made:
            raise RuntimeError(_OTHER.format(CUDA, "cpu"))
    return True


__all__ = ["CUDA", "Buffer", "CudaArray", "any_there", "is_there"]
