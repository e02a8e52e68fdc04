"""Every sample row of every primitive: the exported file passes the checker and runs elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
from nncomp.ir.interpret import interpret
from nncomp.ir.op import OPS
from onnx_helpers import BeyondReference, assert_close, run_elsewhere
from op_samples import SAMPLES, make_operands, sample_graph

from nncomp.onnx import OnnxExportError
from nncomp.onnx.export import model_of_graph
from nncomp.onnx.export_rules import NO_RULE, RULES

WRITTEN = sorted({s.op for s in SAMPLES if s.op in RULES})
REFUSED = sorted({s.op for s in SAMPLES if s.op not in RULES})


def test_every_op_has_a_rule_or_a_reason():
    assert set(RULES) | set(NO_RULE) == set(OPS)
    assert not set(RULES) & set(NO_RULE)


@pytest.mark.parametrize("dtype", ["f32", "f64", "f16", "bf16"])
@pytest.mark.parametrize("op", WRITTEN)
def test_a_file_means_what_the_op_means(op, dtype):
    for sample in SAMPLES:
        if sample.op != op or (dtype != "f32" and "T" not in sample.dtypes):
            continue
        graph = sample_graph(sample, dtype)
        arrays = make_operands(sample, np.random.default_rng(0), dtype)
        model = model_of_graph(graph, 18)
        expected = interpret(graph, *arrays)
        scale = max(1.0, 4 * sample.tol / 1e-5)
        try:
            engine, got = run_elsewhere(model, arrays)
        except BeyondReference:
            continue
        if (op, engine) == ("erf", "reference"):  # it computes erf to 1e-8 only
            scale *= 1e4
        try:
            assert_close(got, expected, scale)
        except AssertionError as error:
            raise AssertionError(f"{sample.id} {dtype} by {engine}: {error}") from error


@pytest.mark.parametrize("op", REFUSED)
def test_an_op_without_counterpart_is_refused(op):
    sample = next(s for s in SAMPLES if s.op == op)
    with pytest.raises(OnnxExportError, match=f"{op} : .* cannot be written to an ONNX file"):
        model_of_graph(sample_graph(sample), 18)
