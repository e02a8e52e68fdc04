"""The kernels that check the simulator, on a real GPU: what they expect holds there too."""

from __future__ import annotations

import ctypes

import kernel_cases
import numpy as np
import pytest
from hardware import DeviceMemory, DeviceModule, Driver
from instruction_harness import run
from nncomp.backends.ptx.simulator import Memory, load


class Library:
    """What libcuda would do, done by the simulator: shows that arguments are passed as they are
    meant. Device memory is the simulator's."""

    def __init__(self) -> None:
        self.memory = Memory()
        self.modules: list = []
        self.names: list[tuple] = []
        self.cuInit = self.cuDeviceGet = self.cuDevicePrimaryCtxRetain = lambda *args: 0
        self.cuCtxSetCurrent = self.cuCtxSynchronize = lambda *args: 0

    def cuDeviceGetCount(self, count):  # noqa: N802
        count._obj.value = 1
        return 0

    def cuMemAlloc_v2(self, place, nbytes):  # noqa: N802
        place._obj.value = self.memory.alloc(nbytes.value)
        return 0

    def cuMemsetD8_v2(self, place, byte, nbytes):  # noqa: N802
        self.memory.fill(place.value, byte.value, nbytes.value)
        return 0

    def cuMemcpyHtoD_v2(self, to, source, nbytes):  # noqa: N802
        raw = ctypes.string_at(source.value, nbytes.value)
        self.memory.write(to.value, np.frombuffer(raw, np.uint8))
        return 0

    def cuMemcpyDtoH_v2(self, to, source, nbytes):  # noqa: N802
        raw = self.memory.get(source.value, np.uint8, nbytes.value)
        ctypes.memmove(to.value, raw.tobytes(), nbytes.value)
        return 0

    def cuModuleLoadData(self, handle, image):  # noqa: N802
        self.modules.append(load(image.rstrip(b"\0").decode()))
        handle._obj.value = len(self.modules)
        return 0

    def cuModuleGetFunction(self, function, module, name):  # noqa: N802
        self.names.append((self.modules[module.value - 1], name.decode()))
        function._obj.value = len(self.names)
        return 0

    def cuLaunchKernel(self, function, *rest):  # noqa: N802
        sizes, (shared, _, params, _) = [size.value for size in rest[:6]], rest[6:]
        module, name = self.names[function.value - 1]
        declared = module.kernel(name).flat.params
        args = [ctypes.string_at(places, variable.nbytes)
                for places, (variable, _) in zip(params, declared, strict=True)]  # fmt: skip
        module.launch(name, sizes[:3], sizes[3:], args, memory=self.memory,
                      shared_bytes=shared.value)  # fmt: skip
        return 0


@pytest.mark.parametrize("name", ["saxpy", "by_value", "transpose", "scan", "mma_gemm"])
def test_arguments_reach_the_driver(name, monkeypatch):
    fake = Driver(Library())
    file, case = kernel_cases.CASES[name]
    monkeypatch.setattr(kernel_cases, "Memory", lambda: DeviceMemory(fake))
    case(DeviceModule(fake, kernel_cases.text(file)))


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
