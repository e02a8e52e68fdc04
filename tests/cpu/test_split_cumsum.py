"""Running sums in blocks: values, dtypes, nan and inf, and the example of the pass."""

from __future__ import annotations

import importlib
import textwrap

import numpy as np
import pytest
from nncomp.ir.parser import parse_graph
from nncomp.ir.passes.split_cumsum import SHORT, split_cumsum
from nncomp.ir.printer import print_graph
from nncomp.ir.verify import verify

import nncomp


def test_the_docstring_example_is_what_the_pass_does():
    doc = textwrap.dedent(importlib.import_module("nncomp.ir.passes.split_cumsum").__doc__)
    before, after = (textwrap.dedent(t.split("\n\n")[0]).strip("\n") + "\n"
                     for t in doc.split("before:\n")[1].split("after:\n"))  # fmt: skip
    graph = parse_graph(before)
    result = verify(split_cumsum(graph))
    assert print_graph(graph) == before and print_graph(result) == after
    assert split_cumsum(result) is result


def test_none_is_left_long():
    graph = split_cumsum(parse_graph(
        "graph f(x: f32[70000]) {\n  cumsum_0 = cumsum(x, axis=0)\n  return cumsum_0\n}\n"
    ))  # fmt: skip
    lengths = [n.shape[n.attrs["axis"]] for n in verify(graph).nodes if n.name == "cumsum"]
    assert len(lengths) == 4 and max(lengths) <= SHORT


@pytest.mark.parametrize(
    ("shape", "axis"),
    [((65,), 0), ((1024,), 0), ((3, 100), 1), ((100, 3), 0), ((2, 1031, 5), 1), ((0, 200), 1),
     ((200, 0), 0), ((5000,), 0)],
)  # fmt: skip
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16", "int64", "int32"])
def test_values(shape, axis, dtype):
    values = np.random.default_rng(0).integers(-4, 5, shape)
    x = nncomp.tensor(values).to(getattr(nncomp, dtype))
    found = nncomp.compile(lambda x: nncomp.cumsum(x, axis, dtype=x.dtype))(x)
    expected = nncomp.tensor(np.cumsum(values, axis)).to(getattr(nncomp, dtype))
    assert found.dtype is x.dtype and found.shape == x.shape
    assert found.tolist() == expected.tolist()  # whole numbers: no rounding in float32


def test_inf_and_nan_reach_only_what_comes_later():
    x = np.ones((2, 200), np.float32)
    x[0, 70], x[1, 130], x[1, 131] = np.inf, -np.inf, np.inf
    found = nncomp.compile(lambda x: x.cumsum(1))(nncomp.from_numpy(x)).numpy()
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(found, np.cumsum(x, 1))


def test_gradient_and_rounding():
    x = nncomp.randn(3, 777, requires_grad=True)
    w = nncomp.randn(3, 777)
    compiled = nncomp.compile(lambda x: (x.cumsum(1) * w).sum())
    (expected,) = nncomp.autograd.grad((x.double().cumsum(1) * w).sum(), x)
    (found,) = nncomp.autograd.grad(compiled(x), x)
    np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-4, atol=1e-4)
