"""Index tensors: what cannot be proved in range is checked before anything is written."""

from __future__ import annotations

import numpy as np
import pytest
from nncomp.backends import cpu
from nncomp.ir import ops
from nncomp.ir.graph import Graph, input_node
from nncomp.ir.passes.index_checks import index_checks
from nncomp.ir.types import TensorType, float32, int64

TABLE = input_node("table", TensorType((10, 4), float32))
INDEX = input_node("i", TensorType((3,), int64))


def taken(index) -> Graph:
    return Graph("f", (TABLE, INDEX), (ops.take(TABLE, index, axis=0),))


@pytest.mark.parametrize("bad", [[0, 10, 1], [-1, 3, 3], [2**40, 0, 0], [-(2**63), 0, 0]])
def test_a_wrong_index_raises_and_says_where(bad):
    runner = cpu.compile(taken(INDEX))
    table = np.ones((10, 4), np.float32)
    with pytest.raises(IndexError, match="out of bounds for an axis of length 10"):
        runner([table, np.array(bad)])
    assert (runner([table, np.array([0, 9, 5])])[0] == 1).all()


def test_nothing_is_written_when_an_index_is_wrong():
    update = ops.index_add(TABLE, INDEX, ops.take(TABLE, INDEX, axis=0), axis=0)
    runner = cpu.compile(Graph("f", (TABLE, INDEX), (update,), ("table",)))
    table = np.ones((10, 4), np.float32)
    with pytest.raises(IndexError):
        runner([table, np.array([0, 1, 10])])
    assert (table == 1).all()


@pytest.mark.parametrize(
    "index",
    [
        ops.iota_like(INDEX, (3,), 0),
        ops.minimum(ops.maximum(INDEX, ops.full_like(INDEX, 0)), ops.full_like(INDEX, 9)),
        ops.remainder(INDEX, ops.full_like(INDEX, 10)),
        ops.argmax(ops.permute(TABLE, dims=(1, 0)), axis=1) * 2 - ops.iota_like(INDEX, (4,), 0),
    ],
    ids=["iota", "clamped", "remainder", "wrong"],
)
def test_provable_indices_cost_nothing(index, request):
    checks, _ = index_checks(Graph("f", (TABLE, INDEX), (ops.take(TABLE, index, axis=0),)))
    assert (checks is None) == ("wrong" not in request.node.name)


def test_every_index_of_a_flattened_gather_is_checked_by_itself():
    """Row 0 with column 4 is a valid flat position, but not a valid index."""
    column = ops.bounded(INDEX, length=4)
    flat = ops.reshape(TABLE, shape=(40,))
    graph = Graph("f", (TABLE, INDEX), (ops.take(flat, column, axis=0),))
    with pytest.raises(IndexError, match="length 4"):
        cpu.compile(graph)([np.ones((10, 4), np.float32), np.array([0, 4, 1])])
