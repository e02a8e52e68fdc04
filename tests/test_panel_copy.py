"""Copies of matrices into panels of columns, by blocks of rows."""

from __future__ import annotations

import numpy as np
import pytest
from nncomp.backends import cpu
from nncomp.backends.cpu import codegen
from nncomp.backends.panel_copy import ROWS, PanelCopyKernel, make_copy_schedule
from nncomp.ir.graph import Graph, input_node
from nncomp.ir.ops import neg, permute, reshape, slice
from nncomp.ir.types import TensorType, float16, float32, float64, int64


def panels(rows: int, columns: int, width: int, dtype=float32, skip: int = 0, minus=False) -> Graph:
    x = input_node("x", TensorType((rows + skip, columns), dtype))
    part = slice(x, start=(skip, 0), stop=(rows + skip, columns), step=(1, 1)) if skip else x
    cut = reshape(part, shape=(rows, columns // width, width))
    y = permute(cut, dims=(1, 0, 2))
    return Graph("panels", [x], [neg(y) if minus else y])


def written(monkeypatch) -> list[int]:
    """Units of the copies in blocks that are written from now on."""
    units: list[int] = []
    write = PanelCopyKernel.write

    def note(self: PanelCopyKernel) -> None:
        units.append(self.schedule.units)
        write(self)

    monkeypatch.setattr(PanelCopyKernel, "write", note)
    codegen.kernel_code.cache_clear()
    return units


@pytest.mark.parametrize(
    ("rows", "columns", "width", "dtype", "skip"),
    [(64, 512, 32, float32, 0), (75, 128, 32, float32, 0), (130, 64, 16, float32, 0),
     (2016, 512, 32, float32, 32), (64, 256, 64, float64, 0), (67, 256, 32, float16, 3),
     (96, 192, 48, float32, 1)],
)  # fmt: skip
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_panels_hold_the_columns(monkeypatch, rows, columns, width, dtype, skip, threads):
    units = written(monkeypatch)
    runner = cpu.compile(panels(rows, columns, width, dtype, skip))
    x = np.random.default_rng(0).standard_normal((rows + skip, columns)).astype(dtype.numpy)
    (y,) = runner([x], (), threads)
    assert units in ([], [-(-rows // ROWS)])  # none where vectors are longer than panels
    expected = x[skip:].reshape(rows, columns // width, width).transpose(1, 0, 2)
    np.testing.assert_array_equal(y, expected)


def kernel_of(graph: Graph):
    program = cpu.compile(graph).program
    return program.steps[0].kernel


def test_only_plain_copies_of_many_rows_and_panels():
    def is_copy(graph: Graph) -> bool:
        return make_copy_schedule(kernel_of(graph), 16) is not None

    assert is_copy(panels(64, 512, 32))
    assert is_copy(panels(64, 512, 32, int64))
    assert not is_copy(panels(64, 512, 32, minus=True))
    assert not is_copy(panels(64, 64, 32))  # two panels
    assert not is_copy(panels(16, 512, 32))  # few rows
    assert not is_copy(panels(64, 2048, 256))  # long rows
    assert not is_copy(panels(64, 240, 24))  # vectors would cross the end of a panel
