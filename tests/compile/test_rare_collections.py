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
