"""Switches of torch that are remembered, or have one honest answer, on the CPU."""

from __future__ import annotations

import warnings

_remembered = {"interop": 1, "warn_always": False, "anomaly": False, "check_nan": True}

has_lapack, has_mkl, has_openmp, has_spectral = True, False, False, False


def get_num_interop_threads() -> int:
    """What set_num_interop_threads() was last called with; operations run one after the other."""
    return _remembered["interop"]


def set_num_interop_threads(n: int) -> None:
    """Remember `n`; operations run one after the other anyway."""
    if n < 1:
        raise RuntimeError("Expected a positive number of threads")
    _remembered["interop"] = int(n)


def set_flush_denormal(mode: bool) -> bool:
    """False: small numbers are never flushed to zero."""
    return False


def set_warn_always(b: bool) -> None:
    """Show every warning, not only the first of each line."""
    _remembered["warn_always"] = bool(b)
    if b:
        warnings.simplefilter("always")


def is_warn_always_enabled() -> bool:
    """What set_warn_always() was last called with."""
    return bool(_remembered["warn_always"])


def is_deterministic_algorithms_warn_only_enabled() -> bool:
    """False: all operations are deterministic."""
    return False


def get_deterministic_debug_mode() -> int:
    """0: all operations are deterministic, so that none is reported."""
    return 0


def set_deterministic_debug_mode(debug_mode: int | str) -> None:
    """Nothing: all operations are deterministic."""


def is_anomaly_enabled() -> bool:
    """False: there is no anomaly mode."""
    return False


def is_anomaly_check_nan_enabled() -> bool:
    """False: there is no anomaly mode."""
    return False


def is_vulkan_available() -> bool:
    """False: tensors live on the CPU."""
    return False


def compiled_with_cxx11_abi() -> bool:
    """True, as for current builds of torch; nothing here is compiled by C++."""
    return True


__all__ = [
    "compiled_with_cxx11_abi",
    "get_deterministic_debug_mode", "get_num_interop_threads", "has_lapack", "has_mkl",
    "has_openmp", "has_spectral", "is_anomaly_check_nan_enabled", "is_anomaly_enabled",
    "is_deterministic_algorithms_warn_only_enabled", "is_vulkan_available",
    "is_warn_always_enabled", "set_deterministic_debug_mode", "set_flush_denormal",
    "set_num_interop_threads", "set_warn_always",
]  # fmt: skip
