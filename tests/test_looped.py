"""Products in loops over time: threads share their rows, and results stay the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from nncomp.backends.cpu import stages
from nncomp.backends.cpu.contract import Contraction, Dim, make_plan
from nncomp.backends.cpu.looped import looped
from nncomp.backends.cpu.target import host_target
from nncomp.ir.program import LoopStep

import nncomp
from nncomp import nn


def recurrence(rows: int, hidden: int, gates: int, in_loop: bool) -> Contraction:
    """h U of so many sequences, U in panels of 32 columns."""
    m, k = (Dim(rows, hidden),), (Dim(hidden, 1, 32),)
    return Contraction((), m, gates, k, 32, 32 * hidden, looped=in_loop)


def wide() -> object:
    return replace(host_target(), vector_bits=512, vector_registers=32)


@pytest.mark.parametrize(("hidden", "gates"), [(512, 2048), (2048, 512)])
def test_rows_are_shared_where_the_weight_is_there_from_the_turn_before(hidden, gates):
    once, again = (make_plan(recurrence(32, hidden, gates, x), wide()) for x in (False, True))
    assert not once.rows_outer
    assert again.rows_outer and again.shares_rows
    half = again.units // 2  # of two threads each takes half of the rows, and all columns
    blocks = -(-again.row_tiles // again.row_block)
    assert blocks % 2 == 0 and half % (again.units // blocks) == 0


def test_a_single_sequence_shares_columns():
    assert not make_plan(recurrence(1, 512, 2048, True), wide()).rows_outer


def program_of(net: nn.Module, x: nncomp.Tensor, monkeypatch) -> list:
    """The programs that a call compiles, before and after the marks."""
    found = []

    def note(program):
        found.append((program, looped(program)))
        return found[-1][1]

    monkeypatch.setenv("NNCOMP_CACHE", "0")
    monkeypatch.setattr(stages, "looped", note)
    nncomp.compile(net)(x)
    return found


def test_marks_are_on_products_with_a_fixed_weight(monkeypatch):
    net = nn.LSTM(16, 64).requires_grad_(False)
    programs = program_of(net, nncomp.randn(6, 8, 16), monkeypatch)
    loops = [s for _, p in programs for s in p.steps if isinstance(s, LoopStep)]
    inside = [s.kernel for loop in loops for s in loop.steps if s.kernel.kind == "contract"]
    assert inside and all(k.extra.geometry["looped"] for k in inside)
    before, after = (sum(len(p.kernels()) for p in x) for x in zip(*programs, strict=True))
    assert before == after  # one kernel for turns in the loop and outside of it
    names = {k.name for k in inside}
    outside = [k for _, p in programs for k in p.kernels() if k.name not in names]
    assert all("looped" not in k.extra.geometry for k in outside if k.kind == "contract")


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("rows", [5, 32])
def test_results_do_not_depend_on_threads(kind, rows):
    nncomp.manual_seed(0)
    net = getattr(nn, kind)(24, 160, num_layers=2, bidirectional=True)
    x = nncomp.randn(7, rows, 24)
    before, found = nncomp.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            nncomp.set_num_threads(threads)
            for p in net.parameters():
                p.grad = None
            y, _ = nncomp.compile(net)(x)
            (y * y).sum().backward()
            found.append([y.detach().numpy(), *(p.grad.numpy() for p in net.parameters())])
    finally:
        nncomp.set_num_threads(before)
    for others in found[1:]:
        for a, b in zip(found[0], others, strict=True):
            np.testing.assert_array_equal(a, b)
