"""Mistakes put into the kernels' text are noticed: barriers, waits, stores, addresses, operands."""

from __future__ import annotations

import pytest
from kernel_cases import CASES, text
from mutations import all_mutants, kernel_lines, mutants, outcome

KINDS = {  # every how many mutants are tried, and the share that may stay unnoticed
    "barrier deleted": (1, 0.0),
    "wait deleted": (1, 0.0),
    "store deleted": (5, 0.0),
    "address shifted": (9, 0.1),
    "operands swapped": (23, 0.25),
    "comparison changed": (13, 0.5),
    "other opcode": (23, 0.35),
}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_mutants_are_noticed(kind):
    step, share = KINDS[kind]
    chosen = [(file, m) for file, m in all_mutants() if m.kind == kind][::step]
    survivors = [m for file, m in chosen if not outcome(m, text(file))]
    assert len(chosen) >= 6
    assert len(survivors) <= share * len(chosen), survivors


def test_warp_barriers_matter_where_lanes_share_memory():
    file, _ = CASES["warp_exchange"]
    found = [m for m in mutants(text(file), "warp_exchange") if m.kind == "warp barrier deleted"]
    assert [outcome(m, text(file)) for m in found] == ["race"] * 3
    assert len(kernel_lines(text(file), "warp_exchange")) > 10
