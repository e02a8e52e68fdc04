"""Every sample row of every primitive: the exported file passes the checker and runs elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
from nncomp.ir.interpret import InterpretError, interpret
from nncomp.ir.op import OPS, OpError
from onnx_helpers import BeyondReference, assert_close, run_elsewhere
from op_samples import SAMPLES, make_operands, sample_graph

from nncomp.onnx import OnnxExportError, export_rules
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


INDICES = frozenset("take index_add index_put index_reduce bounded random_bits pow".split())
FLOATS_ONLY = "ONNX defines it for floats only"


def integer_rows(op):
    """The rows of an op with their operands in each integer type that the op takes."""
    for sample in (s for s in SAMPLES if s.op == op):
        for name in ("u8", "i8", "i16", "i32", "i64", "bool"):
            kept = ("T",) if op in INDICES else ("T", "i64", "i32", "u8", "i8")
            dtypes = tuple(name if d in kept else d for d in sample.dtypes)
            drawn = zip(sample.ranges, sample.dtypes, strict=True)
            ranges = tuple((0, 5) if type(r) is tuple and d in kept else r for r, d in drawn)
            row = sample._replace(dtypes=dtypes, ranges=ranges)
            try:
                graph = sample_graph(row, name)
                arrays = make_operands(row, np.random.default_rng(0), name)
                yield f"{row.id} {name}", graph, arrays, interpret(graph, *arrays)
            except (OpError, InterpretError, TypeError, ValueError):
                continue  # the op is not defined for this type


@pytest.mark.parametrize("op", [op for op in WRITTEN if op != "pow"])
def test_integers_and_bools_too(op):
    for name, graph, arrays, expected in integer_rows(op):
        try:
            model = model_of_graph(graph, 18)
        except OnnxExportError as error:
            assert FLOATS_ONLY in str(error), name
            assert op in export_rules.FLOATS_ONLY
            continue
        try:
            assert_close(run_elsewhere(model, arrays)[1], expected)
        except BeyondReference:
            continue
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from error


@pytest.mark.parametrize("op", REFUSED)
def test_an_op_without_counterpart_is_refused(op):
    sample = next(s for s in SAMPLES if s.op == op)
    with pytest.raises(OnnxExportError, match=f"{op} : .* cannot be written to an ONNX file"):
        model_of_graph(sample_graph(sample), 18)
