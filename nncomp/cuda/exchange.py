"""Tensors on the GPU memory of other libraries, by `__cuda_array_interface__` (version 3).

    x = nncomp.as_tensor(torch_tensor)           # shares memory; nothing is copied
    torch.as_tensor(y, device="cuda")            # the other way: y has the interface
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import dispatch
from ..ir.types import TensorType, dtype_of_numpy
from .arrays import address_of
from .eager import apply_marked, require
from .memory import CUDA, Buffer, CudaArray


def from_interface(source: Any) -> Any:
    """A tensor on the memory of `source`, which it keeps alive.

    ValueError for arrays that are not contiguous or read-only, TypeError for an unknown dtype.
    """
    require(CUDA)
    found = source.__cuda_array_interface__
    type_ = TensorType(tuple(found["shape"]), dtype_of_numpy(np.dtype(found["typestr"])))
    address = address_of(source, type_, 0)
    if found["data"][1]:
        raise ValueError("the array in GPU memory is read-only; copy it first")
    dispatch.apply_through(apply_marked)
    array = CudaArray(type_, Buffer(type_.nbytes, owner=source, address=address))
    return dispatch.wrap(array, type_)


__all__ = ["from_interface"]
