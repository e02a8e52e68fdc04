"""What Tensor.storage() and untyped_storage() give: the memory behind a tensor.

Storages answer questions; they cannot be resized or shared between processes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .device import CPU, device


def root(array: np.ndarray) -> np.ndarray:
    """The array that owns (or was given) the memory of `array`."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def offset_of(array: np.ndarray) -> int:
    """Elements between the first one of the memory and the first one of `array`."""
    start = root(array).__array_interface__["data"][0]
    return (array.__array_interface__["data"][0] - start) // array.itemsize


def span(array: np.ndarray) -> tuple[int, int]:
    """Addresses of the first byte of an array with positive strides and of the first behind it."""
    if array.size == 0:
        return 0, 0
    low = array.__array_interface__["data"][0]
    steps = sum((n - 1) * s for n, s in zip(array.shape, array.strides, strict=True))
    return low, low + steps + array.itemsize


class UntypedStorage:
    """The bytes of a tensor's memory."""

    def __init__(self, array: np.ndarray) -> None:
        self._root = root(array)

    @property
    def device(self) -> device:
        """The CPU."""
        return CPU

    def data_ptr(self) -> int:
        """Address of the first byte."""
        return self._root.__array_interface__["data"][0]

    def nbytes(self) -> int:
        """Number of bytes."""
        return self._root.nbytes

    def size(self) -> int:
        """Number of bytes."""
        return self._root.nbytes

    def element_size(self) -> int:
        """1: the elements are bytes."""
        return 1

    def __len__(self) -> int:
        return self.size()

    def tolist(self) -> list[int]:
        """The bytes as numbers."""
        return np.ascontiguousarray(self._root).reshape(-1).view(np.uint8).tolist()

    def resize_(self, size: int) -> None:
        """Refuse: memory belongs to numpy arrays, which keep their size."""
        raise NotImplementedError(
            "a storage cannot be resized: its memory belongs to a numpy array; make a new tensor"
        )


class TypedStorage:
    """The elements of a tensor's memory."""

    def __init__(self, array: np.ndarray, dtype: Any) -> None:
        self._flat = np.ascontiguousarray(root(array)).reshape(-1)
        self._untyped, self.dtype = UntypedStorage(array), dtype

    @property
    def device(self) -> device:
        """The CPU."""
        return CPU

    def data_ptr(self) -> int:
        """Address of the first element."""
        return self._untyped.data_ptr()

    def nbytes(self) -> int:
        """Number of bytes."""
        return self._untyped.nbytes()

    def element_size(self) -> int:
        """Bytes per element."""
        return self._flat.itemsize

    def size(self) -> int:
        """Number of elements."""
        return self._flat.size

    def untyped(self) -> UntypedStorage:
        """The bytes."""
        return self._untyped

    def tolist(self) -> list[Any]:
        """The elements as Python numbers."""
        return self._flat.astype(np.float32).tolist() if self._flat.dtype.kind == "V" else (
            self._flat.tolist()
        )

    def __len__(self) -> int:
        return self.size()

    def __getitem__(self, index: int) -> Any:
        return self._flat[index].item()

    def __iter__(self) -> Iterator[Any]:
        return iter(self.tolist())


__all__ = ["TypedStorage", "UntypedStorage", "offset_of", "root", "span"]
