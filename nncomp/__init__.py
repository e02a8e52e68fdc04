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
from .size import Size

half, float, double = float16, float32, float64
short, int, long = int16, int32, int64
e, pi, inf, nan = _math.e, _math.pi, _math.inf, _math.nan
strided = flags.strided
contiguous_format = flags.contiguous_format
preserve_format = flags.preserve_format
channels_last = flags.channels_last

flags.attach(backends)

_MODULES = ("datasets", "nn", "optim", "serialization", "utils")
_LAZY = {
    "compile": "compiler",
    "compile_train_step": "train_step",
    "load": "serialization",
    "save": "serialization",
    "trace": "tracing",
}


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
    else:
        raise AttributeError(f"module 'nncomp' has no attribute '{name}'")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES, *_LAZY, "__version__"})
