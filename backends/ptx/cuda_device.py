"""The CUDA driver through NVIDIA's `cuda-bindings` (`pip install "nncomp[cuda]"`).

The primary context of the device is used, so that pointers mean the same to other libraries in the
process. Copies go through pinned memory on one stream, which waits for the default stream and the
other way round, as other libraries use that one; a program is one CUDA graph of kernel nodes
in a row, made at its first run. All errors become a DeviceError that says what failed.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .device import Call, DeviceError

STAGING = 32 << 20  # bytes of pinned memory that copies go through
ALIGN = 64
STATIC_SHARED = 48 << 10  # bytes of dynamic shared memory that need no permission
LONGEST = 20_000  # kernels of a graph
LOG = 8192  # bytes of the compiler's messages that are kept


def load_driver() -> Any:
    """The driver module of cuda-bindings; DeviceError if it is not there or finds no driver."""
    try:
        from cuda.bindings import driver
    except ImportError as error:
        raise DeviceError(
            "running on a GPU needs the package cuda-bindings: pip install 'nncomp[cuda]' "
            f"({error}); NNCOMP_PTX_DEVICE=simulator runs kernels on the interpreter instead"
        ) from error
    return driver


class CudaDevice:
    """One GPU; `driver` is a module with the functions of the CUDA driver API."""

    def __init__(self, driver: Any = None, ordinal: int = 0):
        self.cu = driver if driver is not None else load_driver()
        self._start(ordinal)
        self.stream = self._do("cuStreamCreate", self.cu.CUstream_flags.CU_STREAM_DEFAULT)
        self._staging = int(self._do("cuMemHostAlloc", STAGING, 0))
        self._used = 0  # bytes of the staging memory that copies in flight read
        self._functions: dict[tuple[int, str], tuple[Any, Any]] = {}  # with the module, by its id
        self._lock = threading.RLock()  # of the staging memory

    def _start(self, ordinal: int) -> None:
        try:
            self._do("cuInit", 0)
            count = int(self._do("cuDeviceGetCount"))
        except DeviceError:
            raise
        except Exception as error:  # cuda-bindings finds no libcuda
            words = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise DeviceError(
                f"there is no NVIDIA driver on this machine ({words}); graphs compile without one, "
                "and NNCOMP_PTX_DEVICE=simulator runs them on the interpreter"
            ) from error
        if ordinal >= count:
            raise DeviceError(f"there is no GPU number {ordinal}: the driver reports {count}")
        self.number = self._do("cuDeviceGet", ordinal)
        self.context = self._do("cuDevicePrimaryCtxRetain", self.number)
        self._do("cuCtxSetCurrent", self.context)
        name = self._do("cuDeviceGetName", 256, self.number)
        self.name = name.split(b"\0")[0].decode() if isinstance(name, bytes) else str(name)

    @property
    def capability(self) -> tuple[int, int]:
        """The compute capability: (9, 0) for sm_90."""
        names = self.cu.CUdevice_attribute
        major = names.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR
        minor = names.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR
        found = (self._do("cuDeviceGetAttribute", n, self.number) for n in (major, minor))
        return int(next(found)), int(next(found))

    def _do(self, function: str, *args: Any) -> Any:
        """Call a driver function; its result, or DeviceError with the driver's own words."""
        error, *values = getattr(self.cu, function)(*args)
        if int(error) != 0:
            raise DeviceError(f"{function} failed: {self._words(error)}")
        return values[0] if values else None

    def _words(self, error: Any) -> str:
        texts = []
        for function in ("cuGetErrorName", "cuGetErrorString"):
            _, text = getattr(self.cu, function)(error)
            texts.append(text.decode() if isinstance(text, bytes) else str(text))
        return ": ".join(texts)

    # -- memory ----------------------------------------------------------------------------------

    def allocate(self, nbytes: int) -> int:
        """New memory of the device."""
        self._enter()
        return int(self._do("cuMemAlloc", nbytes))

    def free(self, address: int) -> None:
        """Give memory back; what runs may still use it, so wait first."""
        self.synchronize()
        self._do("cuMemFree", address)

    def copy_in(self, address: int, array: np.ndarray) -> None:
        """Copy to the device, by way of pinned memory; the array may change right afterwards."""
        self._enter()
        source, done = array.ctypes.data, 0
        while done < array.nbytes:
            size = min(array.nbytes - done, STAGING)
            with self._lock:
                staged = self._take(size)
                ctypes.memmove(staged, source + done, size)
                self._do("cuMemcpyHtoDAsync", address + done, staged, size, self.stream)
            done += size

    def copy_out(self, array: np.ndarray, address: int) -> None:
        """Copy from the device, and wait for it."""
        self.copy_out_all([(array, address)])

    def copy_out_all(self, pairs: Sequence[tuple[np.ndarray, int]]) -> None:
        """Copy several arrays from the device, waiting as rarely as the staging memory allows."""
        with self._lock:
            self._copy_out(pairs)

    def _copy_out(self, pairs: Sequence[tuple[np.ndarray, int]]) -> None:
        self._enter()
        pending: list[tuple[int, int, int]] = []  # target, staged, size
        for array, address in pairs:
            done = 0
            while done < array.nbytes:
                size = min(array.nbytes - done, STAGING)
                if self._used + size > STAGING:
                    self._finish(pending)
                staged = self._take(size)
                self._do("cuMemcpyDtoHAsync", staged, address + done, size, self.stream)
                pending.append((array.ctypes.data + done, staged, size))
                done += size
        self._finish(pending)

    def copy_between(self, target: int, source: int, nbytes: int) -> None:
        """Copy on the stream, after what was started on it and on the default stream."""
        self._enter()
        self._do("cuMemcpyDtoDAsync", target, source, nbytes, self.stream)

    def _finish(self, pending: list[tuple[int, int, int]]) -> None:
        self.synchronize()
        for target, staged, size in pending:
            ctypes.memmove(target, staged, size)
        pending.clear()

    def _take(self, size: int) -> int:
        """Pinned memory that no copy in flight uses."""
        if self._used + size > STAGING:
            self.synchronize()
        start = self._staging + self._used
        self._used += -(-size // ALIGN) * ALIGN
        return start

    def synchronize(self) -> None:
        """Wait for the stream; errors of kernels show here."""
        self._enter()
        with self._lock:
            self._do("cuStreamSynchronize", self.stream)
            self._used = 0

    def _enter(self) -> None:
        """Any thread may call: the context is per thread."""
        self._do("cuCtxSetCurrent", self.context)

    # -- code ------------------------------------------------------------------------------------

    def load(self, ptx: str) -> Any:
        """A module; the driver translates the PTX for this GPU."""
        self._enter()
        option, log = self.cu.CUjit_option, bytes(LOG)
        options = [option.CU_JIT_ERROR_LOG_BUFFER, option.CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES]
        image = ptx.encode() + b"\0"
        error, module = self.cu.cuModuleLoadDataEx(image, 2, options, [log, LOG])
        if int(error) != 0:
            said = log.split(b"\0")[0].decode(errors="replace").strip()
            raise DeviceError(f"the driver refuses a kernel: {self._words(error)}\n{said}")
        return module

    def _function(self, call: Call) -> Any:
        key = (id(call.module), call.launch.function)
        _, found = self._functions.get(key, (None, None))
        if found is None:
            found = self._do("cuModuleGetFunction", call.module, call.launch.function.encode())
            if call.launch.shared > STATIC_SHARED:
                name = self.cu.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
                self._do("cuFuncSetAttribute", found, name, call.launch.shared)
            self._functions[key] = call.module, found
        return found

    def capture(self, calls: Sequence[Call]) -> Callable[[], None]:
        """A CUDA graph of the calls, one after the other; the function launches it.

        Very many calls, as of nested loops, are launched one by one instead: a graph of them would
        take more memory and time to make than it saves.
        """
        self._enter()
        if not calls:
            return lambda: None
        if len(calls) > LONGEST:
            return lambda: self._launch_all(calls)
        graph = self._do("cuGraphCreate", 0)
        before: list[Any] = []
        for call in calls:
            node = self._do("cuGraphAddKernelNode", graph, before, len(before), self._node(call))
            before = [node]
        ready = self._do("cuGraphInstantiate", graph, 0)

        def replay() -> None:
            self._enter()
            self._do("cuGraphLaunch", ready, self.stream)

        return replay

    def launch(self, calls: Sequence[Call]) -> None:
        """Run the calls once, one after the other."""
        self._launch_all(calls)

    def _launch_all(self, calls: Sequence[Call]) -> None:
        self._enter()
        for call in calls:
            sizes = (*call.launch.grid, *call.launch.block, call.launch.shared)
            values = call.pointers, (ctypes.c_void_p,) * len(call.pointers)
            self._do("cuLaunchKernel", self._function(call), *sizes, self.stream, values, 0)

    def _node(self, call: Call) -> Any:
        node, launch = self.cu.CUDA_KERNEL_NODE_PARAMS(), call.launch
        node.func = self._function(call)
        node.gridDimX, node.gridDimY, node.gridDimZ = launch.grid
        node.blockDimX, node.blockDimY, node.blockDimZ = launch.block
        node.sharedMemBytes = launch.shared
        node.kernelParams = (call.pointers, (ctypes.c_void_p,) * len(call.pointers))
        return node
