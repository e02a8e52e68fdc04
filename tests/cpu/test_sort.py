"""Sorting long axes: every dtype, any axis, ties, both zeros, nan and infinities."""

from __future__ import annotations

import numpy as np
import pytest
from nncomp.ir import types as dt
from nncomp.ir.parser import parse_graph
from running import kernel_program, run_compiled, run_kernels

FLOATS = (dt.float16, dt.bfloat16, dt.float32, dt.float64)
OTHERS = (dt.int8, dt.int16, dt.int32, dt.int64, dt.uint8, dt.bool_)
SHAPES = (((700,), 0), ((3, 301), 1), ((400, 5), 0), ((2, 270, 3), 1), ((1, 257), 1))


def sample(dtype, shape, seed=0):
    """Numbers with many ties; floats with what has an order of its own."""
    rng = np.random.default_rng(seed)
    x = np.round(rng.standard_normal(shape) * 40) / 2
    if dtype in FLOATS:
        special = (0.0, -0.0, np.inf, -np.inf, np.nan, np.copysign(np.nan, -1))
        places = rng.permutation(x.size)[: 4 * len(special)]
        x.flat[places] = np.tile(special, 4)
    elif not dtype.is_signed:
        x = np.abs(x)
    return x.astype(dtype.numpy)


def graph_of(dtype, shape, axis, descending):
    return parse_graph(
        f"graph f(x: {dtype.short}[{','.join(map(str, shape))}]) {{\n"
        f"  argsort_0 = argsort(x, axis={axis}, descending={descending})\n"
        "  return argsort_0\n}\n"
    )


def stable_order(x, axis, descending):
    """By Python's sort, with a key in which nan is largest and -0 equals 0."""

    def row(values):
        keys = [(int(v != v), 0 if v != v else v) for v in values.tolist()]
        order = sorted(range(len(keys)), key=keys.__getitem__)
        if not descending:
            return order
        return sorted(order, key=lambda i: (-keys[i][0], -keys[i][1]))

    if x.dtype.kind not in "iub":
        x = x.astype(np.float64)
    return np.apply_along_axis(row, axis, x)


@pytest.mark.parametrize("descending", (False, True))
@pytest.mark.parametrize(("shape", "axis"), SHAPES)
@pytest.mark.parametrize("dtype", FLOATS + OTHERS, ids=str)
def test_long_axes_are_sorted_stably(dtype, shape, axis, descending):
    x = sample(dtype, shape)
    graph = graph_of(dtype, shape, axis, descending)
    expected = stable_order(x, axis, descending)
    np.testing.assert_array_equal(run_kernels(graph, [x])[0], expected)
    eager = graph.outputs[0].op.eval(x, axis=axis, descending=descending)
    np.testing.assert_array_equal(eager, expected)


def test_the_extremes_of_int64_keep_their_order():
    x = np.array([2**63 - 1, -(2**63), 0, -1, 1] * 100, "i8")
    (got,) = run_kernels(graph_of(dt.int64, x.shape, 0, False), [x])
    np.testing.assert_array_equal(got, np.argsort(x, kind="stable"))


def test_short_rows_are_compared_pair_by_pair_and_long_ones_are_not():
    def kind(length):
        (step,) = kernel_program(graph_of(dt.float32, (2, length), 1, False)).steps
        return step.kernel.kind

    assert [kind(128), kind(129)] == ["map", "sort"]


def test_a_sort_inside_of_a_larger_graph():
    graph = parse_graph("""graph f(x: f32[2,500]) {
  mul_0 = mul(x, x)
  argsort_0 = argsort(mul_0, axis=1, descending=True)
  slice_0 = slice(argsort_0, start=(0, 0), stop=(2, 7), step=(1, 1))
  return slice_0, mul_0
}
""")
    x = np.random.default_rng(1).standard_normal((2, 500)).astype("f4")
    order, squares = run_compiled(graph, [x])
    np.testing.assert_array_equal(squares, x * x)
    np.testing.assert_array_equal(order, np.argsort(-(x * x), axis=1, kind="stable")[:, :7])
