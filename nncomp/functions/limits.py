"""finfo and iinfo: the limits of element types."""

from __future__ import annotations

import ml_dtypes
import numpy as np

from ..ir import DType
from .base import default_float


class finfo:
    """Limits of a floating point dtype: bits, eps, max, min, tiny, resolution."""

    def __init__(self, type: DType | None = None):
        dtype = default_float() if type is None else type
        if not isinstance(dtype, DType) or not dtype.is_floating_point:
            raise TypeError(f"torch.finfo() requires a floating point input type, got {dtype!r}")
        found = ml_dtypes.finfo(dtype.numpy)
        self.dtype = dtype.name
        self.bits = 8 * dtype.itemsize
        self.eps = float(found.eps)
        self.max, self.min = float(found.max), float(found.min)
        self.tiny = self.smallest_normal = float(found.tiny)
        self.resolution = float(found.resolution)

    def __repr__(self) -> str:
        return (
            f"finfo(resolution={self.resolution:g}, min={self.min:g}, max={self.max:g}, "
            f"eps={self.eps:g}, smallest_normal={self.smallest_normal:g}, tiny={self.tiny:g}, "
            f"dtype={self.dtype})"
        )


class iinfo:
    """Limits of an integer dtype: bits, max, min."""

    def __init__(self, type: DType):
        if not isinstance(type, DType) or type.kind not in "iu":
            raise TypeError(f"torch.iinfo() requires an integer input type, got {type!r}")
        found = np.iinfo(type.numpy)
        self.dtype, self.bits = type.name, found.bits
        self.max, self.min = int(found.max), int(found.min)

    def __repr__(self) -> str:
        return f"iinfo(min={self.min}, max={self.max}, dtype={self.dtype})"
