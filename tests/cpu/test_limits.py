"""Limits such as relu and clamp: one maximum or minimum, nan and values at the limit included."""

from __future__ import annotations

import numpy as np
import pytest
from nncomp.backends import cpu
from nncomp.backends.cpu.assembly import assembly_of
from nncomp.backends.cpu.codegen import kernel_code
from nncomp.backends.cpu.target import Target
from nncomp.ir.graph import Graph, input_node
from nncomp.ir.interpret import interpret
from nncomp.ir.ops import full_like, le, lt, mul, where
from nncomp.ir.types import TensorType, dtype_of_name
from running import kernel_program

POINTS = (-np.inf, -7.5, -1.0, -1e-30, -0.0, 0.0, 1e-30, 1.0, 5.5, 6.0, 6.5, np.inf, np.nan)


def full(value, x):
    return full_like(x, value=value)


def relu(x):
    return where(le(x, full(0, x)), full(0, x), x)


def clamp(x):
    y = where(lt(x, full(-1, x)), full(-1, x), x)
    return where(lt(full(6, x), y), full(6, x), y)


def hardtanh(x, low=0, high=6):
    upper = where(le(full(high, x), x), full(high, x), x)
    return where(le(x, full(low, x)), full(low, x), upper)


LIMITS = {
    "relu": relu,
    "clamp": clamp,
    "relu6": hardtanh,
    "at most": lambda x: where(le(full(1, x), x), full(1, x), x),
    "of a product": lambda x: relu(mul(x, x)),
}
OTHERS = {
    "another value": lambda x: where(le(x, full(0, x)), full(1, x), x),
    "another operand": lambda x: where(le(x, full(0, x)), full(0, x), mul(x, x)),
    "from above": lambda x: where(le(full(0, x), x), x, full(0, x)),
    "crossed limits": lambda x: hardtanh(x, 6, 0),
    "equal limits": lambda x: hardtanh(x, 1, 1),
}


def graph_of(rule, dtype="f32", shape=(3, 45)):
    x = input_node("x", TensorType(shape, dtype_of_name(dtype)))
    return Graph("g", [x], [rule(x)])


@pytest.mark.parametrize("dtype", ("f32", "f64", "f16", "bf16"))
@pytest.mark.parametrize("name", [*LIMITS, *OTHERS])
def test_values(name, dtype):
    graph = graph_of({**LIMITS, **OTHERS}[name], dtype)
    x = np.resize(np.array(POINTS), (3, 45)).astype(graph.inputs[0].dtype.numpy)
    (got,), (expected,) = cpu.compile(graph)([x]), interpret(graph, x)
    np.testing.assert_array_equal(np.asarray(got, "f8"), np.asarray(expected, "f8"))


@pytest.mark.parametrize("name", [*LIMITS, *OTHERS])
def test_only_limits_need_no_mask(name):
    graph = graph_of({**LIMITS, **OTHERS}[name], shape=(4, 64))
    target = Target("x86_64-unknown-linux-gnu", "x86-64-v4", "", 512, 32)
    (kernel,) = kernel_program(graph).kernels()
    words = assembly_of(kernel_code(kernel, target).text, target).split()
    assert any(word.startswith("vcmp") for word in words) == (name in OTHERS)
    assert name in OTHERS or {"vmaxps", "vminps"} & set(words)
