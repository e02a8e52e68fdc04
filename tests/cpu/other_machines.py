"""Machine code of a test file's convolutions for machines that this one is not, in a process of its
own: LLVM may end the process over what it cannot do."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

from nncomp.backends.cpu.codegen import program_modules
from nncomp.backends.cpu.jit import compile_many
from nncomp.backends.cpu.layout import lower_contractions
from nncomp.backends.cpu.target import Target
from nncomp.ir.graph import Graph
from running import kernel_program

TARGETS = (
    Target("x86_64-unknown-linux-gnu", "x86-64", "", 128, 16),
    Target("x86_64-unknown-linux-gnu", "x86-64-v3", "", 256, 16),
    Target("aarch64-unknown-linux-gnu", "generic", "", 128, 32),
)


def check_code_for_other_machines(name: str) -> None:
    """The module `name` has SHAPES and conv_of(shape) -> (x, w, y)."""
    here = Path(__file__).parent
    paths = [str(here), str(here.parent)]
    code = f"import sys; sys.path[:0] = {paths!r}; import other_machines as o; o.emit({name!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    shapes = importlib.import_module(name).SHAPES
    assert len(done.stdout.split()) == len(TARGETS) * len(shapes)


def emit(name: str) -> None:
    """Print the number of objects for each shape and machine."""
    module = importlib.import_module(name)
    for target in TARGETS:
        for shape in module.SHAPES.values():
            x, w, y = module.conv_of(shape)
            lowered = lower_contractions(Graph("g", [x, w], [y]), target)
            modules, _ = program_modules(kernel_program(lowered), target)
            print(len(compile_many(modules, target, 0, None)))
