"""The PTX simulator runs what nvcc made of small CUDA kernels and gets what numpy gets."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_cases import CASES, module
from nncomp.backends.ptx.simulator import Memory

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


def test_noise_moves_approximations_a_little_and_always_the_same_way():
    texts = {}
    for seed in (None, 1, 1, 2):
        memory = Memory()
        x = np.linspace(-3, 3, 256, dtype=np.float32)
        args = [memory.put(x), memory.alloc(1024), 256]
        module("blocks").launch("softmax", 1, 128, args, memory=memory, noise=seed)
        texts.setdefault(seed, []).append(memory.get(args[1], np.float32, 256))
    exact, (first, again), other = texts[None][0], texts[1], texts[2][0]
    assert (first == again).all() and (first != exact).any() and (first != other).any()
    np.testing.assert_allclose(first, exact, rtol=2e-6)
