"""autocast: matrix products and convolutions on rounded operands, losses in float32.

The lists of functions are those of torch's autocast for the CPU (`functions/autocasting.py` does
the casts). The mode belongs to a thread, and compiled programs to the mode they were made in.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from ..autograd.modes import state
from ..device import device
from ..functions.promotion import cast
from ..ir import DType
from ..ir.types import bfloat16, float16, float64
from ..tensor import Tensor

_SUPPORTED = (bfloat16, float16)


class autocast:  # noqa: N801  (torch's name)
    """A context manager and decorator in which functions choose the dtype they compute in.

    In `autocast("cpu", dtype=bfloat16)` matrix products, convolutions and attention round float
    operands to `dtype` (bfloat16 or float16, else a warning and no effect) and give results in it;
    losses and functions that need it compute in float32; all others keep the dtype of their
    operands. float64 is never touched. Put it around forward and loss, not around backward().
    Casts of parameters are kept until the outermost context ends, unless `cache_enabled` is False.
    Other devices than "cpu" warn that they are not there; RuntimeError for unknown ones.
    (Mixed precision training: Micikevicius et al., 2018.)
    """

    def __init__(
        self, device_type: str, dtype: DType | None = None, enabled: bool = True,
        cache_enabled: bool | None = None,
    ) -> None:  # fmt: skip
        _check_device(device_type)
        self.device = device_type
        self.fast_dtype = get_autocast_dtype(device_type) if dtype is None else dtype
        self._enabled = bool(enabled)
        self._cache_enabled = cache_enabled is None or bool(cache_enabled)
        self._saved: list[tuple] = []
        if self._enabled and device_type != "cpu":
            warnings.warn(
                f"User provided device_type of '{device_type}', but there is no such device. "
                "Disabling",
                stacklevel=2,
            )
            self._enabled = False
        elif self._enabled and self.fast_dtype not in _SUPPORTED:
            warnings.warn(
                "In CPU autocast, but the target dtype is not supported. Disabling autocast.\n"
                "CPU Autocast only supports dtypes of torch.bfloat16, torch.float16 currently.",
                stacklevel=2,
            )
            self._enabled = False

    def __enter__(self) -> autocast:
        self._saved.append((state.autocast, state.autocast_dtype, state.autocast_cache))
        if self.device == "cpu":
            state.autocast = self.fast_dtype if self._enabled else None
            state.autocast_dtype = self.fast_dtype
            if not self._cache_enabled:
                state.autocast_cache = None
            elif state.autocast_cache is None:
                state.autocast_cache = {}
        return self

    def __exit__(self, *error: Any) -> None:
        state.autocast, state.autocast_dtype, state.autocast_cache = self._saved.pop()

    def __call__(self, function: Callable) -> Callable:
        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with self:
                return function(*args, **kwargs)

        return wrapped


def present() -> autocast:
    """A context manager that brings back the mode of this moment."""
    return autocast("cpu", dtype=state.autocast_dtype, enabled=state.autocast is not None)


def _check_device(device_type: Any) -> None:
    if not isinstance(device_type, str):
        raise ValueError(f"Expected `device_type` of type `str`, got: `{type(device_type)}`")
    device(device_type)  # RuntimeError for one that torch does not know


def is_autocast_available(device_type: str) -> bool:
    """True for "cpu"."""
    _check_device(device_type)
    return device_type == "cpu"


def is_autocast_enabled(device_type: str | None = None) -> bool:
    """True inside `autocast` for "cpu"; False for other devices, and "cuda" is the default."""
    return device_type == "cpu" and state.autocast is not None


def is_autocast_cpu_enabled() -> bool:
    """True inside `autocast("cpu")`."""
    return state.autocast is not None


def get_autocast_dtype(device_type: str) -> DType:
    """The dtype that `autocast` for this device takes by default: that of the innermost one."""
    _check_device(device_type)
    if device_type == "cpu":
        return state.autocast_dtype
    return float16


def get_autocast_cpu_dtype() -> DType:
    """get_autocast_dtype("cpu")."""
    return state.autocast_dtype


def is_autocast_cache_enabled() -> bool:
    """True unless inside of `autocast` with `cache_enabled=False`."""
    return state.autocast is None or state.autocast_cache is not None


def clear_autocast_cache() -> None:
    """Forget the casts of parameters that are kept inside of `autocast`."""
    if state.autocast_cache is not None:
        state.autocast_cache.clear()


# -- custom Functions -----------------------------------------------------------------------------


def custom_fwd(
    fwd: Callable | None = None, *, device_type: str, cast_inputs: DType | None = None
) -> Callable:
    """A decorator of `forward` of an autograd.Function, so that it behaves inside of autocast.

    With `cast_inputs` float operands are cast and the body runs without autocast; otherwise it
    runs in the mode of the caller. `custom_bwd` gives backward the same mode.
    """
    if fwd is None:
        return functools.partial(custom_fwd, device_type=device_type, cast_inputs=cast_inputs)
    _check_device(device_type)

    @functools.wraps(fwd)
    def wrapped(ctx: Any, *args: Any, **kwargs: Any) -> Any:
        enabled = is_autocast_enabled(device_type)
        ctx._autocast_dtype = get_autocast_dtype(device_type)
        ctx._autocast_enabled = enabled and cast_inputs is None
        if not enabled or cast_inputs is None:
            return fwd(ctx, *args, **kwargs)
        with autocast(device_type, enabled=False):
            return fwd(ctx, *_all_cast(args, cast_inputs), **_all_cast(kwargs, cast_inputs))

    return wrapped


def custom_bwd(bwd: Callable | None = None, *, device_type: str) -> Callable:
    """A decorator of `backward` of an autograd.Function: it runs in the mode of `forward`."""
    if bwd is None:
        return functools.partial(custom_bwd, device_type=device_type)
    _check_device(device_type)

    @functools.wraps(bwd)
    def wrapped(ctx: Any, *args: Any, **kwargs: Any) -> Any:
        dtype, enabled = ctx._autocast_dtype, ctx._autocast_enabled
        with autocast(device_type, dtype=dtype, enabled=enabled):
            return bwd(ctx, *args, **kwargs)

    return wrapped


def _all_cast(value: Any, dtype: DType) -> Any:
    """Float tensors but float64 as `dtype`, also in lists, tuples and dicts."""
    if isinstance(value, Tensor):
        fits = value.dtype.kind == "f" and value.dtype is not float64
        return cast(value, dtype) if fits else value
    if isinstance(value, Mapping):
        return {k: _all_cast(v, dtype) for k, v in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_all_cast(v, dtype) for v in value)
    return value


__all__ = [
    "autocast", "clear_autocast_cache", "custom_bwd", "custom_fwd", "get_autocast_cpu_dtype",
    "get_autocast_dtype", "is_autocast_available", "is_autocast_cache_enabled",
    "is_autocast_cpu_enabled", "is_autocast_enabled",
]  # fmt: skip
