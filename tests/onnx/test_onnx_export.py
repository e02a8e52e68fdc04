"""export: names, operator set versions, open sizes, weights beside the file, refusals."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from onnx_cases import flat
from onnx_helpers import assert_close, onnx, session
from onnx_models import MODELS

import nncomp
from nncomp import nn
from nncomp.onnx import OnnxExportError, export, load


class Two(nn.Module):
    """Two inputs, one of them a keyword, and a dict of results."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 4)
        self.register_buffer("shift", nncomp.ones(4))

    def forward(self, x, scale=None):
        y = self.fc(x) * scale + self.shift
        return {"y": y, "both": (y.sum(0), x)}


class Drops(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x)


def run(path, **feed) -> list[np.ndarray]:
    return session(str(path)).run(None, {k: v.numpy() for k, v in feed.items()})


@pytest.mark.parametrize("opset", range(17, 24))
def test_every_opset_passes_the_checker_and_runs(opset, tmp_path):
    path = tmp_path / "model.onnx"
    net = nn.Sequential(
        nn.Conv1d(2, 4, 3), nn.LayerNorm(6), nn.GELU(), nn.Flatten(), nn.Softmax(-1)
    )
    x = nncomp.randn(3, 2, 8)
    export(net, x, path, opset_version=opset)
    assert onnx.load(path).opset_import[0].version == opset
    assert_close(run(path, input=x), [net(x).detach().numpy()], scale=4)


def test_names_of_inputs_and_outputs(tmp_path):
    path = tmp_path / "model.onnx"
    x, scale = nncomp.randn(2, 3), nncomp.randn(4)
    model = Two()
    names = dict(input_names=["features", "factor"], output_names=["a", "b", "c"])
    export(model, (x,), path, kwargs={"scale": scale}, **names)
    graph = onnx.load(path).graph
    assert [i.name for i in graph.input] == ["features", "factor"]
    assert [o.name for o in graph.output] == ["a", "b", "c"]
    assert {t.name for t in graph.initializer} == {"fc.weight", "fc.bias", "shift"}
    y = model(x, scale=scale)
    expected = [y["y"], y["both"][0], x]
    got = run(path, features=x, factor=scale)
    assert_close(got, [v.detach().numpy() for v in expected], scale=4)


def test_without_names_inputs_are_called_as_in_forward(tmp_path):
    path = tmp_path / "model.onnx"
    export(Two(), (nncomp.randn(2, 3),), path, kwargs={"scale": nncomp.randn(4)})
    assert [i.name for i in onnx.load(path).graph.input] == ["x", "scale"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(input_names=["a"]), "input_names must be 2 different names"),
        (dict(input_names=["a", "a"]), "input_names must be 2 different names"),
        (dict(input_names=["a", "shift"]), "shift is the name of a weight"),
        (dict(output_names=["y"]), "output_names must be 3 different names"),
        (dict(output_names=["x", "y", "z"]), "holds the name of an input or a weight"),
        (dict(opset_version=16), "opset_version must be an integer from 17"),
        (dict(opset_version=True), "opset_version must be an integer from 17"),
        (dict(opset_version=99), "opset_version must be an integer from 17"),
    ],
)
def test_wrong_options_are_refused(options, message, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"before")
    with pytest.raises(ValueError, match=message):
        export(Two(), (nncomp.randn(2, 3),), path, kwargs={"scale": nncomp.randn(4)}, **options)
    assert path.read_bytes() == b"before" and len(list(tmp_path.iterdir())) == 1


def test_dropout_is_off_and_the_mode_comes_back(tmp_path):
    path = tmp_path / "model.onnx"
    model = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5), nn.BatchNorm1d(3))
    model[2].eval()
    x = nncomp.randn(5, 3)
    export(model, x, path)
    assert [m.training for m in model.modules()] == [True, True, True, False]
    assert_close(run(path, input=x), [model.eval()(x).detach().numpy()])


def test_random_numbers_are_refused_with_the_line(tmp_path):
    def noisy(x):
        return x + nncomp.rand_like(x)

    with pytest.raises(OnnxExportError, match=r"test_onnx_export.py:\d+.*no generator"):
        export(noisy, nncomp.randn(3), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_state_that_forward_writes_is_refused(tmp_path):
    class Counts(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("calls", nncomp.zeros(1))

        def forward(self, x):
            self.calls += 1
            return x * self.calls

    with pytest.raises(OnnxExportError, match="forward overwrites calls"):
        export(Counts(), nncomp.randn(3), tmp_path / "model.onnx")


def test_a_result_without_tensors_is_refused(tmp_path):
    with pytest.raises(OnnxExportError, match="returns no tensor"):
        export(lambda x: 3, nncomp.randn(3), tmp_path / "model.onnx")


def test_a_compiled_module_exports_like_its_original(tmp_path):
    model, x = nn.Linear(3, 4), nncomp.randn(2, 3)
    paths = [tmp_path / name for name in ("plain.onnx", "compiled.onnx")]
    for path, m in zip(paths, (model, nncomp.compile(model)), strict=True):
        export(m, x, path)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_the_same_model_gives_the_same_bytes(tmp_path):
    nncomp.manual_seed(3)
    model, x = nn.LSTM(3, 4), nncomp.randn(5, 2, 3)
    for name in ("a", "b"):
        export(model, x, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_weights_beside_the_file(tmp_path):
    path = tmp_path / "model.onnx"
    model, x = nn.Sequential(nn.Linear(3, 40), nn.Linear(40, 2)), nncomp.randn(2, 3)
    export(model, x, path, external_data=True)
    assert path.stat().st_size < 1500 and (tmp_path / "model.onnx.data").stat().st_size > 600
    expected = [model(x).detach().numpy()]
    assert_close(run(path, input=x), expected)
    assert_close([load(path)(x).detach().numpy()], expected)


def test_a_function_with_captured_tensors(tmp_path):
    path = tmp_path / "model.onnx"
    large, small = nncomp.randn(200, 200), nncomp.randn(200)
    x = nncomp.randn(2, 200)
    export(lambda x: x @ large + small, x, path)
    assert len(onnx.load(path).graph.initializer) == 1  # the small one is a constant
    assert_close(run(path, x=x), [(x @ large + small).numpy()], scale=20)


def test_bfloat16_models_pass_the_checker(tmp_path):
    path = tmp_path / "model.onnx"
    model = nn.Sequential(nn.Conv1d(2, 4, 3), nn.ReLU(), nn.MaxPool1d(2)).bfloat16()
    x = nncomp.randn(3, 2, 8).bfloat16()
    export(model, x, path)
    expected, got = model(x).float(), load(path)(x).float()
    np.testing.assert_allclose(got.detach().numpy(), expected.detach().numpy(), rtol=2e-2)


class Heads(nn.Module):
    """Attention whose shapes depend on batch and length, and a mean over the length."""

    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(8, 24)
        self.places = nn.Embedding(16, 8)

    def forward(self, x, mask):
        b, t, c = x.shape
        x = x + self.places(nncomp.arange(t))
        q, k, v = (y.view(b, t, 2, 4).transpose(1, 2) for y in self.qkv(x).split(8, 2))
        scores = (q @ k.transpose(-2, -1)).masked_fill(mask[:, None, None] == 0, -1e9)
        scores = scores + nncomp.full((t, t), -1e9).triu(1)
        y = (scores.softmax(-1) @ v).transpose(1, 2).reshape(b * t, c)
        return y, y.view(b, t, c).mean(1)


def test_open_sizes_of_several_axes(tmp_path):
    path = tmp_path / "model.onnx"
    nncomp.manual_seed(0)
    model = Heads().eval()
    axes = {"x": {0: "batch", 1: "time"}, "mask": {0: "batch", 1: "time"}, "y": {0: "rows"}}
    inputs = nncomp.randn(2, 5, 8), nncomp.ones(2, 5)
    export(model, inputs, path, output_names=["y", "mean"], dynamic_axes=axes)
    graph = onnx.load(path).graph
    shapes = {
        v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim]
        for v in (*graph.input, *graph.output)
    }
    assert shapes == {
        "x": ["batch", "time", 8], "mask": ["batch", "time"], "y": ["batch*time", 8],
        "mean": ["batch", 8],
    }  # fmt: skip
    loaded = load(path)
    for b, t in ((2, 5), (1, 1), (7, 16), (3, 2)):
        x, mask = nncomp.randn(b, t, 8), nncomp.ones(b, t)
        mask[0, t // 2] = 0
        expected = [y.detach().numpy() for y in model(x, mask)]
        assert_close(run(path, x=x, mask=mask), expected, scale=20)
        assert_close([y.detach().numpy() for y in loaded(x, mask)], expected, scale=20)


class Dim:
    """A size as torch.export names it."""

    def __init__(self, name):
        self.__name__ = name


@pytest.mark.parametrize(
    "shapes",
    [
        {"x": {0: Dim("n"), 2: None}, "mask": {0: Dim("n")}},
        ({0: "n"}, ["n", None]),
        {"features": {0: "n"}, "mask": {0: "n"}},
    ],
    ids=["by parameter", "in order", "by input"],
)
def test_open_sizes_in_the_newer_form(shapes, tmp_path):
    path = tmp_path / "model.onnx"
    nncomp.manual_seed(0)
    model, inputs = Heads().eval(), (nncomp.randn(2, 5, 8), nncomp.ones(2, 5))
    names = dict(input_names=["features", "m"] if "x" in shapes else ["features", "mask"])
    export(model, inputs, path, dynamic_shapes=shapes, **names)
    x, mask = nncomp.randn(4, 5, 8), nncomp.ones(4, 5)
    feed = dict(zip(names["input_names"], (x, mask), strict=True))
    assert_close(run(path, **feed), [y.detach().numpy() for y in model(x, mask)], scale=20)
    dims = onnx.load(path).graph.input[0].type.tensor_type.shape.dim
    assert [d.dim_param or d.dim_value for d in dims] == ["n", 5, 8]


def test_open_sizes_in_two_forms_are_refused(tmp_path):
    inputs, entry = (nncomp.randn(2, 5, 8), nncomp.ones(2, 5)), {"x": {0: "n"}}
    with pytest.raises(ValueError, match="not both"):
        export(Heads(), inputs, tmp_path / "m", dynamic_axes=entry, dynamic_shapes=entry)
    with pytest.raises(ValueError, match="one entry for each of x, mask, got 1"):
        export(Heads(), inputs, tmp_path / "m", dynamic_shapes=({0: "n"},))


@pytest.mark.parametrize("name", [n for n in MODELS if n not in ("lstm", "gru", "indexing")])
def test_an_open_batch(name, tmp_path):
    path = tmp_path / "model.onnx"
    nncomp.manual_seed(0)
    model, inputs = MODELS[name]()
    model.eval()
    axes = {f"x{i}": {(1 if name == "rnn" and i else 0): "n"} for i in range(len(inputs))}
    export(model, inputs, path, input_names=list(axes), dynamic_axes=axes)
    for turn in range(3):  # one more row each time
        with nncomp.no_grad():
            expected = flat(model(*inputs))
        feed = dict(zip(axes, inputs, strict=True))
        assert_close(run(path, **feed), expected, scale=20)
        if turn == 0:
            assert {d.dim_param for d in onnx.load(path).graph.output[0].type.tensor_type.shape.dim}
        numbers = [next(iter(entry)) for entry in axes.values()]
        rows = zip(inputs, numbers, strict=True)
        inputs = [nncomp.cat([x, x.narrow(axis, 0, 1)], axis) for x, axis in rows]


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({"z": {0: "n"}}, "'z' is no input; inputs are x, mask"),
        ({"x": {3: "n"}}, "has 3 axes, got axis 3"),
        ({"x": {0: "n", 1: "n"}}, "'n' is 2 in 'x' and 5 in 'x'"),
        ({"x": {0: "a", 1: "b", 2: "c"}, "mask": {0: "d", 1: "e"}}, "at most 4 names"),
    ],
)
def test_open_sizes_that_do_not_exist(axes, message, tmp_path):
    inputs = nncomp.randn(2, 5, 8), nncomp.ones(2, 5)
    with pytest.raises(ValueError, match=message):
        export(Heads(), inputs, tmp_path / "model.onnx", dynamic_axes=axes)


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        (lambda x: x.sum() if x.shape[0] % 2 else x.cos(), "another (way|operation)"),
        (lambda x: x.reshape(-1)[: x.shape[0] // 2].cos(), "no products and sums of the sizes n"),
        (lambda x: x @ nncomp.zeros(4, 4), "cannot leave sizes open: .*"),
    ],
    ids=["another way", "half of the size", "one size only"],
)
def test_sizes_that_cannot_be_open(forward, message, tmp_path):
    axis = 1 if "one size" in message or "cannot" in message else 0
    with pytest.raises(OnnxExportError, match=message):
        export(forward, nncomp.randn(4, 4), tmp_path / "m", dynamic_axes={"x": {axis: "n"}})
    assert not list(tmp_path.iterdir())


OPERATORS = {
    "BatchNormalization": (nn.BatchNorm2d(4), (3, 4, 5, 1)),
    "LayerNormalization": (nn.LayerNorm([4, 5]), (3, 4, 5)),
    "Softmax": (nn.Softmax(1), (3, 4, 5)),
    "LogSoftmax": (nn.LogSoftmax(0), (3, 4, 5)),
    "Gelu": (nn.GELU(), (3, 4)),
    "Gelu tanh": (nn.GELU("tanh"), (3, 4)),
    "Relu": (nn.ReLU(), (3, 4)),
    "Clip": (nn.ReLU6(), (3, 4)),
    "LeakyRelu": (nn.LeakyReLU(0.2), (3, 4)),
    "HardSwish": (nn.Hardswish(), (3, 4)),
    "Conv": (nn.Conv2d(4, 6, 3, groups=2), (3, 4, 5, 6)),
    "Gemm": (nn.Linear(4, 5), (3, 4)),
    "ConvTranspose": (nn.ConvTranspose1d(4, 3, 3), (3, 4, 5)),
    "MaxPool": (nn.MaxPool2d(2), (3, 4, 5, 6)),
    "AveragePool": (nn.AvgPool2d(2, divisor_override=4), (3, 4, 5, 6)),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_layers_become_their_operators(name, tmp_path):
    path = tmp_path / "model.onnx"
    nncomp.manual_seed(0)
    model, shape = OPERATORS[name]
    x = 5 * nncomp.randn(shape)
    model.train()(x)
    model.eval()
    export(model, x, path, opset_version=20)
    found = [n.op_type for n in onnx.load(path).graph.node if n.op_type != "Constant"]
    assert found == [name.split()[0]]
    assert_close(run(path, input=x), [model(x).detach().numpy()], scale=4)


WITHOUT = """
import sys
sys.modules["onnx"] = None
import nncomp
from nncomp import nn
try:
    nncomp.onnx.export(nn.Linear(2, 2), nncomp.zeros(1, 2), "never.onnx")
except ImportError as error:
    print(error)
"""


def test_the_error_without_the_package_says_how_to_install(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert "pip install nncomp[onnx]" in done.stdout and not list(tmp_path.iterdir())
