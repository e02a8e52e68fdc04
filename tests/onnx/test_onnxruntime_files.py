"""Files that onnxruntime wrote: optimized with its own operators, or quantized in three ways."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from onnx_cases import flat
from onnx_helpers import onnx, ort, session
from onnx_models import MODELS

import nncomp
from nncomp.onnx import OnnxRunError, export, load

helper = onnx.helper


def exported(name, folder, opset=20):
    """A file, and what onnxruntime takes."""
    nncomp.manual_seed(0)
    model, inputs = MODELS[name]()
    path = str(folder / "model.onnx")
    export(model.eval(), inputs, path, opset_version=opset)
    names = [x.name for x in onnx.load(path).graph.input]
    return path, inputs, dict(zip(names, (x.numpy() for x in inputs), strict=True))


def check(path, inputs, expected, tol: float, share: float = 1.0) -> None:
    """`share` of the numbers must agree: one that is rounded differently moves those behind it."""
    model = load(path)
    with nncomp.no_grad():
        for run in (model, nncomp.compile(model)):
            for x, y in zip(flat(run(*inputs)), expected, strict=True):
                assert x.shape == y.shape and x.dtype == y.dtype
                near = np.abs(x - y) <= tol * (1 + np.abs(y))
                assert near.mean() >= share, np.abs(x - y).max()
                assert np.abs(x - y).max() <= 0.1 * np.abs(y).max() + tol


@pytest.mark.parametrize("name", ["resnet", "gpt", "unet", "mobilenet", "encoder"])
def test_optimized_files(name, tmp_path):
    path, inputs, feed = exported(name, tmp_path)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = optimized = str(tmp_path / "optimized.onnx")
    expected = ort.InferenceSession(path, options, ["CPUExecutionProvider"]).run(None, feed)
    assert any(n.domain == "com.microsoft" for n in onnx.load(optimized).graph.node)
    check(optimized, inputs, expected, 1e-5)


class Once:
    """The calibration data: one input."""

    def __init__(self, feed):
        self.items = iter([feed])

    def get_next(self):
        return next(self.items, None)


def quantize(kind, path, target, feed) -> None:
    tools = pytest.importorskip("onnxruntime.quantization")
    if kind == "dynamic":
        tools.quantize_dynamic(path, target)
        return
    form = tools.QuantFormat.QDQ if kind == "pairs" else tools.QuantFormat.QOperator
    tools.quantize_static(path, target, Once(feed), quant_format=form, per_channel=kind == "pairs")


@pytest.mark.parametrize("kind", ["dynamic", "pairs", "operators"])
@pytest.mark.parametrize("name", ["resnet", "unet", "mobilenet", "lstm", "encoder", "decoder"])
def test_quantized_files(name, kind, tmp_path, monkeypatch):
    monkeypatch.setattr(logging.root, "disabled", True)
    path, inputs, feed = exported(name, tmp_path, 18)
    target = str(tmp_path / "quantized.onnx")
    quantize(kind, path, target, feed)
    expected = session(target).run(None, feed)
    check(target, inputs, expected, 1e-4, share=0.3 if name == "unet" else 0.99)


# -- single operators -----------------------------------------------------------------------------


def single(op_type, arrays, outputs, **attrs):
    """A model of one operator of com.microsoft, its operands stored but for the first."""
    stored = [onnx.numpy_helper.from_array(a, f"x{i}") for i, a in enumerate(arrays) if i and
              a is not None]  # fmt: skip
    names = ["" if a is None else f"x{i}" for i, a in enumerate(arrays)]
    node = helper.make_node(op_type, names, outputs, domain="com.microsoft", **attrs)
    kinds = [helper.np_dtype_to_tensor_dtype(arrays[0].dtype), onnx.TensorProto.FLOAT]
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [node], "one", [info("x0", kinds[0], arrays[0].shape)],
        [info(o, kinds[1], None) for o in outputs], stored,
    )  # fmt: skip
    imports = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=9)


def compare(model, x, tol=1e-5) -> None:
    expected = session(model).run(None, {"x0": x})
    loaded = load(model)
    for run in (loaded, nncomp.compile(loaded)):
        with nncomp.no_grad():
            for got, y in zip(flat(run(nncomp.from_numpy(x))), expected, strict=True):
                assert got.shape == y.shape
                np.testing.assert_allclose(got, y, rtol=tol, atol=tol)


@pytest.mark.parametrize("zeros", [None, "packed", "floats"])
@pytest.mark.parametrize("depth", [64, 80])
def test_products_with_weights_of_four_bits(depth, zeros):
    rng = np.random.default_rng(0)
    rows, block = 6, 32
    count = -(-depth // block)
    x = rng.standard_normal((3, depth), np.float32)
    codes = rng.integers(0, 256, (rows, count, block // 2), np.uint8)
    scales = rng.random(rows * count, np.float32)
    offset = None
    if zeros == "packed":
        offset = rng.integers(0, 256, rows * -(-count // 2)).astype(np.uint8)
    elif zeros == "floats":
        offset = rng.integers(0, 16, rows * count).astype(np.float32)
    attrs = dict(K=depth, N=rows, bits=4, block_size=block)
    compare(single("MatMulNBits", [x, codes, scales, offset], ["y"], **attrs), x, 1e-4)


def test_a_product_that_quantizes_its_operand():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4, 16), np.float32)
    weight = rng.integers(-128, 128, (16, 5)).astype(np.int8)
    scale, zero = np.array(0.02, np.float32), np.array(3, np.int8)
    bias = rng.standard_normal(5, np.float32)
    compare(single("DynamicQuantizeMatMul", [x, weight, scale, zero, bias], ["y"]), x)


def test_an_integer_product_that_becomes_floats():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (4, 16)).astype(np.uint8)
    weight = rng.integers(0, 256, (16, 5)).astype(np.uint8)
    numbers = [np.array(v, np.float32) for v in (0.1, 0.02)]
    zeros = [np.array(7, np.uint8), np.array([1, 2, 3, 4, 5], np.uint8)]
    compare(single("MatMulIntegerToFloat", [x, weight, *numbers, *zeros], ["y"]), x)


@pytest.mark.parametrize("activation", ["Relu", "Tanh", "Sigmoid", "LeakyRelu", "HardSigmoid"])
def test_fused_convolutions(activation):
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((2, 3, 7, 8), np.float32), rng.random((4, 3, 3, 3), np.float32)
    params = {"LeakyRelu": [0.3], "HardSigmoid": [0.3, 0.4]}.get(activation, [])
    attrs = dict(activation=activation, **({"activation_params": params} if params else {}))
    compare(single("FusedConv", [x, w, None, 0.1 * np.ones((2, 4, 5, 6), np.float32)], ["y"],
                   **attrs), x)  # fmt: skip


def test_an_unknown_activation_is_an_error():
    x, w = np.ones((1, 1, 3, 3), np.float32), np.ones((1, 1, 3, 3), np.float32)
    model = load(single("FusedConv", [x, w], ["y"], activation="Nonsense"))
    with pytest.raises(OnnxRunError, match="'Nonsense' is not one of Relu, Tanh"):
        model(nncomp.from_numpy(x))


def test_simplified_normalizations():
    rng = np.random.default_rng(0)
    x, skip = (rng.standard_normal((2, 3, 8), np.float32) for _ in range(2))
    scale, bias = (rng.random(8, np.float32) for _ in range(2))
    outputs = ["y", "", "", "sum"]
    node = "SkipSimplifiedLayerNormalization"
    model = single(node, [x, skip, scale, bias], ["y"], epsilon=1e-3)
    model.graph.node[0].output[:] = outputs
    model.graph.output.append(helper.make_tensor_value_info("sum", 1, None))
    compare(model, x)
