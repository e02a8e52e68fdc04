"""Every snippet of the texts in examples/seeds runs as a script, in seconds."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

SEEDS = Path(__file__).parent.parent / "examples" / "seeds"
NAMES = sorted(path.stem for path in SEEDS.glob("*.py"))


def test_all_texts_have_scripts():
    assert {name[:4] for name in NAMES} == {f"s00{i}" for i in range(5)}


@pytest.mark.parametrize("name", NAMES)
def test_script(name, tmp_path):
    path = SEEDS / f"{name}.py"
    text = path.read_text()
    assert re.match(r'"""(A s|S)nippets? of the \w+ text', text)
    assert not re.search(r"^\s*(import|from) torch\b", text, re.M)
    done = subprocess.run(
        [sys.executable, str(path)], capture_output=True, text=True, cwd=tmp_path, timeout=120,
        env={**os.environ, "PYTHONWARNINGS": "error::DeprecationWarning:nncomp"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip()
