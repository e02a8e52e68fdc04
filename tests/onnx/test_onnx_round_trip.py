"""Exported models that are loaded again: the same weights, results, gradients, and file."""

from __future__ import annotations

import numpy as np
import pytest
from onnx_cases import flat
from onnx_helpers import assert_close, session
from onnx_models import MODELS

import nncomp
from nncomp.onnx import export, load


def both(name, tmp_path):
    """(the model, what its file is loaded as, inputs)."""
    nncomp.manual_seed(0)
    model, inputs = MODELS[name]()
    model.eval()
    path = tmp_path / "model.onnx"
    export(model, inputs, path)
    return model, load(path), inputs


@pytest.mark.parametrize("name", MODELS)
def test_a_loaded_model_gives_the_same_eagerly_and_compiled(name, tmp_path):
    model, loaded, inputs = both(name, tmp_path)
    with nncomp.no_grad():
        expected = flat(model(*inputs))
        assert_close(flat(loaded(*inputs)), expected, scale=20)
        assert_close(flat(nncomp.compile(loaded)(*inputs)), expected, scale=20)


@pytest.mark.parametrize("name", MODELS)
def test_weights_keep_their_names(name, tmp_path):
    model, loaded, _ = both(name, tmp_path)
    assert {n for n, _ in model.named_parameters()} == {n for n, _ in loaded.named_parameters()}
    state = model.state_dict()
    for key, value in loaded.state_dict().items():
        assert (value.numpy() == state[key].numpy()).all()


@pytest.mark.parametrize("name", MODELS)
def test_gradients_are_the_same(name, tmp_path):
    model, loaded, inputs = both(name, tmp_path)
    found = []
    for module in (model, loaded):
        results = module(*inputs)
        first = results[0] if isinstance(results, (tuple, list)) else results
        if not first.requires_grad:
            assert not list(model.parameters())
            return
        (first * nncomp.linspace(-1, 1, first.shape[-1])).sum().backward()
        found.append(dict(module.named_parameters()))
    for key, parameter in found[0].items():
        if parameter.grad is not None:
            ours, theirs = found[1][key].grad.numpy(), parameter.grad.numpy()
            assert np.abs(ours - theirs).max() <= 1e-3 * (1e-2 + np.abs(theirs).max()), key


@pytest.mark.parametrize("name", MODELS)
def test_a_loaded_model_exports_again(name, tmp_path):
    model, loaded, inputs = both(name, tmp_path)
    path = tmp_path / "again.onnx"
    export(loaded, inputs, path)
    run = session(str(path))
    assert tuple(x.name for x in run.get_inputs()) == loaded.input_names
    assert tuple(x.name for x in run.get_outputs()) == loaded.output_names
    feed = dict(zip(loaded.input_names, (x.numpy() for x in inputs), strict=True))
    with nncomp.no_grad():
        assert_close(run.run(None, feed), flat(model(*inputs)), scale=20)


def test_a_loaded_model_trains(tmp_path):
    """The losses of a compiled training step are those of the model that was exported."""
    model, loaded, inputs = both("encoder", tmp_path)
    model.eval()
    target = nncomp.randn(*inputs[0].shape)
    losses = []
    for module in (model, loaded):
        optimizer = nncomp.optim.SGD(module.parameters(), lr=0.05)
        step = nncomp.compile_train_step(module, nncomp.nn.MSELoss(), optimizer)
        losses.append([float(step(*inputs, target)) for _ in range(4)])
    assert losses[0][-1] < losses[0][0]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-4)
