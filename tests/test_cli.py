"""The nncomp command: info, a short demo in a process of its own, and its parts."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from importlib import metadata

import pytest

from nncomp import cli, demo
from nncomp.progress import Progress


def command(*arguments, **environment):
    """Run `nncomp ...` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "nncomp.cli", *arguments],
        capture_output=True, text=True, timeout=300, env={**os.environ, **environment},
    )  # fmt: skip


def test_the_entry_point_is_main():
    (entry,) = metadata.entry_points(group="console_scripts", name="nncomp")
    assert entry.load() is cli.main


def test_info(tmp_path):
    done = command("info", NNCOMP_THREADS="3", NNCOMP_CACHE_DIR=str(tmp_path / "kept"))
    assert done.returncode == 0, done.stderr
    rows = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert rows["nncomp"] == metadata.version("nncomp")
    assert rows["numpy"] == metadata.version("numpy")
    assert rows["threads"].startswith("3 of ")
    assert rows["cache"].startswith(str(tmp_path / "kept"))
    assert not (tmp_path / "kept").exists()  # asking creates nothing


def test_info_says_what_is_wrong_with_a_switch():
    done = command("info", NNCOMP_ISA="sse9")
    assert done.returncode == 1
    assert done.stderr.startswith("nncomp info: NNCOMP_ISA is 'sse9'; expected one of")


@pytest.mark.parametrize(
    "arguments",
    [
        ["demo", "--epochs", "0"], ["demo", "--lr", "nan"], ["demo", "--batch-size", "x"],
        ["demo", "--threads", "0"], [], ["train"],
    ],
)  # fmt: skip
def test_bad_arguments_exit_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    assert stopped.value.code == 2
    assert "usage: nncomp" in capsys.readouterr().err


def test_demo(tmp_path):
    done = command("demo", "--epochs", "2", "--threads", "1", NNCOMP_CACHE_DIR=str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    text = done.stdout
    assert done.stderr == ""  # no progress bar where nobody looks
    losses = [float(x) for x in re.findall(r"epoch +\d+ +loss ([\d.]+)", text)]
    assert len(losses) == 2 and losses[1] < losses[0] < 2.4
    recorded, passed = map(int, re.findall(r"training step, .*: (\d+) operations", text))
    assert recorded > 10 and passed > 0
    assert re.search(r"compiled in [\d.]+ s", text)
    assert float(re.search(r"test accuracy ([\d.]+)%", text)[1]) >= 90
    assert "the loaded model says the same" in text
    for name in ("compiled", "eager"):
        best, median = re.search(rf"{name} +best ([\d.]+) ms, median ([\d.]+) ms", text).groups()
        assert 0 < float(best) <= float(median)
    assert re.search(r"compiled is [\d.]+ times as fast", text)


def test_demo_refuses_batches_that_are_too_large(capsys):
    assert cli.main(["demo", "--batch-size", "2000"]) == 1
    assert "more than the 1437 training images" in capsys.readouterr().out


def test_verdict(capsys):
    assert demo.verdict(0.97, True) == 0
    assert capsys.readouterr().out == ""
    assert demo.verdict(0.89, True) == 1
    assert "89.0% is below 90%" in capsys.readouterr().out
    assert demo.verdict(float("nan"), True) == 1
    assert demo.verdict(0.97, False) == 1
    assert "gives other results" in capsys.readouterr().out


def test_reload_notices_a_difference(monkeypatch, capsys):
    assert demo.reload_is_same(demo.MLP(64))
    monkeypatch.setattr(demo.MLP, "load_state_dict", lambda self, state: None)
    assert not demo.reload_is_same(demo.MLP(64))


def test_excerpt_keeps_both_ends():
    text = "\n".join(f"line {i}" for i in range(100)) + "\n"
    rows = demo.excerpt(text, 12).splitlines()
    assert len(rows) == 12
    assert rows[0] == "line 0" and rows[-1] == "line 99"
    assert rows[8] == "  ... 89 more lines ..."
    assert demo.excerpt("a\nb\n", 12) == "a\nb"
    assert len(demo.excerpt("x" * 1000)) == demo.LINE_WIDTH


def test_without_bodies_keeps_the_nodes_of_the_graph_itself():
    text = """graph g(x: f32[2]) {
  fused_0 = fused(x, kind='map') : (f32[2]) {   # a.py:1
    body = graph neg(x0: f32[2]) {
      neg_0 = neg(x0) : f32[2]
      return neg_0
    }
  }
  exp_0 = exp(fused_0[0]) : f32[2]
  return exp_0
}
"""
    assert [row.split()[0] for row in demo.without_bodies(text).splitlines()] == [
        "graph", "fused_0", "exp_0", "return", "}",
    ]  # fmt: skip


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


def test_progress_draws_only_on_a_terminal(capsys):
    terminal, file = Terminal(), io.StringIO()
    for stream in (terminal, file):
        with Progress(4, stream) as progress:
            for _ in range(2):
                progress.advance("busy")
            progress.line("half")
            assert progress.text() == "[" + "#" * 15 + "." * 15 + "]  50%"
    assert file.getvalue() == ""
    assert " 25% busy" in terminal.getvalue()
    assert terminal.getvalue().endswith("\r\x1b[K")
    assert capsys.readouterr().out == "half\nhalf\n"
