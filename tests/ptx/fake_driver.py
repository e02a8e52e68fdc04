"""A stand-in for `cuda.bindings.driver`: records its calls, runs launches on the PTX interpreter.

Host memory is real (addresses of numpy arrays), device memory is the interpreter's.
"""

from __future__ import annotations

import ctypes
from types import SimpleNamespace
from typing import Any

import numpy as np
from nncomp.backends.ptx.simulator import Memory, load

OK, OUT_OF_MEMORY, INVALID_PTX = 0, 2, 218
NAMES = {OUT_OF_MEMORY: "CUDA_ERROR_OUT_OF_MEMORY", INVALID_PTX: "CUDA_ERROR_INVALID_PTX"}


class FakeDriver:
    """The functions of the driver API that the backend uses; `calls` lists their names."""

    CUstream_flags = SimpleNamespace(CU_STREAM_DEFAULT=0)
    CUdevice_attribute = SimpleNamespace(
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR=75,
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR=76,
    )
    CUjit_option = SimpleNamespace(
        CU_JIT_ERROR_LOG_BUFFER=5, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES=6
    )
    CUfunction_attribute = SimpleNamespace(CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES=8)
    CUDA_KERNEL_NODE_PARAMS = SimpleNamespace

    def __init__(self, devices: int = 1, limit: int = 1 << 30):
        self.devices, self.limit, self.used = devices, limit, 0
        self.memory = Memory()
        self.sizes: dict[int, int] = {}
        self.calls: list[str] = []
        self.pinned: list[np.ndarray] = []
        self.pending: list[Any] = []  # what the stream has not done yet

    def __getattribute__(self, name: str) -> Any:
        value = object.__getattribute__(self, name)
        if name.startswith("cu") and callable(value):
            self.calls.append(name)
        return value

    # -- devices and errors ------------------------------------------------------------------------

    def cuInit(self, flags):  # noqa: N802
        return (OK,)

    def cuDeviceGetCount(self):  # noqa: N802
        return OK, self.devices

    def cuDeviceGet(self, ordinal):  # noqa: N802
        return OK, ordinal

    def cuDeviceGetAttribute(self, attribute, device):  # noqa: N802
        return OK, {75: 8, 76: 6}[attribute]

    def cuDeviceGetName(self, length, device):  # noqa: N802
        return OK, b"Fake GPU\0\0"

    def cuDevicePrimaryCtxRetain(self, device):  # noqa: N802
        return OK, object()

    def cuCtxSetCurrent(self, context):  # noqa: N802
        return (OK,)

    def cuGetErrorName(self, error):  # noqa: N802
        return OK, NAMES[error].encode()

    def cuGetErrorString(self, error):  # noqa: N802
        return OK, b"what the driver says"

    # -- memory ------------------------------------------------------------------------------------

    def cuMemAlloc(self, nbytes):  # noqa: N802
        if self.used + nbytes > self.limit:
            return OUT_OF_MEMORY, 0
        self.used += nbytes
        address = self.memory.alloc(nbytes)
        self.sizes[address] = nbytes
        return OK, address

    def cuMemFree(self, address):  # noqa: N802
        self.used -= self.sizes.pop(address)
        self.memory.free(address)
        return (OK,)

    def cuMemHostAlloc(self, nbytes, flags):  # noqa: N802
        self.pinned.append(np.zeros(nbytes, np.uint8))
        return OK, self.pinned[-1].ctypes.data

    def cuMemcpyHtoDAsync(self, target, source, nbytes, stream):  # noqa: N802
        self.pending.append(lambda: self.memory.write(target, host(source, nbytes)))
        return (OK,)

    def cuMemcpyDtoHAsync(self, target, source, nbytes, stream):  # noqa: N802
        def copy() -> None:
            host(target, nbytes)[:] = self.memory.get(source, np.uint8, nbytes)

        self.pending.append(copy)
        return (OK,)

    def cuMemcpyDtoDAsync(self, target, source, nbytes, stream):  # noqa: N802
        def copy() -> None:
            self.memory.write(target, self.memory.get(source, np.uint8, nbytes))

        self.pending.append(copy)
        return (OK,)

    def cuStreamCreate(self, flags):  # noqa: N802
        return OK, "stream"

    def cuStreamSynchronize(self, stream):  # noqa: N802
        pending, self.pending = self.pending, []
        for work in pending:  # as late as the API allows
            work()
        return (OK,)

    # -- code --------------------------------------------------------------------------------------

    def cuModuleLoadDataEx(self, image, count, options, values):  # noqa: N802
        try:
            return OK, load(image.rstrip(b"\0").decode())
        except Exception:
            return INVALID_PTX, None

    def cuModuleGetFunction(self, module, name):  # noqa: N802
        return OK, (module, name.decode())

    def cuFuncSetAttribute(self, function, attribute, value):  # noqa: N802
        return (OK,)

    def cuGraphCreate(self, flags):  # noqa: N802
        return OK, []

    def cuGraphAddKernelNode(self, graph, dependencies, count, node):  # noqa: N802
        assert count == len(dependencies) == min(len(graph), 1)
        graph.append(node)
        return OK, node

    def cuGraphInstantiate(self, graph, flags):  # noqa: N802
        return OK, list(graph)

    def cuGraphLaunch(self, graph, stream):  # noqa: N802
        self.pending.extend(lambda n=node: self._run(n) for node in graph)
        return (OK,)

    def cuLaunchKernel(self, function, gx, gy, gz, bx, by, bz, shared, stream, values, extra):  # noqa: N802
        self.cuGraphLaunch([SimpleNamespace(
            func=function, gridDimX=gx, gridDimY=gy, gridDimZ=gz, blockDimX=bx, blockDimY=by,
            blockDimZ=bz, sharedMemBytes=shared, kernelParams=values,
        )], stream)  # fmt: skip
        return (OK,)

    def _run(self, node) -> None:
        module, name = node.func
        values, types = node.kernelParams
        assert len(values) == len(types) and set(types) <= {ctypes.c_void_p}
        grid = node.gridDimX, node.gridDimY, node.gridDimZ
        block = node.blockDimX, node.blockDimY, node.blockDimZ
        module.launch(
            name, grid, block, values, memory=self.memory, shared_bytes=node.sharedMemBytes
        )


def host(address: int, nbytes: int) -> np.ndarray:
    """The bytes at an address of this process."""
    return np.ctypeslib.as_array((ctypes.c_uint8 * nbytes).from_address(address))
