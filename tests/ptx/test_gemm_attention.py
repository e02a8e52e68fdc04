"""The attention kernel on the PTX simulator."""

from __future__ import annotations

import numpy as np
import pytest
from nncomp.backends.ptx.gemm import lower_products
from nncomp.backends.ptx.gemm.attention import Geometry
from nncomp.ir.graph import Graph, build_node, input_node
from nncomp.ir.interpret import interpret
from nncomp.ir.op import OPS
from nncomp.ir.ops import amax, cast, div, exp, expand, matmul, mul, reshape, sub, sum
from nncomp.ir.rewrite import full_node
from nncomp.ir.types import TensorType, bfloat16, bool_, float16, float32
from product_running import TARGET, OneKernel, close, simulate, turned

DTYPES = ["float32", "float16", "bfloat16"]


def attention_of(batch, heads, rows, keys, depth, width, mask=None, dtype=float32, **attrs):
    """(types, function) of attention over [batch, length, heads, size] operands."""
    lengths = ((rows, depth), (keys, depth), (keys, width))
    types = [TensorType((batch, n, heads, d), dtype) for n, d in lengths]
    strides = [n * heads * d for n, d in lengths]
    if mask:
        types.append(TensorType((batch, 1, rows, keys), mask))
    marks = (rows * keys, keys, 1) if mask else (0, 0, 0)
    geometry = dict(
        batch=((batch, *strides, marks[0]), (heads, depth, depth, width, 0)),
        rows=(rows, heads * depth, marks[1]), keys=(keys, heads * depth, heads * width, marks[2]),
        depth=(depth, 1), width=width, starts=(0, 0, 0, 0),
        scale=depth**-0.5, **{"causal": False, "safe": False, **attrs},
    )  # fmt: skip
    return types, lambda *operands: build_node(OPS["attention"], operands, geometry)


@pytest.mark.parametrize(
    "sizes, options",
    [
        ((1, 2, 70, 70, 16, 32), {}),
        ((1, 2, 64, 130, 64, 64), {}),
        ((2, 1, 130, 130, 32, 32), {"causal": True}),
        ((1, 1, 70, 130, 20, 44), {"causal": True}),
        ((2, 1, 40, 90, 20, 44), {"mask": bool_}),
        ((2, 1, 40, 70, 33, 12), {"mask": float32}),
        ((1, 1, 40, 40, 128, 128), {"causal": True, "safe": True}),
        ((1, 1, 40, 70, 80, 96), {}),
        ((1, 2, 40, 70, 7, 13), {}),
    ],
    ids=["edges", "two blocks", "causal", "causal edges", "bool", "added", "wide", "uneven", "odd"],
)
@pytest.mark.parametrize("aligned", [True, False], ids=["aligned", "unaligned"])
@pytest.mark.parametrize(
    "dtype, allowed", [(float32, 2e-6), (float16, 3e-3), (bfloat16, 2e-2)], ids=DTYPES
)
def test_against_numpy(sizes, options, aligned, dtype, allowed):
    if options.get("mask") is float32:
        options = {"mask": dtype}
    types, function = attention_of(*sizes, dtype=dtype, **options)
    case = OneKernel(function, types)
    data = case.data()
    if options.get("mask") is bool_:
        data[3][..., 0] = True  # no row is empty
    got, _ = simulate(case, case.code(aligned=aligned), data)
    assert close(got, case.expected(data)) < allowed


@pytest.mark.parametrize("safe", [True, False], ids=["safe", "plain"])
def test_rows_without_keys(safe):
    types, function = attention_of(1, 1, 40, 70, 16, 32, mask=bool_, safe=safe)
    case = OneKernel(function, types)
    data = case.data()
    data[3][0, 0, 5] = False
    got, _ = simulate(case, case.code(), data)
    empty = got[0, 0, 5] if got.ndim == 4 else got.reshape(40, 32)[5]
    assert (empty == 0).all() if safe else np.isnan(empty).all()
    assert np.isfinite(got.reshape(40, 32)[6:]).all()


def test_large_scores_do_not_overflow():
    types, function = attention_of(1, 1, 64, 130, 16, 32)
    case = OneKernel(function, types)
    data = [x * 30 for x in case.data()]
    got, _ = simulate(case, case.code(), data)
    assert close(got, case.expected(data)) < 1e-5


def softmax_attention(q, k, v):
    """As it is traced: the softmax of 16-bit scores is float32."""
    scores = mul(matmul(q, turned(k)), full_node(0.25, TensorType((2, 40, 40), q.dtype)))
    scores = scores if q.dtype is float32 else cast(scores, dtype=float32)
    shape = scores.shape

    def spread(x):
        return expand(reshape(x, shape=(2, 40, 1)), shape=shape)

    powers = exp(sub(scores, spread(amax(scores, axes=(2,)))))
    weights = div(powers, spread(sum(powers, axes=(2,))))
    return matmul(weights if v.dtype is float32 else cast(weights, dtype=v.dtype), v)


@pytest.mark.parametrize(
    "dtype, allowed", [(float32, 2e-6), (float16, 3e-3), (bfloat16, 2e-2)], ids=DTYPES
)
def test_found_in_graphs(dtype, allowed):
    inputs = [input_node(n, TensorType((2, 40, 16), dtype)) for n in "qkv"]
    graph = Graph("heads", inputs, [softmax_attention(*inputs)])
    lowered = lower_products(graph, TARGET)
    assert [n.name for n in lowered.nodes] == ["attention"]
    case = OneKernel(lambda q, k, v: lower_products(
        Graph("heads", [q, k, v], [softmax_attention(q, k, v)]), TARGET
    ).outputs[0], [(2, 40, 16)] * 3, dtype)  # fmt: skip
    data = case.data()
    got, _ = simulate(case, case.code(), data)
    assert close(got, interpret(graph, *data)[0]) < allowed


@pytest.mark.parametrize("width, fits", [(64, True), (128, True), (67, True), (132, False)])
def test_what_fits(width, fits):
    types, function = attention_of(1, 1, 40, 40, 16, width)
    node = function(*(input_node(f"x{i}", t) for i, t in enumerate(types)))
    assert Geometry(**node.attrs).fits is fits
