"""Exports that cannot succeed: a clear error, and the folder as it was."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from nncomp.backends.cpu.aot import linker
from programs import seed_mlp

import nncomp
from nncomp import nn
from nncomp.aot.export import write
from nncomp.trace_error import TraceError


@pytest.fixture
def folder(tmp_path):
    """A folder with an older export, which every failure must leave alone."""
    for name in ("net.o", "net.h", "net_example.c"):
        (tmp_path / name).write_text(f"old {name}")
    yield tmp_path
    left = {p.name: p.read_text() for p in tmp_path.iterdir()}
    assert left == {name: f"old {name}" for name in ("net.o", "net.h", "net_example.c")}


@pytest.mark.parametrize(
    ("options", "words"),
    (
        ({"target": "z80-cpm"}, "unknown target 'z80-cpm': expected 'host' or one of x86_64-linux"),
        ({"cpu": "pentium"}, "cpu='pentium': expected one or more of"),
        ({"cpu": ()}, "expected one or more of"),
        ({"target": "aarch64-linux", "cpu": "avx2"}, "expected one or more of baseline"),
        ({"weights": "away"}, "'embed' or 'file'"),
        ({"prepare": "never"}, "'export' or 'start'"),
        ({"threads": 0}, "positive integer"),
        ({"threads": True}, "positive integer"),
        ({"format": "nnc", "weights": "file"}, "a file .nnc holds its constants"),
        ({"format": "dll"}, "cannot tell the format"),
        ({"name": "1net"}, "a C identifier"),
        ({"name": "for"}, "a C identifier"),
        ({"target": "wasm32", "threads": 2}, "run on one thread"),
        ({"target": "aarch64-linux", "format": "wasm"}, "is for the target wasm32"),
    ),
    ids=lambda v: "-".join(f"{k}={x}" for k, x in v.items()) if isinstance(v, dict) else "",
)
def test_wrong_options(folder, options, words):
    model, x = seed_mlp()
    with pytest.raises(ValueError, match=words):
        nncomp.aot.export(model, x, folder / "net.o", **options)


def test_wrong_models(folder):
    x = nncomp.ones(3)

    class Sums(nn.Module):
        def __init__(self):
            super().__init__()
            self.total = nn.Parameter(nncomp.zeros(3))

        def forward(self, x):
            if x.sum().item() > 0:
                x = -x
            return x

    cases = [
        (Sums(), TraceError, "item"),
        (lambda x: x.add_(1), ValueError, "writes into its argument 'x'"),
        (3, TypeError, "a Module or a function, got int"),
        (lambda x: {1, 2}, TypeError, "set"),
    ]
    for model, error, words in cases:
        with pytest.raises(error, match=words):
            nncomp.aot.export(model, x, folder / "net.o")
    parameter = Sums()
    with pytest.raises(ValueError, match=r"return a clone\(\)"):
        nncomp.aot.export(lambda x: parameter.total, x, folder / "net.o")


def test_unwritable_places(folder):
    model, x = seed_mlp()
    with pytest.raises(FileNotFoundError, match="folder of"):
        nncomp.aot.export(model, x, folder / "none" / "net.o")
    if sys.platform == "linux":
        with pytest.raises(OSError):
            nncomp.aot.export(model, x, "/proc/net.o")
    if os.geteuid():
        folder.chmod(0o555)
        try:
            with pytest.raises(PermissionError):
                nncomp.aot.export(model, x, folder / "net.o")
        finally:
            folder.chmod(0o755)


def test_one_file_that_cannot_be_replaced_keeps_the_others(folder):
    def broken(path: str) -> None:
        raise OSError(28, "No space left on device")

    files = {str(folder / "net.o"): b"new", str(folder / "net.h"): broken}
    with pytest.raises(OSError, match="No space left"):
        write(files)


FULL = """
import resource, signal, sys, nncomp
from nncomp import nn
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
model = nn.Linear(400, 400).eval()
nncomp.aot.export(model, nncomp.ones(1, 400), sys.argv[2] + "/warm.nnc")
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    nncomp.aot.export(model, nncomp.ones(1, 400), sys.argv[1] + "/net.o")
except OSError as error:
    print("refused", error.errno)
"""


def test_a_full_disk(folder, tmp_path_factory):
    other = tmp_path_factory.mktemp("other")
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(folder), str(other)],
        capture_output=True, text=True, timeout=120, env={**os.environ, "NNCOMP_CACHE": "0"},
    )  # fmt: skip
    assert done.stdout.startswith("refused"), done.stderr


def test_without_a_linker(folder, monkeypatch):
    model, x = seed_mlp()
    monkeypatch.setattr(linker.shutil, "which", lambda name: None)
    monkeypatch.setattr(linker.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RuntimeError, match="install gcc, clang or lld, or the Python package zig"):
        nncomp.aot.export(model, x, folder / "net.so")


def test_a_linker_that_fails(folder, monkeypatch):
    model, x = seed_mlp()
    broken = [sys.executable, "-c", "raise SystemExit(2)"]
    monkeypatch.setattr(linker, "_command", lambda *a: broken)
    with pytest.raises(RuntimeError, match="cannot link net.so"):
        nncomp.aot.export(model, x, folder / "net.so")


def test_too_many_constants(folder, monkeypatch):
    from nncomp.backends.cpu.aot import object_file

    model, x = seed_mlp()
    monkeypatch.setattr(object_file, "MOST", 1 << 20)
    with pytest.raises(ValueError, match="2 MB of constants are too many"):
        nncomp.aot.export(model, x, folder / "net.o")
