"""`nncomp export` in a process of its own, and its mistakes."""

from __future__ import annotations

import subprocess
import sys

import pytest

import nncomp
from nncomp import cli

MODEL = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6, 3)
    def forward(self, x):
        return self.fc(x).relu()
"""


def test_a_model_of_a_file(tmp_path):
    (tmp_path / "model.py").write_text(MODEL)
    nncomp.manual_seed(7)
    layer = nncomp.nn.Linear(6, 3)
    weights = {"fc.weight": layer.weight.detach(), "fc.bias": layer.bias.detach()}
    nncomp.save(weights, tmp_path / "w.pth")
    command = [sys.executable, "-m", "nncomp.cli", "export", "model.py:Net", "--weights", "w.pth",
               "--input", "f32[B,6]", "--batch", "2", "-o", "out/"]  # fmt: skip
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    names = [line.split()[-1] for line in done.stdout.splitlines()]
    assert names == ["out/net.nnc", "out/net.a", "out/net.h", "out/net_example.c"]
    assert all((tmp_path / name).stat().st_size for name in names)
    x = nncomp.randn(2, 6)
    y = nncomp.aot.load(tmp_path / "out" / "net.nnc")(x)
    assert nncomp.allclose(y, layer(x).relu())


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    (
        (["none.py:Net", "--input", "f32[1]"], 2, "there is no file"),
        (["model.py:Net"], 2, "say what it takes"),
        (["model.py:Net", "--input", "f32[1,6]", "-o", "net.dll"], 1, "cannot tell the format"),
        (["model.py:Net", "--input", "f32[1,6]", "--target", "vax"], 1, "unknown target 'vax'"),
        (["model.py:Net", "--input", "f32[1,6]", "--weights", "none.pth"], 1, "none.pth"),
        (["model.py:Net", "--input", "f32[1,7]", "-o", "net.o"], 1, "7"),
    ),
    ids=("file", "input", "format", "target", "weights", "shape"),
)
def test_mistakes(tmp_path, monkeypatch, capsys, arguments, code, words):
    (tmp_path / "model.py").write_text(MODEL.replace("import torch\nfrom torch", "from nncomp"))
    monkeypatch.chdir(tmp_path)
    before = sys.meta_path[:]
    try:
        assert cli.main(["export", *arguments]) == code
    finally:
        sys.meta_path[:] = before
        sys.modules.pop("model", None)
    assert words in capsys.readouterr().err
    assert {p.name for p in tmp_path.iterdir()} <= {"model.py", "__pycache__"}
