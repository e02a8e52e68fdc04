"""Memory of arrays that are given up serves for results that come next."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from nncomp.backends.cpu import moved_pages
from nncomp.backends.cpu.moved_pages import HUGE, LEAST, RUN, MovedPages

linux = pytest.mark.skipif(sys.platform != "linux", reason="pages are moved by Linux")
SIZES = [100, 1 << 16, 1_300_001, 3 << 20, 5 << 20, 12 << 20]


def filled(nbytes: int, value: int) -> np.ndarray:
    return np.full(nbytes, value, np.uint8)


def check_usable(results) -> None:
    """All of each result can be written and read, and no two share memory."""
    for number, y in enumerate(results):
        y[...] = number + 1
    for number, y in enumerate(results):
        assert (y == number + 1).all()


@linux
@pytest.mark.parametrize("size", SIZES)
def test_pages_go_where_results_come(size):
    results = [np.empty(n, np.uint8) for n in SIZES]
    pages = MovedPages(results, [range(2), range(2, len(SIZES))])
    open_before = sum(goal.high - goal.low for goal in pages._open)
    given = filled(size, 7)
    pages.take(given)
    moved = open_before - sum(goal.high - goal.low for goal in pages._open)
    assert moved <= size
    if size >= LEAST:
        assert moved >= (size - 2 * RUN if size < 4 << 20 else size - 2 * HUGE - 4096)
    assert pages._move is not None
    given[...] = 9  # still memory of its own
    check_usable(results)
    assert (given == 9).all()


@linux
def test_what_a_part_writes_is_left_alone():
    results = [np.empty(1 << 20, np.uint8) for _ in range(3)]
    pages = MovedPages(results, [(0,), (1,), (2,)])
    pages.begin(1)
    results[0][...], results[1][...] = 1, 2
    for _ in range(4):
        pages.take(filled(1 << 20, 9))
    assert (results[0] == 1).all() and (results[1] == 2).all()
    check_usable(results)


@linux
def test_a_system_that_moves_nothing(monkeypatch):
    tried = []

    def refuse(source, size, new_size, flags, to):
        tried.append(size)
        return moved_pages.FAILED

    monkeypatch.setattr(moved_pages, "_mremap", lambda: refuse)
    results = [np.empty(1 << 20, np.uint8) for _ in range(2)]
    pages = MovedPages(results, [(0, 1)])
    for _ in range(2):
        pages.take(filled(1 << 20, 9))
    assert len(tried) == 1
    check_usable(results)


def test_results_without_memory_of_their_own_and_no_results():
    pages = MovedPages([None, np.empty(10)], [(0,), (1,)])
    pages.take(filled(1 << 20, 9))
    assert not pages._open
