"""LLVM's pages are given up after large compilations, and LLVM works on."""

from __future__ import annotations

import subprocess
import sys

import pytest
from nncomp.backends.cpu import jit, library_pages
from nncomp.backends.cpu.target import host_target

import nncomp as torch

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

TEXT = "define float @f(float %x) {{ %y = fadd float %x, {} ret float %y }}"

DROP = """
from nncomp.backends.cpu import jit, library_pages
from nncomp.backends.cpu.target import host_target
def resident():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) << 10 for line in file if line.startswith("VmRSS"))
assert library_pages.drop_library_pages() == 0  # not loaded yet
text = "define float @f(float %x) { %y = fadd float %x, %x ret float %y }"
first = jit.compile_to_object(text, host_target())
before = resident()
assert library_pages.drop_library_pages() > 50 << 20
assert before - resident() > 10 << 20
assert jit.compile_to_object(text, host_target()) == first
"""


def test_the_pages_go_and_llvm_works_on():
    done = subprocess.run([sys.executable, "-c", DROP], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_pages_of_this_process_stay(monkeypatch):
    jit.compile_to_object(TEXT.format("1.0"), host_target())
    monkeypatch.setattr(library_pages, "_OF_FILE", library_pages._PRESENT & ~library_pages._PRESENT)
    assert library_pages.drop_library_pages() == 0  # as if all pages were written to


def test_large_programs_drop_them_and_small_ones_do_not(monkeypatch):
    calls = []
    monkeypatch.setattr(library_pages, "drop_library_pages", lambda: calls.append(1) or 0)
    monkeypatch.setattr(library_pages, "LARGE", 1 << 14)
    with torch.no_grad():
        torch.compile(lambda x: x * 1.2345)(torch.ones(100))
        assert not calls
        torch.compile(lambda x: x * 1.2345)(torch.ones(100, 100))
        assert calls == [1]


def test_files_that_are_no_libraries(tmp_path, monkeypatch):
    file = tmp_path / "libllvmlite.so"
    for content in (b"", b"#!text", b"\x7fELF\x02\x01" + bytes(20)):
        file.write_bytes(content)
        monkeypatch.setattr(library_pages, "library_path", lambda: str(file))
        assert library_pages.drop_library_pages() == 0
