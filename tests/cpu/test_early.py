"""LLVM is loaded beside other work in a first call that needs it for certain, and only there."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from nncomp.backends.llvm_library import library_path

PROGRAM = """
import sys, threading
import nncomp
from nncomp.backends.cpu import early
began = []
begin = threading.Thread.start
def start(thread):
    began.append(thread.name)
    begin(thread)
threading.Thread.start = start
f = nncomp.compile(lambda x: x * 2.0 + 1.0)
assert "nncomp-load" not in began, began
y = f(nncomp.ones(5))
print(y.tolist()[0], "nncomp-load" in began, "llvmlite.binding" in sys.modules)
"""


def run(folder) -> str:
    env = {**os.environ, "NNCOMP_CACHE": "1", "NNCOMP_CACHE_DIR": str(folder)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.skipif(sys.platform != "linux", reason="what is known of a machine is kept on Linux")
def test_llvm_is_loaded_in_a_thread_only_where_nothing_is_known(tmp_path):
    assert run(tmp_path) == "3.0 True True"
    assert run(tmp_path) == "3.0 False False"  # from the cache


def test_the_library_is_the_one_that_llvmlite_loads():
    path = library_path()
    assert path is not None and os.path.basename(path).startswith("libllvmlite.")
    if sys.platform == "linux":
        program = "from nncomp.backends.cpu.early import open_library as o; o(); o();" + (
            "print('libllvmlite' in open('/proc/self/maps').read())"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        assert done.stdout.strip() == "True", done.stderr
