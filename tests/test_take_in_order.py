"""Permutes of gathered rows move to the index, where nobody reads the rows in the old order."""

from __future__ import annotations

from textwrap import dedent

import numpy as np
import pytest
from nncomp.ir.graph import Graph, input_node
from nncomp.ir.interpret import interpret
from nncomp.ir.ops import neg, permute, take
from nncomp.ir.parser import parse_graph
from nncomp.ir.passes import take_in_order as module
from nncomp.ir.passes.take_in_order import take_in_order
from nncomp.ir.types import TensorType, float32, int64


def gathered(axis: int, dims: tuple[int, ...], more: bool = False) -> Graph:
    table = input_node("table", TensorType((5, 6, 7), float32))
    index = input_node("i", TensorType((2, 3), int64))
    rows = take(table, index, axis=axis)
    outputs = [permute(rows, dims=dims), *([neg(rows)] if more else [])]
    return Graph("f", [table, index], outputs)


def test_the_example_of_the_docstring():
    before, after = module.__doc__.split("before:")[1].split("after:")
    new = take_in_order(parse_graph(dedent(before).strip()))
    assert str(new) == str(parse_graph(dedent(after[: after.rindex("}") + 1]).strip()))


@pytest.mark.parametrize(
    ("axis", "dims", "moves"),
    [(0, (1, 0, 2, 3), True), (1, (0, 2, 1, 3), True), (0, (0, 1, 3, 2), False),
     (2, (0, 1, 3, 2), True), (0, (2, 0, 1, 3), False)],
)  # fmt: skip
def test_only_axes_of_the_index_move(axis, dims, moves):
    graph = gathered(axis, dims)
    new = take_in_order(graph)
    assert (new.outputs[0].name == "take") is moves
    rng = np.random.default_rng(0)
    table = rng.standard_normal((5, 6, 7)).astype(np.float32)
    index = rng.integers(0, 5, (2, 3))
    for x, y in zip(interpret(graph, table, index), interpret(new, table, index), strict=True):
        np.testing.assert_array_equal(x, y)


def test_rows_that_are_read_in_the_old_order_stay():
    graph = gathered(0, (1, 0, 2, 3), more=True)
    assert take_in_order(graph).outputs[0].name == "permute"
