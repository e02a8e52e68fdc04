"""The LLVM text of one kernel, a softmax, as text: a change of code generation shows as a diff.

After a wanted change run `python tests/ptx/test_ptx_golden.py` and look at what git shows.
"""

from __future__ import annotations

from pathlib import Path

from nncomp.backends.ptx.codegen import kernel_code
from nncomp.backends.ptx.kernel import Facts, Launch
from nncomp.backends.ptx.pipeline import kernel_pipeline
from nncomp.backends.ptx.target import Target
from nncomp.ir.parser import parse_graph
from nncomp.ir.passes.plan import plan_program
from nncomp.ir.passes.run import run_pipeline

FILE = Path(__file__).parent / "golden" / "softmax.ll"
SOFTMAX = """graph softmax(x: f32[8,64]) {
  amax_0 = amax(x, axes=(1,))
  reshape_0 = reshape(amax_0, shape=(8,1))
  expand_0 = expand(reshape_0, shape=(8,64))
  sub_0 = sub(x, expand_0)
  exp_0 = exp(sub_0)
  sum_0 = sum(exp_0, axes=(1,))
  reshape_1 = reshape(sum_0, shape=(8,1))
  expand_1 = expand(reshape_1, shape=(8,64))
  div_0 = div(exp_0, expand_1)
  return div_0
}"""


def code():
    program = plan_program(run_pipeline(parse_graph(SOFTMAX), kernel_pipeline()))
    (kernel,) = program.kernels()
    return kernel_code(kernel, Target(), Facts(aligned=True, disjoint=True))


def test_the_text_of_a_softmax():
    made = code()
    assert made.text == FILE.read_text()
    (launch,) = made.launches
    assert launch == Launch(launch.function, (2, 1, 1), (128, 1, 1))


if __name__ == "__main__":
    FILE.write_text(code().text)
