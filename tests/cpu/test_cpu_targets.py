"""Kernels for machines other than this one: lower levels of x86-64 run here, the rest is emitted.

Emission runs in a process of its own, because LLVM ends the process for code it cannot select.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from nncomp.backends.cpu import target as targets
from nncomp.ir.interpret import interpret
from op_samples import SAMPLES, make_operands, sample_graph
from running import assert_same, run_kernels

ROWS = [s for s in SAMPLES if s.op not in ("fused", "get", "call")]

EMIT = """
import sys
sys.path[:0] = sys.argv[2:]
from nncomp.backends.cpu.codegen import program_modules
from nncomp.backends.cpu.jit import compile_many
from nncomp.backends.cpu.target import Target
from op_samples import SAMPLES, sample_graph
from running import kernel_program

TARGETS = {
    "x86-64": Target("x86_64-unknown-linux-gnu", "x86-64", "", 128, 16),
    "x86-64-v3": Target("x86_64-unknown-linux-gnu", "x86-64-v3", "", 256, 16),
    "x86-64-v4": Target("x86_64-unknown-linux-gnu", "x86-64-v4", "", 512, 32),
    "aarch64": Target("aarch64-unknown-linux-gnu", "generic", "", 128, 32),
}
target, texts = TARGETS[sys.argv[1]], {}
for sample in SAMPLES:
    if sample.op not in ("fused", "get", "call"):
        for dtype in ("f32", "f64", "f16", "bf16") if "T" in sample.dtypes else ("f32",):
            modules, _ = program_modules(kernel_program(sample_graph(sample, dtype)), target)
            texts.update(dict.fromkeys(modules))
objects = compile_many(list(texts), target, 0, None)
print(len(objects), min(map(len, objects)))
"""


@pytest.mark.parametrize("name", ("x86-64", "x86-64-v3", "x86-64-v4", "aarch64"))
def test_every_sample_has_code_for(name):
    here = Path(__file__).parent
    command = [sys.executable, "-c", EMIT, name, str(here), str(here.parent)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    count, smallest = map(int, done.stdout.split())
    assert count > 400 and smallest > 100


@pytest.mark.parametrize("dtype", ("f32", "f16", "bf16"))
@pytest.mark.parametrize("level", ("baseline", "avx2"))
def test_lower_levels_compute_the_same(level, dtype):
    try:
        target = targets._target_at(level)
    except ValueError as error:
        pytest.skip(str(error))
    for sample in ROWS[:: 1 if dtype == "f32" else 3]:
        graph = sample_graph(sample, dtype)
        arrays = make_operands(sample, np.random.default_rng(2), dtype)
        scale = max(1.0, 4 * sample.tol / 1e-5)
        assert_same(run_kernels(graph, arrays, target), interpret(graph, *arrays), scale)
