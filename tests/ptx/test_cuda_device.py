"""The CUDA driver's side, on a stand-in for its API whose launches the interpreter runs."""

from __future__ import annotations

import ctypes
import sys

import numpy as np
import pytest
from fake_driver import FakeDriver
from nncomp.backends import ptx
from nncomp.backends.ptx import cuda_device, device
from nncomp.backends.ptx.cuda_device import CudaDevice
from nncomp.backends.ptx.device import Call, DeviceError, get_device
from nncomp.backends.ptx.kernel import Launch
from nncomp.ir.interpret import interpret
from nncomp.ir.parser import parse_graph

import nncomp

GRAPH = parse_graph(
    "graph f(x: f32[16,40], w: f32[16,40], total: f32[40]) {\n p = mul(x, w)\n"
    " s = sum(p, axes=(0,))\n n = add(total, s)\n y = exp(p)\n return n -> total, y\n}"
)


def arrays() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.uniform(-1, 1, n.shape).astype(np.float32) for n in GRAPH.inputs]


def test_a_program_runs_as_one_graph():
    driver = FakeDriver()
    runner = ptx.compile(GRAPH)
    runner.device_program(CudaDevice(driver))
    mine = arrays()
    total, expected = interpret(GRAPH, *mine)
    kernels = len(runner.stages.ptx)
    for turn in range(3):
        before = mine[2].copy()
        none, y = runner(mine)
        assert none is None
        np.testing.assert_allclose(y, expected, rtol=1e-6)
        np.testing.assert_allclose(mine[2] - before, total - arrays()[2], rtol=1e-4, atol=1e-5)
        assert driver.calls.count("cuGraphLaunch") == turn + 1
    assert driver.calls.count("cuGraphAddKernelNode") == kernels
    assert driver.calls.count("cuModuleLoadDataEx") == kernels
    assert driver.calls.count("cuGraphInstantiate") == 1


def test_very_many_launches_go_without_a_graph(monkeypatch):
    monkeypatch.setattr(cuda_device, "LONGEST", 1)
    driver = FakeDriver()
    runner = ptx.compile(GRAPH)
    runner.device_program(CudaDevice(driver))
    mine = arrays()
    expected = interpret(GRAPH, *mine)[1]
    np.testing.assert_allclose(runner(mine)[1], expected, rtol=1e-6)
    assert driver.calls.count("cuLaunchKernel") == len(runner.stages.ptx) > 1
    assert "cuGraphCreate" not in driver.calls


def test_constants_are_copied_once_for_each_version():
    driver = FakeDriver()
    runner = ptx.compile(GRAPH, constant=("w",))
    runner.device_program(CudaDevice(driver))
    mine = arrays()
    held = runner.prepare(mine)
    copies = driver.calls.count("cuMemcpyHtoDAsync")
    expected = interpret(GRAPH, *mine)[1]
    mine[1] *= 0  # not seen: the device has the version that was prepared
    np.testing.assert_allclose(runner(mine, held)[1], expected, rtol=1e-6)
    assert driver.calls.count("cuMemcpyHtoDAsync") == copies + 2
    runner.prepare(mine)
    np.testing.assert_allclose(runner(mine, held)[1], np.ones((16, 40)))  # an old version: anew


def test_memory_is_given_back():
    driver = FakeDriver()
    runner = ptx.compile(GRAPH)
    runner.device_program(CudaDevice(driver))
    runner(arrays())
    assert driver.used > 0
    runner.device_program().close()
    assert driver.used == 0 and not driver.memory.buffers


def test_copies_larger_than_the_staging_memory(monkeypatch):
    monkeypatch.setattr(cuda_device, "STAGING", 256)
    gpu = CudaDevice(FakeDriver())
    x = np.arange(1000, dtype=np.float32)
    y = np.zeros_like(x)
    at = gpu.allocate(x.nbytes)
    gpu.copy_in(at, x)
    gpu.copy_out(y, at)
    np.testing.assert_array_equal(x, y)
    short = np.zeros(7, np.float32)
    gpu.copy_out_all([(short, at + 40), (y, at)])
    np.testing.assert_array_equal(short, x[10:17])


def test_errors_are_translated():
    driver = FakeDriver(limit=100)
    with pytest.raises(DeviceError, match="cuMemAlloc failed: CUDA_ERROR_OUT_OF_MEMORY: what the"):
        CudaDevice(driver).allocate(101)
    with pytest.raises(DeviceError, match="refuses a kernel: CUDA_ERROR_INVALID_PTX"):
        CudaDevice(FakeDriver()).load("this is no PTX")
    with pytest.raises(DeviceError, match="no GPU number 0: the driver reports 0"):
        CudaDevice(FakeDriver(devices=0))


def test_large_dynamic_shared_memory_is_asked_for():
    driver = FakeDriver()
    gpu = CudaDevice(driver)
    module = gpu.load(next(iter(ptx.compile(GRAPH).stages.ptx.values())))
    name = module.names[0]
    small = [Launch(name, (1, 1, 1), (32, 1, 1), shared) for shared in (1, 2)]
    gpu.capture([Call(module, launch, ()) for launch in small])
    assert "cuFuncSetAttribute" not in driver.calls
    big = CudaDevice(driver)
    big.capture([Call(module, Launch(name, (1, 1, 1), (32, 1, 1), 100 << 10), ())])
    assert driver.calls.count("cuFuncSetAttribute") == 1


def test_what_is_missing_is_said(monkeypatch):
    device._made.cache_clear()
    monkeypatch.setenv("NNCOMP_PTX_DEVICE", "gpu")
    with pytest.raises(DeviceError, match="expected one of simulator, cuda"):
        get_device()
    monkeypatch.setenv("NNCOMP_PTX_DEVICE", "cuda")
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    with pytest.raises(DeviceError, match=r"pip install 'nncomp\[cuda\]'"):
        get_device()


def test_a_machine_without_a_driver(monkeypatch):
    class Missing:
        def cuInit(self, flags):  # noqa: N802
            raise RuntimeError("libcuda.so.1 was not found\nsecond line")

    with pytest.raises(DeviceError, match=r"no NVIDIA driver on this machine \(libcuda.so.1 was"):
        CudaDevice(Missing())


def test_the_real_bindings_have_all_that_is_used():
    cu = pytest.importorskip("cuda.bindings.driver", reason="cuda-bindings is not installed")
    functions = [n for n in vars(FakeDriver) if n.startswith("cu")]
    missing = [n for n in functions if not hasattr(cu, n)]
    for name in ("CUstream_flags", "CUjit_option", "CUfunction_attribute"):
        wanted = vars(getattr(FakeDriver, name))
        missing += [n for n in wanted if not hasattr(getattr(cu, name), n)]
    node = cu.CUDA_KERNEL_NODE_PARAMS()
    node.gridDimX, node.blockDimX, node.sharedMemBytes = 3, 64, 16
    node.kernelParams = ((1, 2), (ctypes.c_void_p,) * 2)
    assert not missing and node.gridDimX == 3 and int(cu.CUresult.CUDA_SUCCESS) == 0


def test_a_package_for_a_newer_gpu_is_refused(tmp_path, monkeypatch):
    gpu = CudaDevice(FakeDriver())
    assert gpu.capability == (8, 6)
    monkeypatch.delenv(device.VARIABLE, raising=False)
    monkeypatch.setattr(device, "_made", lambda name: gpu)
    model, x = nncomp.nn.Linear(3, 2), nncomp.ones(4, 3)
    for target in ("sm_80", "sm_90"):
        nncomp.aot.export(model, x, tmp_path / f"{target}.nnc", target=target)
    y = nncomp.aot.load(tmp_path / "sm_80.nnc")(x)
    assert np.allclose(y.numpy(), model(x).detach().numpy(), atol=1e-6)
    with pytest.raises(DeviceError, match="Fake GPU is sm_86"):
        nncomp.aot.load(tmp_path / "sm_90.nnc")
