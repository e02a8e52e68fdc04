"""examples/export_c: its two commands print the same numbers."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from programs import STRICT, need, run

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "export_c"


def test_c_prints_what_python_prints(tmp_path):
    need("gcc")
    shutil.copy(EXAMPLE / "main.c", tmp_path)
    expected = run([sys.executable, EXAMPLE / "export_models.py"], tmp_path).stdout
    assert len(expected.splitlines()) == 3
    libraries = ("mlp.a", "resnet18.a", "fit.a")
    run(["gcc", *STRICT, "main.c", *libraries, "-o", "main", "-lm"], tmp_path)
    assert run([tmp_path / "main"], tmp_path).stdout == expected


def test_the_build_line_is_the_same_everywhere():
    line = "cc main.c mlp.a resnet18.a fit.a -o main -lm && ./main"
    for name in ("main.c", "README.md", "export_models.py"):
        assert line in (EXAMPLE / name).read_text()
