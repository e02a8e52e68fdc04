"""Padding layers of 1, 2 and 3 dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..tensor import Tensor
from . import functional as F
from .module import Module

Widths = int | Sequence[int]


class _Pad(Module):
    """``padding`` (left, right, top, bottom, ...), or one number for all sides."""

    _n: int
    _mode: str

    def __init__(self, padding: Widths) -> None:
        super().__init__()
        sides = 2 * self._n
        self.padding = tuple(padding) if isinstance(padding, Sequence) else (padding,) * sides

    def forward(self, input: Tensor) -> Tensor:
        """Pad the last dimensions of (N, C, *) or (C, *)."""
        return F.pad(input, self.padding, self._mode)

    def extra_repr(self) -> str:
        """Show the widths."""
        return f"{self.padding}"


class _Constant(_Pad):
    def __init__(self, padding: Widths, value: float) -> None:
        super().__init__(padding)
        self.value = value

    def forward(self, input: Tensor) -> Tensor:
        """Pad the last dimensions with ``value``."""
        return F.pad(input, self.padding, "constant", self.value)

    def extra_repr(self) -> str:
        """Show the widths and the value."""
        return f"padding={self.padding}, value={self.value}"


class _Zero(_Constant):
    def __init__(self, padding: Widths) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        """Show the widths."""
        return f"{self.padding}"


class _Circular(_Pad):
    _mode = "circular"

    def forward(self, input: Tensor) -> Tensor:
        """Pad the last dimensions with the values from the other end."""
        low = self._n + 1
        if input.dim() not in (low, low + 1):
            raise ValueError(f"expected {low}D or {low + 1}D input (got {input.dim()}D input)")
        return super().forward(input)


def _layer(name: str, base: type, n: int, doc: str) -> Any:
    """A padding layer of ``n`` dimensions."""
    options = {"_n": n, "__doc__": doc, "__module__": __name__, "__qualname__": name}
    return type(name, (base,), options)


class _Reflection(_Pad):
    _mode = "reflect"


class _Replication(_Pad):
    _mode = "replicate"


ConstantPad1d = _layer("ConstantPad1d", _Constant, 1, "Pads (N, C, L) with a value.")
ConstantPad2d = _layer("ConstantPad2d", _Constant, 2, "Pads (N, C, H, W) with a value.")
ConstantPad3d = _layer("ConstantPad3d", _Constant, 3, "Pads (N, C, D, H, W) with a value.")
ZeroPad1d = _layer("ZeroPad1d", _Zero, 1, "Pads (N, C, L) with zeros.")
ZeroPad2d = _layer("ZeroPad2d", _Zero, 2, "Pads (N, C, H, W) with zeros.")
ZeroPad3d = _layer("ZeroPad3d", _Zero, 3, "Pads (N, C, D, H, W) with zeros.")
ReflectionPad1d = _layer("ReflectionPad1d", _Reflection, 1, "Mirrors (N, C, L) at its ends.")
ReflectionPad2d = _layer("ReflectionPad2d", _Reflection, 2, "Mirrors (N, C, H, W) at its rim.")
ReflectionPad3d = _layer("ReflectionPad3d", _Reflection, 3, "Mirrors (N, C, D, H, W).")
ReplicationPad1d = _layer("ReplicationPad1d", _Replication, 1, "Repeats the ends of (N, C, L).")
ReplicationPad2d = _layer("ReplicationPad2d", _Replication, 2, "Repeats the rim of (N, C, H, W).")
ReplicationPad3d = _layer("ReplicationPad3d", _Replication, 3, "Repeats the rim of 3 dimensions.")
CircularPad1d = _layer("CircularPad1d", _Circular, 1, "Pads (N, C, L) from the other end.")
CircularPad2d = _layer("CircularPad2d", _Circular, 2, "Pads (N, C, H, W) from the other side.")
CircularPad3d = _layer("CircularPad3d", _Circular, 3, "Pads 3 dimensions from the other side.")

__all__ = [
    "CircularPad1d", "CircularPad2d", "CircularPad3d", "ConstantPad1d", "ConstantPad2d",
    "ConstantPad3d", "ReflectionPad1d", "ReflectionPad2d", "ReflectionPad3d", "ReplicationPad1d",
    "ReplicationPad2d", "ReplicationPad3d", "ZeroPad1d", "ZeroPad2d", "ZeroPad3d",
]  # fmt: skip
