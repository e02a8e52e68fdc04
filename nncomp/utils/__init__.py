"""Helpers that are not part of the tensor or layer namespaces (torch.utils).

``data``, ``checkpoint`` and ``dlpack`` are imported when they are first used: tensors need
``hooks``, and they need tensors.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from . import hooks

_LATE = ("checkpoint", "data", "dlpack")


def __getattr__(name: str) -> Any:
    """Import what needs tensors on first use."""
    if name in _LATE:
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = ["hooks"]
