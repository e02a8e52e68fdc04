"""nncomp.cuda: what torch.cuda answers without a GPU, as tensors live on the CPU."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ..device import require_cpu


def is_available() -> bool:
    """False: tensors live on the CPU."""
    return False


def is_initialized() -> bool:
    """False."""
    return False


def device_count() -> int:
    """0."""
    return 0


def is_bf16_supported() -> bool:
    """False."""
    return False


def current_device() -> int:
    """RuntimeError: there is no CUDA device."""
    require_cpu("cuda")
    return -1


def get_device_name(device: Any = None) -> str:
    """RuntimeError: there is no CUDA device."""
    require_cpu("cuda" if device is None else device)
    return ""


def set_device(device: Any) -> None:
    """RuntimeError: there is no CUDA device."""
    require_cpu(device if isinstance(device, (str, int)) else "cuda")


def manual_seed(seed: int) -> None:
    """Nothing: there is no CUDA generator to seed (torch ignores it too)."""


def manual_seed_all(seed: int) -> None:
    """Nothing: there is no CUDA generator to seed (torch ignores it too)."""


def empty_cache() -> None:
    """Nothing: no CUDA memory is cached."""


def synchronize(device: Any = None) -> None:
    """Nothing: operations are complete when they return."""


def memory_allocated(device: Any = None) -> int:
    """0: no CUDA memory is in use."""
    return 0


def max_memory_allocated(device: Any = None) -> int:
    """0: no CUDA memory was in use."""
    return 0


def __getattr__(name: str) -> Any:
    """The module `amp`, imported when it is first used."""
    if name == "amp":
        return import_module(".amp", __name__)
    raise AttributeError(f"module 'nncomp.cuda' has no attribute '{name}'")
