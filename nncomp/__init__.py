"""nncomp: a static-graph compiler for torch-style Modules.

`import nncomp as torch` gives the names that programs for torch use. Tensors run at once (numpy) or
are recorded into a graph that is compiled; the compiler, layers, optimizers and data loaders are
imported when they are first used.
"""
# ruff: noqa: F401, F403

from __future__ import annotations

import math as _math
from importlib import import_module as _import_module
from typing import Any as _Any

from .tensor import Tensor  # first: it binds dispatch and the functions to each other  # isort: skip

from . import autograd, backends, cuda, flags
from .autograd.modes import (
    enable_grad,
    inference_mode,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_grad_enabled,
)
from .device import device
from .flags import (
    are_deterministic_algorithms_enabled,
    get_default_device,
    get_float32_matmul_precision,
    get_num_threads,
    set_default_device,
    set_default_tensor_type,
    set_float32_matmul_precision,
    set_num_threads,
    use_deterministic_algorithms,
)
from .functions import *
from .functions import __all__ as _functions
from .functions.argument_errors import explain_all as _explain_all
from .functions.legacy import (
    BFloat16Tensor,
    BoolTensor,
    ByteTensor,
    CharTensor,
    DoubleTensor,
    FloatTensor,
    HalfTensor,
    IntTensor,
    LongTensor,
    ShortTensor,
)
from .in_place_names import NAMES as _IN_PLACE
from .ir.types import DType as dtype
from .ir.types import bfloat16, float16, float32, float64, int8, int16, int32, int64, uint8
from .ir.types import bool_ as bool
from .printing import set_printoptions
from .random_state import (
    Generator,
    default_generator,
    get_rng_state,
    initial_seed,
    manual_seed,
    seed,
    set_rng_state,
)
from .refused import missing as _missing
from .size import Size

half, float, double = float16, float32, float64
short, int, long = int16, int32, int64
e, pi, inf, nan = _math.e, _math.pi, _math.inf, _math.nan
newaxis = None
strided = flags.strided
layout = memory_format = type(flags.strided)
contiguous_format = flags.contiguous_format
preserve_format = flags.preserve_format
channels_last = flags.channels_last

flags.attach(backends)
_explain_all(globals(), _functions)

_MODULES = (
    "amp", "aot", "cpu", "datasets", "func", "linalg", "nn", "onnx", "optim", "safetensors",
    "serialization", "special", "testing", "utils",
)  # fmt: skip
_LAZY = {
    "GradScaler": "amp",
    "TypedStorage": "storage",
    "UntypedStorage": "storage",
    "autocast": "amp",
    "compile": "compiler",
    "compile_train_step": "train_step",
    "from_dlpack": "dlpack",
    "load": "serialization",
    "save": "serialization",
    "to_dlpack": "dlpack",
    "vmap": "func",
    "trace": "tracing",
}
_LAZY |= dict.fromkeys(
    (
        "compiled_with_cxx11_abi "
        "get_deterministic_debug_mode get_num_interop_threads has_lapack has_mkl has_openmp "
        "has_spectral is_anomaly_check_nan_enabled is_anomaly_enabled "
        "is_deterministic_algorithms_warn_only_enabled is_vulkan_available "
        "is_warn_always_enabled set_deterministic_debug_mode set_flush_denormal "
        "set_num_interop_threads set_warn_always "
    ).split(),
    "settings",
)
_LAZY |= dict.fromkeys(
    (
        "clear_autocast_cache get_autocast_cpu_dtype get_autocast_dtype is_autocast_cache_enabled "
        "is_autocast_cpu_enabled is_autocast_enabled"
    ).split(),
    "amp.autocast_mode",
)


def __getattr__(name: str) -> _Any:
    """Import what is heavy when it is first used."""
    if name in _MODULES:
        return _import_module(f".{name}", __name__)
    if name in _LAZY:
        value = getattr(_import_module(f".{_LAZY[name]}", __name__), name)
    elif name == "random":
        value = _import_module(".random_state", __name__)
    elif name == "__version__":
        from importlib.metadata import version

        value = version("nncomp")
    elif name in _IN_PLACE:
        value = getattr(Tensor, name)
    else:
        raise _missing("nncomp", name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES, *_LAZY, *_IN_PLACE, "__version__"})
