"""The garbage collector runs rarely while a program is made, and as before afterwards."""

from __future__ import annotations

import gc

import pytest

import nncomp
from nncomp import compiled_call
from nncomp.rare_collections import OBJECTS, rare_collections


@pytest.fixture(autouse=True)
def thresholds():
    before = gc.get_threshold()
    gc.set_threshold(700, 10, 10)
    yield
    gc.set_threshold(*before)


def test_a_compilation_collects_rarely_and_leaves_the_collector_as_it_was(monkeypatch):
    seen = []
    trace = compiled_call.trace_call

    def watched(*args):
        seen.append(gc.get_threshold())
        return trace(*args)

    monkeypatch.setattr(compiled_call, "trace_call", watched)
    compiled = nncomp.compile(lambda x: x + 1.0)
    assert compiled(nncomp.ones(3)).tolist() == [2.0, 2.0, 2.0]
    assert seen == [(OBJECTS, 10, 10)]
    assert gc.get_threshold() == (700, 10, 10)


def test_an_error_leaves_the_collector_as_it_was():
    def f(x):
        raise KeyError("no")

    with pytest.raises(KeyError):
        nncomp.compile(f)(nncomp.ones(3))
    assert gc.get_threshold() == (700, 10, 10)


@pytest.mark.parametrize("own", [0, 500_000], ids=str)
def test_a_collector_that_is_off_or_rarer_stays_so(own):
    gc.set_threshold(own, 10, 10)
    with rare_collections():
        with rare_collections():
            assert gc.get_threshold()[0] == own
        assert gc.get_threshold()[0] == own
    assert gc.get_threshold()[0] == own


def test_what_someone_sets_meanwhile_stays():
    with rare_collections():
        gc.set_threshold(1234, 5, 6)
    assert gc.get_threshold() == (1234, 5, 6)


def test_what_is_left_counts_as_old():
    with rare_collections():
        left = [[i] for i in range(2000)]
    assert gc.get_count()[0] < 1000  # not looked at, and not about to be
    old = gc.get_objects(generation=2)
    assert any(x is left[0] for x in old)
    cycle = [left]
    cycle.append(cycle)
    del cycle
    assert gc.collect() > 0  # collected as before


def test_what_someone_has_frozen_stays_frozen():
    gc.freeze()
    try:
        count = gc.get_freeze_count()
        with rare_collections():
            pass
        assert count and gc.get_freeze_count() == count
    finally:
        gc.unfreeze()
