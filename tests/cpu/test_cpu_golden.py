"""The fused graph, the program and the kernels of three small models, as text.

A change of fusion, planning or lowering shows here as a difference one can read. After a wanted
change run `pytest tests/cpu/test_cpu_golden.py --update-golden` and look at the diff.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from nncomp.backends.cpu.pipeline import cpu_pipeline, kernel_pipeline
from nncomp.backends.cpu.target import Target
from nncomp.ir.parser import parse_graph
from nncomp.ir.passes.plan import plan_program
from nncomp.ir.passes.run import run_pipeline

FOLDER = Path(__file__).parent / "golden"
TARGET = Target("x86_64-unknown-linux-gnu", "x86-64-v4", "", 512, 32)

SOFTMAX = """graph softmax(x: f32[8,100]) {
  amax_0 = amax(x, axes=(1,))
  reshape_0 = reshape(amax_0, shape=(8,1))
  expand_0 = expand(reshape_0, shape=(8,100))
  sub_0 = sub(x, expand_0)
  exp_0 = exp(sub_0)
  sum_0 = sum(exp_0, axes=(1,))
  reshape_1 = reshape(sum_0, shape=(8,1))
  expand_1 = expand(reshape_1, shape=(8,100))
  div_0 = div(exp_0, expand_1)
  return div_0
}"""

LINEAR_RELU = """graph linear_relu(x: f32[16,32], w: f32[20,32], b: f32[20]) {
  permute_0 = permute(w, dims=(1,0))
  matmul_0 = matmul(x, permute_0)
  reshape_0 = reshape(b, shape=(1,20))
  expand_0 = expand(reshape_0, shape=(16,20))
  add_0 = add(matmul_0, expand_0)
  maximum_0 = maximum(add_0, 0.0)
  return maximum_0
}"""

BATCH_NORM = """graph batch_norm(x: f32[4,6,10,10], running_mean: f32[6]) {
  sum_0 = sum(x, axes=(0,2,3))
  mul_0 = mul(sum_0, 0.0025)
  reshape_0 = reshape(mul_0, shape=(1,6,1,1))
  expand_0 = expand(reshape_0, shape=(4,6,10,10))
  sub_0 = sub(x, expand_0)
  mul_1 = mul(sub_0, sub_0)
  sum_1 = sum(mul_1, axes=(0,2,3))
  mul_2 = mul(sum_1, 0.0025)
  add_0 = add(mul_2, 1e-05)
  sqrt_0 = sqrt(add_0)
  reshape_1 = reshape(sqrt_0, shape=(1,6,1,1))
  expand_1 = expand(reshape_1, shape=(4,6,10,10))
  div_0 = div(sub_0, expand_1)
  mul_3 = mul(running_mean, 0.9)
  mul_4 = mul(mul_0, 0.1)
  add_1 = add(mul_3, mul_4)
  return div_0, add_1
}"""

MODELS = dict(
    softmax=(SOFTMAX, ("",)),
    linear_relu=(LINEAR_RELU, ("",)),
    batch_norm=(BATCH_NORM, ("", "running_mean")),
)


def lowered_text(source: str, updates: tuple[str, ...]) -> str:
    """What becomes of a graph on an AVX-512 machine, down to its kernels."""
    graph = parse_graph(source)
    graph = graph.with_outputs(graph.outputs, updates)
    fused = run_pipeline(graph, [*cpu_pipeline(TARGET), *kernel_pipeline()])
    program = plan_program(fused)
    return "\n\n".join([str(fused).strip(), str(program), *map(str, program.kernels())]) + "\n"


@pytest.mark.parametrize("name", MODELS)
def test_lowering_gives_the_text_on_file(name, request):
    text = lowered_text(*MODELS[name])
    file = FOLDER / f"{name}.txt"
    if request.config.getoption("--update-golden", default=False):
        FOLDER.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8")


def test_equal_models_give_equal_text():
    assert lowered_text(*MODELS["batch_norm"]) == lowered_text(*MODELS["batch_norm"])


DIGEST = """
import hashlib, sys
sys.path[:0] = sys.argv[1:]
from nncomp.backends.cpu.codegen import program_modules
from random_graphs import draw_case
from running import kernel_program
from test_cpu_golden import TARGET

digest = hashlib.sha256()
for family in ("all", "smooth", "updates", "gradient", "loops", "tangle"):
    for seed in range(6):
        program = kernel_program(draw_case(seed, family)[0])
        digest.update(str(program).encode())
        for text in program_modules(program, TARGET)[0]:
            digest.update(text.encode())
print(digest.hexdigest())
"""


def test_every_process_generates_the_same_text():
    """The cache on disk finds kernels by their text, so it must not depend on hash seeds."""
    here = Path(__file__).parent
    command = [sys.executable, "-c", DIGEST, str(here), str(here.parent)]
    digests = set()
    for seed in ("1", "2"):
        env = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]
        digests.add(done.stdout)
    assert len(digests) == 1
