"""Convolutions and their gradients as products on the PTX simulator."""

from __future__ import annotations

import pytest
from nncomp.ir.ops import add, conv, expand, maximum, reshape
from nncomp.ir.types import bfloat16, float32
from product_running import OneKernel, close, conv_case, geometry, simulate

KINDS = ("conv", "conv_transpose", "conv_weight")
GEOMETRIES = {
    "plain": dict(),
    "padding": dict(padding=1),
    "stride": dict(stride=2, padding=1),
    "dilation": dict(padding=2, dilation=2),
    "groups": dict(padding=1, groups=2),
    "stride 3, groups": dict(stride=3, padding=1, groups=2),
}


def check(case: OneKernel, precision: str, allowed: float) -> None:
    data = case.data()
    got, _ = simulate(case, case.code(precision), data)
    assert close(got, case.expected(data)) <= allowed


@pytest.mark.parametrize("name", GEOMETRIES)
@pytest.mark.parametrize("kind", KINDS)
def test_strict(kind, name):
    shapes, function = conv_case(kind, 16, 24, 9, 3, **GEOMETRIES[name])
    check(OneKernel(function, shapes), "strict", 2e-6)


@pytest.mark.parametrize(
    "dtype, precision, allowed",
    [(float32, "tf32x3", 3e-6), (bfloat16, "strict", 1e-2)],
    ids=["tf32x3", "bfloat16"],
)
@pytest.mark.parametrize("kind", KINDS)
def test_tensor_cores(kind, dtype, precision, allowed):
    shapes, function = conv_case(kind, 16, 24, 9, 3, stride=2, padding=1)
    check(OneKernel(function, shapes, dtype), precision, allowed)


@pytest.mark.parametrize("kind", KINDS)
def test_one_by_one(kind):
    shapes, function = conv_case(kind, 32, 24, 6, 1)
    check(OneKernel(function, shapes), "strict", 2e-6)


@pytest.mark.parametrize("kernel, stride", [(1, 2), (4, 2), (5, 3), (2, 4)])
def test_gradient_with_a_stride_by_phases(kernel, stride):
    shapes, function = conv_case("conv_transpose", 16, 24, 11, kernel, stride=stride)
    check(OneKernel(function, shapes), "strict", 2e-6)


def test_with_bias_and_shortcut():
    def block(x, w, b):
        y = conv(x, w, **geometry(padding=1))
        bias = expand(reshape(b, shape=(1, 16, 1, 1)), shape=y.shape)
        return maximum(add(add(y, bias), x), bias)

    check(OneKernel(block, [(2, 16, 8, 8), (16, 16, 3, 3), (16,)]), "strict", 2e-6)


def test_one_dimension():
    attrs = dict(stride=(2,), padding=((2, 1),), dilation=(1,), groups=1)
    check(OneKernel(lambda x, w: conv(x, w, **attrs), [(2, 16, 40), (24, 16, 4)]), "strict", 2e-6)
