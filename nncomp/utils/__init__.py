"""Helpers that are not part of the tensor or layer namespaces (torch.utils).

``data`` is imported when it is first used: tensors need ``hooks``, and data needs tensors.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from . import hooks


def __getattr__(name: str) -> Any:
    """Import ``data`` on first use."""
    if name == "data":
        return import_module(".data", __name__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = ["hooks"]
