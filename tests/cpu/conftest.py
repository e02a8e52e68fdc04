"""Makes the shared data in `tests/` importable when only this folder is run; `--update-golden`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))


def pytest_addoption(parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="write the texts in tests/cpu/golden anew"
    )
