"""New tensors: from data, constant, ramps, and like other tensors.

Constants and ramps are ops (`full`, `iota`), so a trace records them; data becomes a leaf.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..ir import DType, ops
from ..ir import types as dt
from ..ir.types import dtype_of_numpy
from .base import (
    check_sizes,
    constant,
    create,
    default_float,
    is_tensor,
    no_out,
    shape_argument,
    tensor_class,
)
from .data import array_of
from .placing import created
from .promotion import cast, number_dtype


def _leaf(array: np.ndarray, requires_grad: bool = False) -> Any:
    return tensor_class()._wrap(array, requires_grad)


def finished(x: Any, requires_grad: bool) -> Any:
    """`x`, made to require a gradient on demand."""
    return x.requires_grad_(True) if requires_grad else x


def tensor(
    data: Any, *, dtype: DType | None = None, device: Any = None, requires_grad: bool = False,
    pin_memory: bool = False,
) -> Any:  # fmt: skip
    """A new tensor with a copy of numbers, nested lists, arrays or a tensor."""
    if is_tensor(data):
        x = data.detach().clone()
        return created(x if dtype is None else cast(x, dtype), device, requires_grad)
    return created(_leaf(array_of(data, dtype)), device, requires_grad)


def as_tensor(data: Any, dtype: DType | None = None, device: Any = None) -> Any:
    """`data` as a tensor, sharing memory with a tensor or array of the right dtype."""
    if is_tensor(data):
        return created(data if dtype is None else cast(data, dtype), device)
    if isinstance(data, np.ndarray):
        x = from_numpy(data)
        return created(x if dtype is None else cast(x, dtype), device)
    if getattr(data, "__cuda_array_interface__", None) is not None:
        from ..cuda.exchange import from_interface

        x = from_interface(data)
        return created(x if dtype is None else cast(x, dtype), device or x.device)
    return created(_leaf(array_of(data, dtype)), device)


def asarray(obj: Any, *, dtype: DType | None = None, device: Any = None,
            copy: bool | None = None, requires_grad: bool = False) -> Any:  # fmt: skip
    """as_tensor() with control over copying."""
    x = tensor(obj, dtype=dtype, device=device) if copy else as_tensor(obj, dtype, device)
    return finished(x, requires_grad)


def from_numpy(array: np.ndarray) -> Any:
    """A tensor that shares memory with a numpy array."""
    if not isinstance(array, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {type(array).__name__})")
    dtype_of_numpy(array.dtype)
    if any(step < 0 for step in array.strides):
        raise ValueError(
            "At least one stride in the given numpy array is negative, and tensors with negative "
            "strides are not currently supported. (You can probably work around this by making a "
            "copy of your array with array.copy().)"
        )
    return _leaf(array)


def frombuffer(buffer: Any, *, dtype: DType, count: int = -1, offset: int = 0) -> Any:
    """A vector that shares memory with an object of the buffer protocol."""
    return _leaf(np.frombuffer(buffer, dtype.numpy, count, offset))


def scalar_tensor(value: Any, *, dtype: DType | None = None, device: Any = None) -> Any:
    """A 0-d tensor; of the default dtype unless given."""
    return full((), value, dtype=dtype or default_float(), device=device)


def full(
    size: Sequence[int], fill_value: Any, *, dtype: DType | None = None, device: Any = None,
    requires_grad: bool = False, out: Any = None, layout: Any = None, pin_memory: bool = False,
) -> Any:  # fmt: skip
    """`fill_value` everywhere; the dtype is that of the number unless given."""
    no_out("full", out)
    shape = shape_argument((size,))
    check_sizes("full", shape)
    if is_tensor(fill_value):
        fill_value = fill_value.item()
    dtype = number_dtype(fill_value) if dtype is None else dtype
    return created(constant(fill_value, shape, dtype), device, requires_grad)


def _filled(name: str, value: int, size: tuple, options: dict) -> Any:
    no_out(name, options.pop("out", None))
    dtype = options.pop("dtype", None) or default_float()
    if "size" in options:
        size = (options.pop("size"),)
    return full(shape_argument(size), value, dtype=dtype, **_known(name, options))


_OPTIONS = ("device", "requires_grad", "layout", "pin_memory", "memory_format", "generator")


def _known(name: str, options: dict) -> dict:
    """The keywords that a function of new tensors takes; TypeError for others."""
    for key in options:
        if key not in _OPTIONS:
            raise TypeError(f"{name}() got an unexpected keyword argument '{key}'")
    return {k: v for k, v in options.items() if k in ("device", "requires_grad")}


def zeros(*size: Any, **options: Any) -> Any:
    """Zeros of shape `size`; keywords dtype, device, requires_grad."""
    return _filled("zeros", 0, size, options)


def ones(*size: Any, **options: Any) -> Any:
    """Ones of shape `size`; keywords dtype, device, requires_grad."""
    return _filled("ones", 1, size, options)


def empty(*size: Any, **options: Any) -> Any:
    """A tensor of shape `size` whose values do not matter (they are zero)."""
    return _filled("empty", 0, size, options)


def empty_strided(size: Sequence[int], stride: Sequence[int], **options: Any) -> Any:
    """A tensor of shape `size` and the given strides (in elements), of zeros."""
    dtype = options.pop("dtype", None) or default_float()
    rest = _known("empty_strided", options)
    last = sum((n - 1) * s for n, s in zip(size, stride, strict=True)) if all(size) else -1
    memory = np.zeros(last + 1, dtype.numpy)
    steps = [s * dtype.itemsize for s in stride]
    array = np.lib.stride_tricks.as_strided(memory, tuple(size), steps)
    return created(_leaf(array), rest.get("device"), rest.get("requires_grad", False))


def full_like(input: Any, fill_value: Any, **options: Any) -> Any:
    """`fill_value` with the shape and dtype of `input`; keywords dtype, device, requires_grad."""
    dtype = options.pop("dtype", None) or input.dtype
    options["device"] = options.get("device") or input.device
    return full(tuple(input.shape), fill_value, dtype=dtype, **_known("full_like", options))


def zeros_like(input: Any, **options: Any) -> Any:
    """Zeros with the shape and dtype of `input`."""
    return full_like(input, 0, **options)


def ones_like(input: Any, **options: Any) -> Any:
    """Ones with the shape and dtype of `input`."""
    return full_like(input, 1, **options)


def empty_like(input: Any, **options: Any) -> Any:
    """A tensor like `input` whose values do not matter (they are zero)."""
    return full_like(input, 0, **options)


def _as(x: Any, options: dict) -> dict:
    """The keywords with dtype and device of `x` where they are not given."""
    dtype, device = options.get("dtype") or x.dtype, options.get("device") or x.device
    return {**options, "dtype": dtype, "device": device}


def new_tensor(self: Any, data: Any, **options: Any) -> Any:
    """A copy of `data` with the dtype of this tensor."""
    options = _as(self, options)
    return tensor(data, **options)


def new_full(self: Any, size: Sequence[int], fill_value: Any, **options: Any) -> Any:
    """`fill_value` in shape `size` with the dtype of this tensor."""
    options = _as(self, options)
    return full(size, fill_value, **options)


def new_zeros(self: Any, *size: Any, **options: Any) -> Any:
    """Zeros of shape `size` with the dtype of this tensor."""
    return zeros(*size, **_as(self, options))


def new_ones(self: Any, *size: Any, **options: Any) -> Any:
    """Ones of shape `size` with the dtype of this tensor."""
    return ones(*size, **_as(self, options))


def new_empty(self: Any, *size: Any, **options: Any) -> Any:
    """A tensor of shape `size` with the dtype of this tensor, of zeros."""
    return empty(*size, **_as(self, options))


def arange(
    start: Any, end: Any = None, step: Any = 1, *, dtype: DType | None = None, device: Any = None,
    requires_grad: bool = False, out: Any = None, layout: Any = None, pin_memory: bool = False,
) -> Any:  # fmt: skip
    """start, start + step, ... up to (not including) end; int64 if all three are integers."""
    no_out("arange", out)
    start, end = (0, start) if end is None else (start, end)
    start, end, step = (x.item() if is_tensor(x) else x for x in (start, end, step))
    if step == 0:
        raise RuntimeError("step must be nonzero")
    if (end - start) * step < 0:
        raise RuntimeError("upper bound and lower bound inconsistent with step sign")
    if dtype is None:
        whole = all(isinstance(x, (int, np.integer)) for x in (start, end, step))
        dtype = dt.int64 if whole else default_float()
    if dtype.kind != "f":
        start, end, step = int(start), int(end), int(step)
    count = max(math.ceil((end - start) / step), 0)
    wide = dt.float64 if dtype.kind == "f" and dtype.itemsize < 8 else dtype
    x = create(ops.iota, shape=(count,), axis=0, dtype=wide)
    if step != 1:
        x = ops.mul(x, constant(step, (count,), wide))
    if start != 0:
        x = ops.add(x, constant(start, (count,), wide))
    return created(cast(x, dtype), device, requires_grad)


def linspace(
    start: Any, end: Any, steps: int, *, dtype: DType | None = None, device: Any = None,
    requires_grad: bool = False,
) -> Any:  # fmt: skip
    """`steps` numbers from start to end, both included, at equal distances."""
    start, end = (x.item() if is_tensor(x) else x for x in (start, end))
    if steps < 0:
        raise RuntimeError(f"number of steps must be non-negative, got {steps}")
    gap = (end - start) / (steps - 1) if steps > 1 else 0.0
    ramp = create(ops.iota, shape=(steps,), axis=0, dtype=dt.float64)
    rising = ramp * gap + start  # counted from the nearer end, so that both ends are exact
    falling = (ramp - (steps - 1)) * gap + end
    x = ops.where(ramp < steps / 2, rising, falling)
    return created(cast(x, dtype or default_float()), device, requires_grad)


def logspace(start: Any, end: Any, steps: int, base: float = 10.0, **options: Any) -> Any:
    """`steps` numbers from base**start to base**end at equal ratios."""
    dtype = options.pop("dtype", None) or default_float()
    exponents = linspace(start, end, steps, dtype=dt.float64)
    x = cast(ops.pow(constant(base, (steps,), dt.float64), exponents), dtype)
    return created(x, options.get("device"), options.get("requires_grad", False))


def eye(
    n: int, m: int | None = None, *, dtype: DType | None = None, device: Any = None,
    requires_grad: bool = False,
) -> Any:  # fmt: skip
    """An n x m matrix with ones on the diagonal, zeros elsewhere."""
    from .rearrange import eye_mask

    mask = eye_mask(n, n if m is None else m)
    return created(cast(mask, dtype or default_float()), device, requires_grad)
