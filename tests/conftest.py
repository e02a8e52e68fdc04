"""Settings of all tests: with NNCOMP_REQUIRE_PARITY=1, a missing torch is an error, not a skip."""

from __future__ import annotations

import importlib
import os

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Stop at once if comparisons with torch are required but would be skipped."""
    if os.environ.get("NNCOMP_REQUIRE_PARITY", "0") in ("", "0"):
        return
    try:
        importlib.import_module("torch")
    except ImportError as error:
        raise pytest.UsageError(
            f"NNCOMP_REQUIRE_PARITY is set, but torch cannot be imported ({error}); "
            'install it with pip install -e ".[test,parity]"'
        ) from error
