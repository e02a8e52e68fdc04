"""The simulator's Memory and Module on a real GPU, through libcuda alone, for comparing the two."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np
from nncomp.backends.ptx.simulator import Module, Report, load
from nncomp.backends.ptx.simulator.module import Size, pack_params, size3


class Driver:
    """The few calls of the CUDA driver API that launches need; OSError without a driver."""

    def __init__(self, library: object = None) -> None:
        self.library = library or ctypes.CDLL("libcuda.so.1")
        self.call("cuInit", 0)
        count, device = ctypes.c_int(), ctypes.c_int()
        self.call("cuDeviceGetCount", ctypes.byref(count))
        if not count.value:
            raise OSError("the driver reports no GPU")
        self.call("cuDeviceGet", ctypes.byref(device), 0)
        self.context = ctypes.c_void_p()
        self.call("cuDevicePrimaryCtxRetain", ctypes.byref(self.context), device)
        self.call("cuCtxSetCurrent", self.context)

    def call(self, name: str, *args: object) -> None:
        """Call a function of the driver; OSError with its number if it fails."""
        code = getattr(self.library, name)(*args)
        if code:
            raise OSError(f"{name} failed with CUDA error {code}")


class DeviceMemory:
    """Buffers on the GPU, with the methods of the simulator's Memory that cases use."""

    def __init__(self, driver: Driver):
        self.driver = driver

    def alloc(self, nbytes: int, align: int = 256, name: str = "") -> int:
        """Address of new memory, filled with 0xff as the simulator does."""
        place = ctypes.c_uint64()
        self.driver.call("cuMemAlloc_v2", ctypes.byref(place), ctypes.c_size_t(max(1, nbytes)))
        self.driver.call("cuMemsetD8_v2", place, ctypes.c_ubyte(0xFF), ctypes.c_size_t(nbytes))
        return place.value

    def put(self, array: np.ndarray, name: str = "") -> int:
        """Address of a copy."""
        raw = np.ascontiguousarray(array)
        address = self.alloc(raw.nbytes)
        self.driver.call("cuMemcpyHtoD_v2", ctypes.c_uint64(address),
                         ctypes.c_void_p(raw.ctypes.data), ctypes.c_size_t(raw.nbytes))  # fmt: skip
        return address

    def get(self, address: int, dtype: object, shape: Sequence[int] | int) -> np.ndarray:
        """A copy of what lies at `address`."""
        result = np.empty(shape, dtype)
        self.driver.call("cuMemcpyDtoH_v2", ctypes.c_void_p(result.ctypes.data),
                         ctypes.c_uint64(address), ctypes.c_size_t(result.nbytes))  # fmt: skip
        return result


class DeviceModule:
    """PTX text loaded by the driver, launched with the simulator's arguments."""

    def __init__(self, driver: Driver, text: str):
        self.driver, self.parsed = driver, load(text)
        self.handle = ctypes.c_void_p()
        driver.call("cuModuleLoadData", ctypes.byref(self.handle), text.encode() + b"\0")

    def launch(self, name: str, grid: Size, block: Size, args: Sequence = (), *,
               shared_bytes: int = 0, **options: object) -> Report:  # fmt: skip
        """Run a kernel and wait for it; options of the simulator mean nothing here."""
        function = ctypes.c_void_p()
        self.driver.call("cuModuleGetFunction", ctypes.byref(function), self.handle, name.encode())
        kernel = Module.kernel(self.parsed, name)
        raw = pack_params(kernel, args).copy()
        places = [raw.ctypes.data + offset for _, offset in kernel.flat.params]
        params = (ctypes.c_void_p * len(places))(*places)
        sizes = [ctypes.c_uint(n) for n in (*size3(grid, "grid"), *size3(block, "block"))]
        self.driver.call("cuLaunchKernel", function, *sizes, ctypes.c_uint(shared_bytes), None,
                         params, None)  # fmt: skip
        self.driver.call("cuCtxSynchronize")
        return Report(name, 1, 1, shared_bytes)
