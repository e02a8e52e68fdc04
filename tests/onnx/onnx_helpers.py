"""Running ONNX models elsewhere: onnxruntime, or onnx's own reference where that has no kernel."""

from __future__ import annotations

import re

import numpy as np
import pytest
from ml_dtypes import bfloat16

onnx = pytest.importorskip("onnx.checker") and pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

NO_KERNEL = re.compile("(?i)not.implemented|type is not supported")
TOLERANCE = {"float16": 4e-3, "bfloat16": 3e-2, "float32": 1e-5, "float64": 1e-11}


def session(model) -> ort.InferenceSession:
    """onnxruntime on a ModelProto or a path, without its rewriting of the graph."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    source = model if isinstance(model, str) else model.SerializeToString()
    return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def run_elsewhere(model, arrays) -> tuple[str, list[np.ndarray]]:
    """(which engine, results) of a checked model."""
    onnx.checker.check_model(model, full_check=True)
    names = [x.name for x in model.graph.input]
    feed = dict(zip(names, arrays, strict=True))
    if any(a.dtype == bfloat16 for a in arrays):  # onnxruntime takes none from numpy
        return "reference", by_reference(model, feed)
    try:
        return "onnxruntime", session(model).run(None, feed)
    except Exception as error:
        if not NO_KERNEL.search(str(error)):
            raise
    return "reference", by_reference(model, feed)


class BeyondReference(Exception):
    """A model that no engine here can run: the types rule out one, the form the other."""


def by_reference(model, feed: dict) -> list[np.ndarray]:
    """Results of the interpreter that comes with onnx."""
    from onnx.reference import ReferenceEvaluator

    for node in model.graph.node:
        attrs = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type == "ConvTranspose" and attrs.get("group", 1) > 1:
            raise BeyondReference("onnx.reference has ConvTranspose without groups only")
        if node.op_type == "Scan" and any(attrs.get("scan_input_directions", ())):
            raise BeyondReference("onnx.reference has Scan in one direction only")
    with np.errstate(all="ignore"):
        return ReferenceEvaluator(model).run(None, feed)


def assert_close(got, expected, scale: float = 1.0) -> None:
    """Equal for integers; within the dtype's tolerance, relative to 1 + |value|, for floats."""
    assert len(got) == len(expected)
    for number, (a, b) in enumerate(zip(got, expected, strict=True)):
        a, b = np.asarray(a), np.asarray(b)
        assert a.shape == b.shape and a.dtype == b.dtype, (
            f"result {number}: {a.dtype}{a.shape}, expected {b.dtype}{b.shape}"
        )
        if a.dtype.kind in "iub":
            assert (a == b).all(), f"result {number}: {(a != b).sum()} of {a.size} differ"
            continue
        x, y = a.astype(np.float64), b.astype(np.float64)
        same = (x == y) | (np.isnan(x) & np.isnan(y))
        with np.errstate(all="ignore"):
            error = np.where(same, 0.0, np.abs(x - y) / (1 + np.abs(y)))
        worst = np.nan_to_num(error, nan=np.inf).max() if error.size else 0.0
        tol = TOLERANCE[a.dtype.name] * scale
        assert worst <= tol, f"result {number}: error {worst:.3g} > {tol:.3g}"
