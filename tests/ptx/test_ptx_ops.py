"""Every sample row of every primitive on the PTX interpreter: forward in all dtypes, gradients."""

from __future__ import annotations

import numpy as np
import pytest
from nncomp.ir.grad import vjp_graph
from nncomp.ir.interpret import interpret
from op_samples import SAMPLES, make_operands, sample_graph
from ptx_running import assert_close, run_ptx

STRUCTURE = {"fused", "get", "call"}  # have no code of their own
CPU_LAYOUT = {  # what the CPU's layout passes turn products and windows into; no GPU graph has them
    "contract", "depthwise", "group_conv", "window_conv", "window_max", "winograd", "winograd_line",
    "winograd_weight", "winograd_points", "winograd_kernels", "line_points", "line_kernels",
    "quadrant_sums",
    "attention", "attention_grad",  # made where a kernel fits: test_gemm_attention.py
}  # fmt: skip
ROWS = [s for s in SAMPLES if s.op not in STRUCTURE | CPU_LAYOUT]
ONLY_FORWARD = {"argmax_pool"}  # positions, found again by the backward of the pooling
NO_GRADIENT = {s.op for s in ROWS if "T" not in s.dtypes}


@pytest.mark.parametrize("dtype", ["f32", "f64", "f16", "bf16"])
@pytest.mark.parametrize("op", sorted({s.op for s in ROWS}))
def test_kernels_compute_what_the_op_means(op, dtype):
    for sample in ROWS:
        if sample.op == op and (dtype == "f32" or "T" in sample.dtypes):
            graph = sample_graph(sample, dtype)
            arrays = make_operands(sample, np.random.default_rng(0), dtype)
            scale = max(1.0, 4 * sample.tol / 1e-5)
            assert_close(run_ptx(graph, arrays), interpret(graph, *arrays), scale)


@pytest.mark.parametrize("op", sorted({s.op for s in ROWS} - NO_GRADIENT))
def test_gradients_are_those_of_the_interpreter(op):
    checked = 0
    for sample in (s for s in ROWS if s.op == op and "T" in s.dtypes):
        graph = sample_graph(sample, "f32")
        if not all(n.op.differentiable for n in graph.nodes):
            continue
        rng = np.random.default_rng(1)
        arrays = make_operands(sample, rng, "f32")
        backward = vjp_graph(graph)
        cotangents = [
            rng.uniform(-1, 1, y.shape).astype(y.dtype) for y in interpret(graph, *arrays)
        ]
        operands = [*cotangents, *arrays]
        scale = max(4.0, 16 * sample.tol / 1e-5)
        assert_close(run_ptx(backward, operands), interpret(backward, *operands), scale)
        checked += 1
    assert checked or op in ONLY_FORWARD
