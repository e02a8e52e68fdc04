"""nncomp.cuda: what torch.cuda answers, for at most one GPU.

Tensors on it (`memory.py`) are used by operations (`eager.py`) and compiled programs
(`running.py`) where they lie. `ptx` gives the code of a model as text and needs no GPU.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any


def is_available() -> bool:
    """Whether tensors can be on a GPU: a driver and cuda-bindings, or the simulator."""
    from ..backends.ptx.device import DeviceError, get_device

    try:
        get_device()
    except DeviceError:
        return False
    return True


def driver() -> str:
    """The name of the GPU that code compiled with backend="ptx" runs on.

    With NNCOMP_PTX_DEVICE=simulator that is the interpreter. Raises DeviceError (a RuntimeError)
    with what is missing: the package cuda-bindings, a driver, or a GPU.
    """
    from ..backends.ptx.device import get_device

    return get_device().name


def ptx(model: Any, *args: Any, **kwargs: Any) -> str:
    """The PTX text of a Module or function for these arguments; needs no GPU and runs nothing.

    One module per kernel, for the GPU that NNCOMP_PTX_TARGET names (sm_80 by default).
    """
    return _compiled(model, args, kwargs)[0].runner.ptx


def bind(model: Any, *args: Any) -> Any:
    """The Module or function as a function of arrays in GPU memory, like the Tensors `args`.

    It takes what has `__cuda_array_interface__` (arrays of torch, CuPy, numba), contiguous and of
    the same shapes and dtypes, and gives DeviceArrays (a tuple of them if there are several
    results), which have it too: nothing passes through the host. Parameters are copied to the GPU
    here, once. Raises ValueError for functions that need gradients, write to tensors or draw random
    numbers, and DeviceError without a GPU.
    """
    from .arrays import bound

    return bound(*_compiled(model, args, {}))


def _compiled(model: Any, args: tuple, kwargs: dict) -> tuple[Any, list]:
    """The program of a model for these arguments, compiled but not run, and their tensors."""
    from ..compiler import compile
    from ..signature import signature

    compiled = compile(model, backend="ptx")
    function = getattr(compiled, "_compiled_forward", compiled)
    leaves, key = signature(args, kwargs)
    program = function.find(key, leaves)
    return program or function._compile(key, args, kwargs, leaves), leaves


def is_initialized() -> bool:
    """Whether a device is there: it is ready as soon as it is asked for."""
    return is_available()


def device_count() -> int:
    """1 where tensors can be on a GPU, else 0."""
    return int(is_available())


def is_bf16_supported() -> bool:
    """Whether there is a device; all that code is made for have bfloat16."""
    return is_available()


def current_device() -> int:
    """0; DeviceError (a RuntimeError) says what is missing without a device."""
    return _required("cuda").index or 0


def get_device_name(device: Any = None) -> str:
    """The name of the GPU; DeviceError (a RuntimeError) without one."""
    _required("cuda" if device is None else device)
    return driver()


def set_device(device: Any) -> None:
    """Nothing for device 0, the only one; RuntimeError for others, or without a GPU."""
    _required(device)


def _required(where: Any) -> Any:
    """The device; DeviceError or RuntimeError if tensors cannot be there."""
    from .eager import require

    return require(where)


def manual_seed(seed: int) -> None:
    """Nothing: random numbers are those of the CPU's generator, on every device."""


def manual_seed_all(seed: int) -> None:
    """Nothing: random numbers are those of the CPU's generator, on every device."""


def empty_cache() -> None:
    """Nothing: no CUDA memory is cached."""


def synchronize(device: Any = None) -> None:
    """Wait until everything on the GPU has ended."""
    if is_available():
        from ..backends.ptx.device import get_device

        get_device().synchronize()


def memory_allocated(device: Any = None) -> int:
    """0: no CUDA memory is in use."""
    return 0


def max_memory_allocated(device: Any = None) -> int:
    """0: no CUDA memory was in use."""
    return 0


def __getattr__(name: str) -> Any:
    """The module `amp`, imported when it is first used."""
    if name == "amp":
        return import_module(".amp", __name__)
    raise AttributeError(f"module 'nncomp.cuda' has no attribute '{name}'")
