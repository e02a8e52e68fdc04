"""Random products on the simulator: sizes, layouts, geometries and precisions against numpy."""

from __future__ import annotations

import random

import pytest
from nncomp.ir.ops import matmul
from nncomp.ir.types import bfloat16, float16, float32, float64
from product_running import OneKernel, close, conv_case, simulate, turned

SIZES = (5, 8, 16, 20, 31, 33, 64, 65, 72, 100, 130)
ALLOWED = {"float32": 5e-6, "float64": 1e-13, "float16": 4e-3, "bfloat16": 2e-2}


def product(r: random.Random):
    m, k, n = (r.choice(SIZES) for _ in range(3))
    batch = r.choice([(), (), (2,), (2, 3)])
    left, right = r.random() < 0.5, r.random() < 0.5

    def function(x, y):
        return matmul(turned(x) if left else x, turned(y) if right else y)

    shapes = (*batch, k, m) if left else (*batch, m, k), (*batch, n, k) if right else (*batch, k, n)
    return shapes, function


def convolution(r: random.Random):
    kind = r.choice(["conv", "conv_transpose", "conv_weight"])
    groups, size, kernel = r.choice([1, 1, 2, 4]), r.choice([5, 7, 8, 9, 12]), r.choice([1, 2, 3])
    channels, outputs = groups * r.choice([4, 8, 16]), groups * r.choice([5, 8, 16])
    return conv_case(
        kind, channels, outputs, size, kernel, images=r.choice([1, 2, 3]), groups=groups,
        stride=r.choice([1, 1, 2, 3]), padding=r.choice([0, 1, 2]), dilation=r.choice([1, 1, 2]),
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(40))
def test_random(seed):
    r = random.Random(seed)
    dtype = r.choice([float32, float32, float64, bfloat16, float16])
    precision = r.choice(["strict", "tf32x3", "tf32"]) if dtype is float32 else "strict"
    aligned = r.random() < 0.7
    code = None
    while code is None:  # products that are too small for tiles have no code here
        shapes, function = r.choice([product, convolution])(r)
        case = OneKernel(function, shapes, dtype)
        code = case.code(precision, aligned)
    data = case.data(seed)
    got, _ = simulate(case, code, data, race=seed % 4 == 0)
    allowed = 4e-3 if precision == "tf32" else ALLOWED[dtype.name]
    assert close(got, case.expected(data)) <= allowed
