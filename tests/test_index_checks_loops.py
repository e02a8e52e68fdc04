"""Indices in the body of a loop: a wrong one raises before anything is written, as elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
from nncomp.ir import ops
from nncomp.ir.graph import Graph, input_node
from nncomp.ir.passes.index_checks import index_checks, without_bounds
from nncomp.ir.types import TensorType, float32, int64

import nncomp
from nncomp import backends
from nncomp.trace_loop import loop

ROWS, TURNS = 10, 5
VALUES = np.random.default_rng(0).normal(size=(ROWS, 4)).astype(np.float32)


def arg(name, *shape, dtype=int64):
    return input_node(name, TensorType(shape, dtype))


def scan_of(body_inputs, body_outputs, operands, carries, consts, reverse=False):
    body = Graph("body", body_inputs, body_outputs)
    sizes = dict(carries=carries, consts=consts, length=TURNS, reverse=reverse)
    return ops.scan(*operands, body=body, **sizes)


TABLE, SUM = arg("table", ROWS, 4, dtype=float32), arg("sum", 4, dtype=float32)
T, C, INDEX = arg("t", ROWS, 4, dtype=float32), arg("c", 4, dtype=float32), arg("i", 3)


def taken(index):
    return ops.sum(ops.take(T, index, axis=0), axes=(0,))


def from_slices(shift=0, reverse=False, outputs=("",)):
    """Rows at the indices of each turn, added up."""
    index = INDEX + ops.full_like(INDEX, shift) if shift else INDEX
    rows = arg("rows", TURNS, 3)
    found = scan_of((C, T, INDEX), (C + taken(index),), (SUM, TABLE, rows), 1, 1, reverse)
    return Graph("slices", (SUM, TABLE, rows), (found[0],), outputs)


def from_constant():
    """The same rows in each turn, at indices from outside of the loop."""
    rows = arg("rows", 3)
    found = scan_of((C, T, INDEX), (C + taken(INDEX),), (SUM, TABLE, rows), 1, 2)
    return Graph("constant", (SUM, TABLE, rows), (found[0],))


def from_carry(reverse=False):
    """The row whose number is the sum of the steps so far."""
    place, step, steps = arg("place", 1), arg("step", 1), arg("steps", TURNS, 1)
    start = ops.full_like(arg("x", 1), 0)
    inside = (C, place, T, step)
    results = (C + taken(place), place + step)
    found = scan_of(inside, results, (SUM, start, TABLE, steps), 2, 1, reverse)
    return Graph("carry", (SUM, TABLE, steps), (found[0],))


def from_reduced():
    """The row whose number is the largest of the turn's: not elementwise in the slices."""
    rows = arg("rows", TURNS, 3)
    index = ops.amax(ops.reshape(INDEX, shape=(1, 3)), axes=(1,))
    found = scan_of((C, T, INDEX), (C + taken(index),), (SUM, TABLE, rows), 1, 1)
    return Graph("reduced", (SUM, TABLE, rows), (found[0],))


def nested():
    """A loop in a loop: indices from the carry of the inner one."""
    place, step = arg("place", 1), arg("step", 1)
    inner = Graph("inner", (C, place, T, step), (C + taken(place), place + step))
    steps = arg("steps", 3, 1)
    zero = ops.full_like(arg("x", 1), 0)
    sizes = dict(carries=2, consts=1, length=3, reverse=False)
    found = ops.scan(C, zero, T, steps, body=inner, **sizes)
    all_steps = arg("steps", TURNS, 3, 1)
    result = scan_of((C, T, steps), (found[0],), (SUM, TABLE, all_steps), 1, 1)
    return Graph("nested", (SUM, TABLE, all_steps), (result[0],))


def indices(shape, **at):
    index = np.random.default_rng(1).integers(0, ROWS, shape)
    for value in at.values():
        index[value[0]] = value[1]
    return index


# graph, right indices, wrong ones, the wrong index, and whether the checks run a loop
CASES = {
    "slices": (from_slices(), indices((5, 3)), indices((5, 3), bad=((4, 1), 10)), 10, False),
    "negative": (from_slices(), indices((5, 3)), indices((5, 3), bad=((2, 0), -1)), -1, False),
    "shifted": (
        from_slices(shift=3), np.full((5, 3), 6), indices((5, 3), bad=((0, 0), 7)), 12, False,
    ),
    "reverse": (
        from_slices(reverse=True), indices((5, 3)), indices((5, 3), bad=((0, 2), 99)), 99, False,
    ),
    "constant": (from_constant(), indices(3), np.array([0, 10, 9]), 10, False),
    "carry": (from_carry(), np.full((5, 1), 2), np.full((5, 1), 3), 12, True),
    "carry in reverse": (
        from_carry(reverse=True),
        np.array([90, 1, 1, 1, 1])[:, None], np.array([1, 1, 1, 1, 90])[:, None], 93, True,
    ),
    "reduced": (from_reduced(), indices((5, 3)), indices((5, 3), bad=((3, 1), 40)), 40, True),
    "nested": (nested(), np.full((5, 3, 1), 4), np.full((5, 3, 1), 5), 10, True),
}  # fmt: skip


@pytest.fixture(params=["cpu", "numpy", "ptx"])
def backend(request, monkeypatch):
    monkeypatch.setenv("NNCOMP_PTX_DEVICE", "simulator")
    return backends.get(request.param)


@pytest.mark.parametrize("case", CASES)
def test_a_wrong_index_in_a_loop_raises(case, backend):
    graph, right, wrong, number, _ = CASES[case]
    runner = backend.compile(graph)
    start = np.zeros(4, np.float32)
    expected = backends.get("numpy").compile(graph)([start, VALUES, right])
    np.testing.assert_allclose(runner([start, VALUES, right])[0], expected[0], rtol=1e-5, atol=1e-5)
    with pytest.raises(IndexError, match=f"index {number} is out of bounds .* of length {ROWS}"):
        runner([start, VALUES, wrong])


@pytest.mark.parametrize("case", CASES)
def test_only_what_depends_on_carries_is_looped_over_twice(case):
    graph, _, _, _, loops = CASES[case]
    checks, _ = index_checks(graph)
    assert any(n.name == "scan" for n in checks.nodes) == loops
    for n in checks.nodes:  # the loop of the checks leaves out the sums
        if n.name == "scan" and case != "nested":
            assert all(x.dtype is int64 for x in n.inputs)


def test_nothing_is_written_when_an_index_is_wrong(backend):
    runner = backend.compile(from_slices(outputs=("sum",)))
    total = np.ones(4, np.float32)
    with pytest.raises(IndexError):
        runner([total, VALUES, indices((5, 3), bad=((4, 2), 10))])
    assert (total == 1).all()


def test_indices_that_are_in_range_anyway_cost_nothing():
    nine = ops.full_like(INDEX, 9)
    index = ops.minimum(ops.maximum(INDEX, ops.full_like(INDEX, 0)), nine)
    rows = arg("rows", TURNS, 3)
    found = scan_of((C, T, INDEX), (C + taken(index),), (SUM, TABLE, rows), 1, 1)
    assert index_checks(Graph("f", (SUM, TABLE, rows), (found[0],))) == (None, [])
    slices = ops.iota_like(rows, (TURNS, 3), 0)
    found = scan_of((C, T, INDEX), (C + taken(INDEX),), (SUM, TABLE, slices), 1, 1)
    assert index_checks(Graph("f", (SUM, TABLE, rows), (found[0],))) == (None, [])


def test_markers_in_bodies_go():
    rows = arg("rows", TURNS, 3)
    index = ops.bounded(INDEX, length=4)
    found = scan_of((C, T, INDEX), (C + taken(index),), (SUM, TABLE, rows), 1, 1)
    graph = Graph("f", (SUM, TABLE, rows), (found[0],))
    assert "bounded" in str(graph) and "bounded" not in str(without_bounds(graph))
    with pytest.raises(IndexError, match="length 4"):
        backends.get("cpu").compile(graph)([np.zeros(4, np.float32), VALUES, np.full((5, 3), 4)])


def test_the_error_names_the_line_of_the_body(backend):
    def step(total, index):
        return (total + nncomp.embedding(table, index).sum(0),)

    def total(rows):
        return loop(step, [nncomp.zeros(4)], [rows])[0][0]

    table = nncomp.from_numpy(VALUES)
    compiled = nncomp.compile(total, backend=backend.__name__.rpartition(".")[2])
    assert compiled(nncomp.from_numpy(indices((5, 3)))).shape == (4,)
    with pytest.raises(IndexError, match=r"index 10 .*test_index_checks_loops\.py:\d+"):
        compiled(nncomp.full((5, 3), 10, dtype=nncomp.int64))
