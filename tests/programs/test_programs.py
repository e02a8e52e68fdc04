"""Programs that users write: with nncomp, eager and compiled, the same numbers as with torch."""

from __future__ import annotations

import numpy as np
import pytest
import science
import sequences
import vision

import nncomp

FILES = (vision, sequences, science)
PROGRAMS = {
    name: function
    for module in FILES
    for name, function in vars(module).items()
    if getattr(function, "__module__", "") == module.__name__
}
TOLERANCE = 2e-5  # of the scale of the results, after four steps of training


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_same_numbers_as_torch(name, compiled):
    torch = pytest.importorskip("torch")
    wanted = PROGRAMS[name](torch, False)
    got = PROGRAMS[name](nncomp, compiled)
    assert len(got) == len(wanted)
    for a, b in zip(got, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=TOLERANCE * np.abs(b).max())
