"""nncomp.cuda: what torch.cuda answers without a GPU, as tensors live on the CPU.

Compiled code can run on a GPU all the same: `compile(model, backend="ptx")` copies what it needs
there. `ptx` gives the code as text, `driver` says whether it could run on this machine.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ..device import require_cpu


def is_available() -> bool:
    """False: tensors live on the CPU."""
    return False


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
    """False."""
    return False


def device_count() -> int:
    """0."""
    return 0


def is_bf16_supported() -> bool:
    """False."""
    return False


def current_device() -> int:
    """RuntimeError: there is no CUDA device."""
    require_cpu("cuda")
    return -1


def get_device_name(device: Any = None) -> str:
    """RuntimeError: there is no CUDA device."""
    require_cpu("cuda" if device is None else device)
    return ""


def set_device(device: Any) -> None:
    """RuntimeError: there is no CUDA device."""
    require_cpu(device if isinstance(device, (str, int)) else "cuda")


def manual_seed(seed: int) -> None:
    """Nothing: there is no CUDA generator to seed (torch ignores it too)."""


def manual_seed_all(seed: int) -> None:
    """Nothing: there is no CUDA generator to seed (torch ignores it too)."""


def empty_cache() -> None:
    """Nothing: no CUDA memory is cached."""


def synchronize(device: Any = None) -> None:
    """Nothing: operations are complete when they return."""


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
