"""Fixtures of the tests of compiled code."""

from __future__ import annotations

import pytest

import nncomp as torch


@pytest.fixture(params=["cpu", "numpy"])
def backend(request):
    """Every backend has to pass."""
    return request.param


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)
