"""Large tensors are filled with random numbers block by block: the same numbers, less memory."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

import nncomp
from nncomp.functions import random_fill


def _filled(name: str, dtype, monkeypatch, block: int) -> tuple[bytes, bytes]:
    monkeypatch.setattr(random_fill, "BLOCK", block)
    generator = nncomp.Generator().manual_seed(5)
    x = nncomp.empty(37, 53, dtype=dtype)
    with nncomp.no_grad():
        getattr(x, name)(1.0, 3.0, generator=generator)
    following = nncomp.rand(4, generator=generator)
    return x.double().numpy().tobytes(), following.numpy().tobytes()


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("name", ["normal_", "uniform_"])
def test_blocks_give_the_numbers_of_the_whole(name, dtype, monkeypatch):
    dtype = getattr(nncomp, dtype)
    whole = _filled(name, dtype, monkeypatch, 1 << 20)
    assert _filled(name, dtype, monkeypatch, 256) == whole


def test_fills_a_view_and_leaves_the_rest(monkeypatch):
    monkeypatch.setattr(random_fill, "BLOCK", 64)
    x = nncomp.zeros(40, 40)
    with nncomp.no_grad():
        x[:, :20].normal_()  # rows with gaps: not one piece of memory
        x[30:].uniform_(2.0, 3.0)
    values = x.numpy()
    assert np.all(values[:30, 20:] == 0) and np.all(values[:30, :20] != 0)
    assert np.all((values[30:] >= 2) & (values[30:] < 3))


def test_temporaries_are_small_beside_the_tensor():
    x = nncomp.empty(1 << 22)
    tracemalloc.start()
    with nncomp.no_grad():
        x.normal_()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < x.nbytes / 2
