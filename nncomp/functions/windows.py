"""Window functions of signal processing, as vectors."""

from __future__ import annotations

import math
from typing import Any

from ..ir import ops
from ..ir import types as dt
from .base import constant, create, default_float
from .creation import _known
from .placing import created
from .promotion import cast
from .special import i0
from .unary import abs, cos, sqrt


def _ramp(name: str, length: int, periodic: bool, options: dict) -> tuple:
    """(places 0 ... length - 1 as float64, the number that is the window's end, how to finish)."""
    dtype = options.pop("dtype", None) or default_float()
    rest = _known(name, options)
    if dtype.kind != "f":
        raise RuntimeError(f"{name} expects floating point dtypes, got: {dtype}")
    if length < 0:
        raise RuntimeError(f"{name} requires non-negative window_length, got {length}")
    places = create(ops.iota, shape=(length,), axis=0, dtype=dt.int64)
    end = length if periodic else length - 1

    def finish(x: Any) -> Any:
        value = constant(1, (length,), dtype) if length < 2 else cast(x, dtype)
        return created(value, rest.get("device"), rest.get("requires_grad", False))

    return cast(places, dt.float64), max(end, 1), finish


def hann_window(window_length: int, periodic: bool = True, **options: Any) -> Any:
    """Half a cosine up and down: (1 - cos) / 2."""
    x, end, finish = _ramp("hann_window", window_length, periodic, options)
    return finish(0.5 - 0.5 * cos(x * (2 * math.pi / end)))


def hamming_window(
    window_length: int, periodic: bool = True, alpha: float = 0.54, beta: float = 0.46,
    **options: Any,
) -> Any:  # fmt: skip
    """alpha - beta cos."""
    x, end, finish = _ramp("hamming_window", window_length, periodic, options)
    return finish(alpha - beta * cos(x * (2 * math.pi / end)))


def blackman_window(window_length: int, periodic: bool = True, **options: Any) -> Any:
    """0.42 - 0.5 cos + 0.08 cos of twice the angle."""
    x, end, finish = _ramp("blackman_window", window_length, periodic, options)
    angle = x * (2 * math.pi / end)
    return finish(0.42 - 0.5 * cos(angle) + 0.08 * cos(angle * 2))


def bartlett_window(window_length: int, periodic: bool = True, **options: Any) -> Any:
    """A triangle."""
    x, end, finish = _ramp("bartlett_window", window_length, periodic, options)
    return finish(1 - abs(x * (2 / end) - 1))


def kaiser_window(
    window_length: int, periodic: bool = True, beta: float = 12.0, **options: Any
) -> Any:
    """i0(beta sqrt(1 - t^2)) / i0(beta) for t from -1 to 1."""
    x, end, finish = _ramp("kaiser_window", window_length, periodic, options)
    t = x * (2 / end) - 1
    inside = 1 - t * t
    inside = ops.maximum(inside, constant(0.0, tuple(inside.shape), dt.float64))
    return finish(i0(sqrt(inside) * beta) / i0(constant(beta, (), dt.float64)))
