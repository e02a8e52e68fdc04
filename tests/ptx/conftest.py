"""Makes the shared data in `tests/` importable, and runs PTX on the interpreter."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))


@pytest.fixture(autouse=True)
def simulator(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs compiled for GPUs run on the PTX interpreter."""
    monkeypatch.setenv("NNCOMP_PTX_DEVICE", "simulator")
