"""The kernels that check the simulator, on a real GPU: what they expect holds there too."""

from __future__ import annotations

import kernel_cases
import numpy as np
import pytest
from hardware import DeviceMemory, DeviceModule, Driver
from instruction_harness import run


@pytest.fixture(scope="module")
def driver() -> Driver:
    """The GPU, where there is one."""
    try:
        return Driver()
    except OSError as error:
        pytest.skip(f"there is no GPU here ({error})")


@pytest.mark.parametrize("name", sorted(kernel_cases.CASES))
def test_the_gpu_gives_what_the_case_expects(name, driver, monkeypatch):
    file, case = kernel_cases.CASES[name]
    monkeypatch.setattr(kernel_cases, "Memory", lambda: DeviceMemory(driver))
    case(DeviceModule(driver, kernel_cases.text(file)))


APPROXIMATE = {"ex2": 2, "lg2": 2, "rcp": 1, "rsqrt": 2, "sqrt": 2}


@pytest.mark.parametrize("name", sorted(APPROXIMATE))
def test_approximations_of_the_gpu_are_near_those_of_the_simulator(name, driver):
    x = np.random.default_rng(0).uniform(0.01, 20, 4096).astype(np.float32)
    code = f"{name}.approx.f32 %out, %a0;"
    here = run(code, [x], np.float32)
    there = run(code, [x], np.float32, on=lambda text: (DeviceModule(driver, text),
                                                        DeviceMemory(driver)))  # fmt: skip
    units = np.abs(here.view(np.int32).astype(np.int64) - there.view(np.int32))
    assert units.max() <= APPROXIMATE[name] or np.allclose(here, there, rtol=0, atol=2e-7)
