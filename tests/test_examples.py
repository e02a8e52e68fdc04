"""Each example trains a few steps compiled and eagerly, and exits with 0 only if they agree.

The README's example runs too, and the switches it lists are those that the code reads.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
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


def test_the_example_of_the_readme(tmp_path):
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    script = tmp_path / "example.py"
    script.write_text(block)
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, cwd=tmp_path, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert float(re.search(r"test accuracy ([\d.]+)%", done.stdout)[1]) > 90
    assert (tmp_path / "mlp.params").stat().st_size > 64 * 256 * 4


def test_the_readme_lists_the_switches():
    from nncomp.ir.debug import debug

    text = (ROOT / "README.md").read_text()
    rows = [line for line in debug.table().splitlines()[2:] if line not in text]
    assert not rows, "rows of ir.debug's table that the README lacks:\n" + "\n".join(rows)
    listed = set(re.findall(r"^\| `(NNCOMP_\w+)`", text, re.M))
    switches = set(re.findall(r"`(NNCOMP_\w+)`", debug.table()))
    quoted = re.compile(r"""["'](NNCOMP_[A-Z_]+)["']""")
    for folder in ("ir", "backends", "nncomp"):
        for path in (ROOT / folder).rglob("*.py"):
            switches |= set(quoted.findall(path.read_text()))
    assert listed == switches
