"""Every sample row of every primitive: compiled = interpreted, in each float dtype."""

from __future__ import annotations

import numpy as np
import pytest
from nncomp.ir.interpret import interpret
from op_samples import SAMPLES, make_operands, sample_graph
from running import assert_same, run_compiled, run_kernels

NOT_A_KERNEL = {"fused", "get", "call"}  # structure: they have no code of their own
ROWS = [s for s in SAMPLES if s.op not in NOT_A_KERNEL]


def rows(dtype):
    return [s for s in ROWS if dtype == "f32" or "T" in s.dtypes]


@pytest.mark.parametrize("dtype", ["f32", "f64", "f16", "bf16"])
@pytest.mark.parametrize("op", sorted({s.op for s in ROWS}))
def test_kernels_compute_what_the_op_means(op, dtype):
    for sample in (s for s in rows(dtype) if s.op == op):
        graph = sample_graph(sample, dtype)
        arrays = make_operands(sample, np.random.default_rng(0), dtype)
        scale = max(1.0, 4 * sample.tol / 1e-5)
        assert_same(run_kernels(graph, arrays), interpret(graph, *arrays), scale)


@pytest.mark.parametrize("op", sorted({s.op for s in ROWS}))
def test_the_whole_pipeline_keeps_the_meaning(op):
    for sample in (s for s in ROWS if s.op == op):
        graph = sample_graph(sample, "f32")
        arrays = make_operands(sample, np.random.default_rng(1), "f32")
        scale = max(1.0, 4 * sample.tol / 1e-5)
        assert_same(run_compiled(graph, arrays), interpret(graph, *arrays), scale)
