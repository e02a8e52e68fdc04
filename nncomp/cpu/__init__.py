"""nncomp.cpu: what torch.cpu says about the only device there is."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ..device import require_cpu


def is_available() -> bool:
    """True: tensors live on the CPU."""
    return True


def is_initialized() -> bool:
    """True."""
    return True


def device_count() -> int:
    """1."""
    return 1


def current_device() -> str:
    """'cpu'."""
    return "cpu"


def set_device(device: Any) -> None:
    """Nothing for the CPU; RuntimeError for another device."""
    require_cpu(device)


def synchronize(device: Any = None) -> None:
    """Nothing: operations are complete when they return."""


def __getattr__(name: str) -> Any:
    """The module `amp`, imported when it is first used."""
    if name == "amp":
        return import_module(".amp", __name__)
    raise AttributeError(f"module 'nncomp.cpu' has no attribute '{name}'")


__all__ = [
    "current_device", "device_count", "is_available", "is_initialized", "set_device", "synchronize",
]  # fmt: skip
