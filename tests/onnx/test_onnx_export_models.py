"""Whole models as ONNX files: onnxruntime gives what the compiled model gives."""

from __future__ import annotations

import numpy as np
import pytest
from onnx_helpers import assert_close, onnx, session
from onnx_models import MODELS

import nncomp
from nncomp.onnx import export


def run_file(path, inputs) -> list[np.ndarray]:
    run = session(str(path))
    names = [x.name for x in run.get_inputs()]
    return run.run(None, dict(zip(names, (x.numpy() for x in inputs), strict=True)))


def results(value) -> list[np.ndarray]:
    """The tensors of a result, in order."""
    if isinstance(value, (tuple, list)):
        return [array for item in value for array in results(item)]
    return [value.detach().numpy()]


@pytest.mark.parametrize("name", MODELS)
def test_onnxruntime_agrees_with_the_compiled_model(name, tmp_path):
    nncomp.manual_seed(0)
    model, inputs = MODELS[name]()
    path = tmp_path / "model.onnx"
    export(model, inputs, path)
    model.eval()
    with nncomp.no_grad():
        expected = results(nncomp.compile(model)(*inputs))
    assert_close(run_file(path, inputs), expected, scale=20)
    stored = {t.name for t in onnx.load(path).graph.initializer}
    assert stored <= set(model.state_dict())
    assert {n for n, _ in model.named_parameters()} <= stored
