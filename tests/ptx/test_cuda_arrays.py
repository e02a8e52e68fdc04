"""Compiled functions on arrays in GPU memory, by `__cuda_array_interface__`."""

from __future__ import annotations

import numpy as np
import pytest
from fake_driver import FakeDriver
from nncomp.backends.ptx import runner
from nncomp.backends.ptx.cuda_device import CudaDevice

import nncomp
from nncomp import nn


class Foreign:
    """Another library's array in GPU memory."""

    def __init__(self, gpu: CudaDevice, array: np.ndarray, **changes):
        self.address = gpu.allocate(array.nbytes)
        gpu.copy_in(self.address, array)
        self.__cuda_array_interface__ = {
            "shape": array.shape, "typestr": array.dtype.str, "data": (self.address, False),
            "version": 2, **changes,
        }  # fmt: skip


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> CudaDevice:
    device = CudaDevice(FakeDriver())
    monkeypatch.setattr(runner, "get_device", lambda: device)
    return device


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def test_a_model_on_foreign_arrays(gpu):
    model = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.ReLU()).eval()
    model.requires_grad_(False)
    run = nncomp.cuda.bind(model, nncomp.zeros(3, 6))
    for number in range(3):
        x = normal(3, 6) + number
        y = run(Foreign(gpu, x))
        expected = model(nncomp.tensor(x)).numpy()
        np.testing.assert_allclose(y.numpy(), expected, rtol=1e-5, atol=1e-6)
        there = y.__cuda_array_interface__
        assert there["shape"] == (3, 5) and there["typestr"] == "<f4" and there["version"] == 3
    copies = gpu.cu.calls.count("cuMemcpyHtoDAsync")
    again = run(Foreign(gpu, normal(3, 6)))
    assert again.address == y.address
    assert gpu.cu.calls.count("cuMemcpyHtoDAsync") == copies + 1  # the foreign array's own


def test_results_of_one_are_arguments_of_the_next(gpu):
    first = nncomp.cuda.bind(lambda x: (x * 2, x.sum()), nncomp.zeros(4))
    second = nncomp.cuda.bind(lambda x: x + 1, nncomp.zeros(4))
    double, total = first(Foreign(gpu, np.arange(4, dtype=np.float32)))
    np.testing.assert_array_equal(second(double).numpy(), [1, 3, 5, 7])
    assert total.numpy() == 6 and repr(total).startswith("DeviceArray(shape=(), dtype=float32")


def test_indices_are_checked(gpu):
    run = nncomp.cuda.bind(lambda x, i: x[i], nncomp.zeros(4, 2), nncomp.tensor([0, 1]))
    x = Foreign(gpu, normal(4, 2))
    assert run(x, Foreign(gpu, np.array([3, 0]))).shape == (2, 2)
    with pytest.raises(IndexError, match="index 4 is out of bounds for an axis of length 4"):
        run(x, Foreign(gpu, np.array([4, 0])))


def test_arrays_that_do_not_fit(gpu):
    run = nncomp.cuda.bind(lambda x: x + 1, nncomp.zeros(4, 3))
    with pytest.raises(TypeError, match="argument 0 is a Tensor without __cuda_array_interface__"):
        run(nncomp.zeros(4, 3))
    with pytest.raises(TypeError, match=r"expected 1 array\(s\), got 2"):
        run(1, 2)
    with pytest.raises(ValueError, match=r"is <f4\(3, 4\), expected <f4\(4, 3\); bind"):
        run(Foreign(gpu, normal(3, 4)))
    with pytest.raises(ValueError, match="not contiguous"):
        run(Foreign(gpu, normal(4, 3), strides=(4, 16)))
    run(Foreign(gpu, normal(4, 3), strides=(12, 4)))


def test_functions_that_do_more_than_compute_are_refused(gpu):
    with pytest.raises(ValueError, match="needs gradients"):
        nncomp.cuda.bind(nn.Linear(3, 3), nncomp.zeros(2, 3))
    with pytest.raises(ValueError, match="draws random numbers"):
        nncomp.cuda.bind(lambda x: nn.functional.dropout(x), nncomp.zeros(2, 3))
