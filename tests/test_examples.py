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
SCRIPTS = {p.stem: p.read_text() for p in sorted(EXAMPLES.glob("*.py")) if p.stem != "compare"}
TRAINING = [name for name, text in SCRIPTS.items() if "train_both(" in text]
LONGEST = 120  # lines


def test_there_are_examples():
    assert len(TRAINING) >= 5
    too_long = [name for name, text in SCRIPTS.items() if len(text.splitlines()) >= LONGEST]
    assert not too_long


def run(path, *arguments, folder):
    """The finished process of a script, which must succeed."""
    done = subprocess.run(
        [sys.executable, str(path), *arguments],
        capture_output=True, text=True, cwd=folder, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.mark.parametrize("name", TRAINING)
def test_training_example(name, tmp_path):
    done = run(EXAMPLES / f"{name}.py", "--quick", folder=tmp_path)
    assert "largest relative difference" in done.stdout


@pytest.mark.parametrize("name", [name for name in SCRIPTS if name not in TRAINING])
def test_other_example(name, tmp_path):
    quick = ["--quick"] if '"--quick"' in SCRIPTS[name] else []
    assert run(EXAMPLES / f"{name}.py", *quick, folder=tmp_path).stdout


@pytest.mark.parametrize("mode", [(), ("--train",)], ids=["calls", "steps"])
def test_architectures_against_torch(mode, tmp_path):
    pytest.importorskip("torch")
    script = EXAMPLES / "architectures" / "against_torch.py"
    lines = run(script, *mode, "recommender", folder=tmp_path).stdout.splitlines()
    assert lines[0].startswith("recommender") and "geometric mean of 1" in lines[-1]
    assert float(lines[0].split()[-1]) < 1e-5


def test_the_gpt_over_characters_learns_and_writes(tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("the cat sat on the mat, and the dog lay by the door. " * 40)
    arguments = ("--quick", "--text", str(text), "--steps", "120")
    lines = run(EXAMPLES / "char_gpt.py", *arguments, folder=tmp_path).stdout.splitlines()
    losses = [float(line.split()[3]) for line in lines if line.startswith("step")]
    assert len(losses) == 10 and losses[0] > 2 and losses[-1] < 0.6
    assert re.search("the (cat|mat|dog|door)", lines[-1])


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
    done = run(script, folder=tmp_path)
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
