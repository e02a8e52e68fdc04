"""The cases that onnx tests operators with, and which of them nncomp.onnx refuses, with reasons."""

from __future__ import annotations

import functools
import warnings

import numpy as np
import pytest

import nncomp
from nncomp.onnx.load_file import Tensors

STRINGS = "tensors hold numbers here, no strings"
TRAINING = "training steps are nncomp's own"
TREES = "ai.onnx.ml: preprocessing and trees, not networks"
VERSION = "1.23"  # of onnx, whose cases these lists are about
REFUSED_OPERATORS = {
    "Adagrad": TRAINING, "Adam": TRAINING, "Momentum": TRAINING, "Gradient": TRAINING,
    "ArrayFeatureExtractor": TREES, "Binarizer": TREES, "LabelEncoder": TREES,
    "TreeEnsemble": TREES, "BitCast": "no op takes the bits of a number",
    "ImageDecoder": "reads image formats", "RegexFullMatch": STRINGS, "StringConcat": STRINGS,
    "StringNormalizer": STRINGS, "StringSplit": STRINGS, "TfIdfVectorizer": STRINGS,
}  # fmt: skip
REFUSED_CASES = {"test_scan_sum": "Scan of opset 8 has another form"}
NO_TYPE = "has no counterpart here"  # part of the message about an element type
RANDOM = ("test_bernoulli", "test_training_dropout")  # as far as numbers are drawn
NOT_DRAWN = "zero_ratio"
OTHERWISE = {  # onnxruntime and torch agree with nncomp
    "test_resize_downsample_scales_linear_align_corners": "divides by 1 less than scale * size",
    "test_resize_downsample_scales_cubic_align_corners": "divides by 1 less than scale * size",
}
TENSORS = Tensors(None)


@functools.cache
def cases() -> tuple:
    """All cases, made by the package onnx; takes 5 seconds."""
    import onnx
    from onnx.backend.test.case.node import collect_testcases

    if not onnx.__version__.startswith(VERSION + "."):
        pytest.skip(f"the lists of cases are those of onnx {VERSION}, this is {onnx.__version__}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return tuple(collect_testcases(None))


def operator(case) -> str:
    """The operator that a case is about."""
    words = case.name.removeprefix("test_").split("_")[0]
    return words if "_expanded" in case.name else case.model.graph.node[0].op_type


def as_value(item):
    """What a case stores as what a loaded model takes."""
    if isinstance(item, list):
        return [as_value(x) for x in item]
    array = as_array(item)
    return None if array is None else nncomp.from_numpy(np.array(array, order="C"))


def as_array(item) -> np.ndarray | None:
    """A stored result as an array of a type that exists here."""
    if item is None or not hasattr(item, "data_type"):
        return None if item is None else np.asarray(item)
    return TENSORS.array_of(item)


def flat(value) -> list[np.ndarray]:
    """The tensors of a result, in order."""
    if isinstance(value, (tuple, list)):
        return [array for item in value for array in flat(item)]
    return [value.detach().numpy()]


def assert_equal(got, expected, rtol: float, atol: float) -> None:
    """Equal for integers; numbers of 16 bits may differ in the last two bits."""
    assert len(got) == len(expected)
    for x, y in zip(got, expected, strict=True):
        assert x.shape == y.shape and x.dtype == y.dtype, (x.shape, y.shape, x.dtype, y.dtype)
        if x.dtype.kind in "iub":
            assert (x == y).all()
            continue
        last = {"float16": 2**-9, "bfloat16": 2**-6}.get(x.dtype.name, 0)
        np.testing.assert_allclose(
            x.astype(np.float64), y.astype(np.float64), rtol=max(rtol, last), atol=max(atol, last)
        )
