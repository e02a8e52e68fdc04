"""Hash functions of Python itself: `hashlib` would load OpenSSL, 9 MB and some 10 ms of each start.

`blake2b` (RFC 7693) is the quicker one; kernels are named by `sha256` (FIPS 180-4). Both are the
functions of `hashlib`, and come from there where this Python has them nowhere else.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any


def _found(name: str, *modules: str) -> Callable[..., Any]:
    for module in (*modules, "hashlib"):
        try:
            return getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError):
            continue
    raise ImportError(f"this Python has no {name}")


blake2b = _found("blake2b", "_blake2")
sha256 = _found("sha256", "_sha2", "_sha256")

__all__ = ["blake2b", "sha256"]
