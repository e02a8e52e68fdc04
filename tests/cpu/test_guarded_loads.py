"""Vectors of which no lane may be read are not read from outside of their buffer.

Masked loads of nothing from pages that are not there are right, but slow on some CPUs.
"""

from __future__ import annotations

import re

import pytest
from nncomp.backends.cpu.codegen import program_modules
from nncomp.backends.cpu.target import host_target
from nncomp.ir.parser import parse_graph
from running import kernel_program

GRAPHS = {
    "rows side by side": """graph f(x: f32[40,64], y: f32[9000,64]) {
  concat_0 = concat(x, y, axis=0)
  return concat_0
}""",
    "columns side by side": """graph f(x: f32[40,64], y: f32[40,9000]) {
  concat_0 = concat(x, y, axis=1)
  return concat_0
}""",
}


@pytest.mark.parametrize("text", GRAPHS.values(), ids=list(GRAPHS))
def test_the_address_is_chosen_with_the_mask(text):
    modules, _ = program_modules(kernel_program(parse_graph(text)), host_target())
    text = "".join(modules)
    loads = re.findall(r"masked\.load\.\w+\.p0\(ptr align 4 (%\w+)[.\d]*, <\d+ x i1> %", text)
    assert len(loads) >= 2 and set(loads) == {"%safe"}


def test_what_cannot_leave_its_buffer_is_read_as_one_number():
    """A concat beside rows that an index picks: the index stays the same in all lanes."""
    graph = parse_graph(
        """graph f(x: f32[6,64], y: f32[40,32], i: i64[40]) {
  take_0 = take(x, i, axis=0)
  concat_0 = concat(y, take_0, axis=1)
  return concat_0
}"""
    )
    modules, _ = program_modules(kernel_program(graph), host_target())
    assert "masked.gather" not in "".join(modules)
