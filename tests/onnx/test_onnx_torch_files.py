"""Files that torch.onnx.export writes, with and without dynamic sizes, give what torch gives."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx.checker") and pytest.importorskip("onnx")

import onnx_cases as nc  # noqa: E402

import nncomp  # noqa: E402
from nncomp.onnx import load  # noqa: E402

nn = torch.nn


class Attention(nn.Module):
    """Heads, a causal mask, and shapes that come from the input."""

    def __init__(self):
        super().__init__()
        self.qkv, self.out = nn.Linear(16, 48), nn.Linear(16, 16)
        self.norm = nn.LayerNorm(16)

    def forward(self, x):
        b, t, c = x.shape
        q, k, v = self.qkv(self.norm(x)).chunk(3, -1)
        q, k, v = (y.view(b, t, 4, c // 4).transpose(1, 2) for y in (q, k, v))
        y = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return x + self.out(nn.functional.gelu(y.transpose(1, 2).reshape(b, t, c)))


class Recurrent(nn.Module):
    def __init__(self, kind, **options):
        super().__init__()
        self.rnn = kind(5, 6, **options)

    def forward(self, x):
        return self.rnn(x)[0]


class Positions(nn.Module):
    """Indices that are computed, and an embedding."""

    def __init__(self):
        super().__init__()
        self.words, self.places = nn.Embedding(20, 8), nn.Embedding(12, 8)

    def forward(self, x):
        y = self.words(x) + self.places(torch.arange(x.shape[1]))
        return nn.functional.pad(y, (1, 2)).cumsum(1).softmax(-1).flip(1)


def convolutions():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.Hardswish(), nn.MaxPool2d(3, 2, 1),
        nn.ConvTranspose2d(8, 4, 2, 2), nn.GroupNorm(2, 4), nn.ReLU6(),
        nn.Upsample(scale_factor=2, mode="bilinear"), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(4, 5), nn.LogSoftmax(-1),
    )  # fmt: skip


MODELS = {
    "convolutions": lambda: (convolutions(), torch.randn(2, 3, 16, 16)),
    "attention": lambda: (Attention(), torch.randn(2, 7, 16)),
    "lstm": lambda: (Recurrent(nn.LSTM, bidirectional=True, num_layers=2), torch.randn(7, 2, 5)),
    "gru": lambda: (Recurrent(nn.GRU), torch.randn(7, 2, 5)),
    "rnn": lambda: (Recurrent(nn.RNN, batch_first=True), torch.randn(2, 7, 5)),
    "positions": lambda: (Positions(), torch.randint(0, 20, (2, 9))),
}


def exported(name, path, dynamo: bool, dynamic: bool):
    """The model, its input, and its file."""
    torch.manual_seed(0)
    model, x = MODELS[name]()
    model.eval()
    options = dict(dynamo=dynamo, input_names=["x"], output_names=["y"])
    if dynamic and dynamo:
        options["dynamic_shapes"] = ({0: torch.export.Dim("batch")},)
    elif dynamic:
        options["dynamic_axes"] = {"x": {0: "batch"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(model, (x,), str(path), **options)
    return model, x


def check(name, tmp_path, dynamo: bool, dynamic: bool) -> None:
    path = tmp_path / "model.onnx"
    model, x = exported(name, path, dynamo, dynamic)
    loaded = load(path)
    inputs = [x, torch.cat([x, x[:1]])] if dynamic else [x]
    for given in inputs:
        with torch.no_grad():
            expected = [model(given).numpy()]
        ours = nncomp.from_numpy(given.numpy().copy())
        with nncomp.no_grad():
            nc.assert_equal(nc.flat(loaded(ours)), expected, 1e-4, 1e-5)
            nc.assert_equal(nc.flat(nncomp.compile(loaded)(ours)), expected, 1e-4, 1e-5)


@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
@pytest.mark.parametrize("name", MODELS)
def test_files_of_the_tracing_exporter(name, dynamic, tmp_path):
    dynamic = dynamic and name not in ("lstm", "gru")  # their second axis is the batch
    check(name, tmp_path, dynamo=False, dynamic=dynamic)


@pytest.mark.parametrize("name", MODELS)
def test_files_of_the_dynamo_exporter(name, tmp_path):
    pytest.importorskip("onnxscript")
    check(name, tmp_path, dynamo=True, dynamic=False)


def test_the_weights_of_a_file_are_those_of_torch(tmp_path):
    path = tmp_path / "model.onnx"
    model, x = exported("attention", path, dynamo=False, dynamic=False)
    loaded = load(path)
    named = dict(model.named_parameters())
    both = [n for n, _ in loaded.named_parameters() if n in named]
    assert len(both) >= 4
    for key in both:
        assert (loaded.get_parameter(key).detach().numpy() == named[key].detach().numpy()).all()
    given = nncomp.from_numpy(x.numpy().copy())
    loaded(given).sum().backward()
    model(x).sum().backward()
    for key in both:
        np.testing.assert_allclose(
            loaded.get_parameter(key).grad.numpy(), named[key].grad.numpy(), rtol=1e-3, atol=1e-4
        )
