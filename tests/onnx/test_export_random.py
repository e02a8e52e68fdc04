"""Random graphs of primitives: onnxruntime and the loaded file give what the graph means."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from node_cases import flat
from onnx_helpers import BeyondReference, assert_close, run_elsewhere

sys.path.append(str(Path(__file__).parent.parent / "cpu"))

from nncomp.ir.interpret import interpret  # noqa: E402
from random_graphs import draw_case  # noqa: E402

import nncomp  # noqa: E402
from nncomp.onnx import OnnxExportError, load  # noqa: E402
from nncomp.onnx.export_model import model_of_graph  # noqa: E402

FAMILIES = dict(all=60, smooth=25, gradient=25, loops=20, half=20)
LARGEST = 1e5  # values from which on rounding says nothing about correctness
COARSE = {"half": 60, "smooth": 4000, "gradient": 4000}  # erf has 8 digits in onnx.reference


def expected_results(graph, arrays):
    """The interpreter's results and the largest value on the way."""
    largest = [1.0]

    def see(node, value) -> None:
        for a in value if isinstance(value, tuple) else (value,):
            if a.size and a.dtype.kind not in "iub":
                largest.append(float(np.abs(a.astype(np.float64)).max()))

    return interpret(graph, *arrays, trace=see), max(largest)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_file_means_what_its_graph_means(family):
    compared = 0
    for seed in range(FAMILIES[family]):
        graph, arrays = draw_case(seed, family)
        expected, largest = expected_results(graph, arrays)
        if not largest < LARGEST:
            continue
        try:
            model = model_of_graph(graph, 18 + 2 * (seed % 2))
        except OnnxExportError as error:
            assert "random_bits" in str(error) or "floats only" in str(error)
            continue
        scale = 30 * max(1.0, largest / 100) * COARSE.get(family, 1)
        module = load(model)
        with nncomp.no_grad():
            loaded = flat(module(*(nncomp.from_numpy(a.copy()) for a in arrays)))
        assert_close(loaded, expected, scale)
        compared += 1
        try:
            assert_close(run_elsewhere(model, arrays)[1], expected, scale)
        except BeyondReference:
            continue
    assert compared > FAMILIES[family] // 2
