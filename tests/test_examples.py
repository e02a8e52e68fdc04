"""Each example trains a few steps compiled and eagerly, and exits with 0 only if they agree."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
NAMES = sorted(p.stem for p in EXAMPLES.glob("*.py") if p.stem != "compare")
LONGEST = 120  # lines


def test_there_are_examples():
    assert len(NAMES) >= 5


@pytest.mark.parametrize("name", NAMES)
def test_example(name, tmp_path):
    path = EXAMPLES / f"{name}.py"
    assert len(path.read_text().splitlines()) < LONGEST
    done = subprocess.run(
        [sys.executable, str(path), "--quick"],
        capture_output=True, text=True, cwd=tmp_path, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "largest relative difference" in done.stdout


def test_a_difference_is_noticed(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import compare

    import nncomp as torch

    monkeypatch.setattr(compare, "train_eager", lambda *_: [1.0, 0.5])
    model = torch.nn.Linear(2, 2)
    for compiled, code in [([1.0, 0.5004], 0), ([1.0, 0.502], 1), ([1.0, float("nan")], 1)]:
        monkeypatch.setattr(compare, "train_compiled", lambda *_, losses=compiled: losses)
        assert compare.train_both(model, [None, None], None) == code
