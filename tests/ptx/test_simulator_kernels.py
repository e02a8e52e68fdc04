"""The PTX simulator runs what nvcc made of small CUDA kernels and gets what numpy gets."""

from __future__ import annotations

import pytest
from kernel_cases import CASES, module

NAMES = sorted(CASES)


@pytest.mark.parametrize("name", NAMES)
def test_values(name):
    file, run = CASES[name]
    report = run(module(file))
    assert report.steps > 0


@pytest.mark.parametrize("name", NAMES)
def test_one_block_at_a_time(name):
    file, run = CASES[name]
    run(module(file), lanes=1)


@pytest.mark.parametrize("name", NAMES)
def test_no_race_is_reported(name):
    file, run = CASES[name]
    report = run(module(file), race=True, count=True)
    assert report.accesses and report.instructions
