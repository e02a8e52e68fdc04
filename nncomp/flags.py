"""Global settings of torch that have a meaning, or at least an honest answer.

Results are always deterministic, so that switch is remembered and changes nothing. float32 products
have full precision on the CPU; on GPUs they follow set_float32_matmul_precision.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from .device import CPU, device, require_cpu
from .functions.base import set_default_dtype
from .ir.debug import debug

PRECISIONS = {"highest": "strict", "high": "tf32", "medium": "tf32"}
_settings = {"deterministic": False, "precision": "highest"}


class _Named:
    """A constant that only has a name, such as torch.strided."""

    def __init__(self, name: str):
        self.name = name

    def __repr__(self) -> str:
        return f"torch.{self.name}"


strided = _Named("strided")
contiguous_format = _Named("contiguous_format")
preserve_format = _Named("preserve_format")
channels_last = _Named("channels_last")


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Remember `mode`; all operations are deterministic anyway."""
    _settings["deterministic"] = bool(mode)


def are_deterministic_algorithms_enabled() -> bool:
    """What use_deterministic_algorithms() was last called with."""
    return _settings["deterministic"]


def set_float32_matmul_precision(precision: str) -> None:
    """How GPU code multiplies float32: "highest" in float32, "high" and "medium" in tf32.

    Programs compiled without the option `matmul_precision` follow it, unless the environment sets
    NNCOMP_MATMUL_PRECISION; convolutions are products, too. CPU code always has full precision.
    RuntimeError for other words.
    """
    if precision not in PRECISIONS:
        raise RuntimeError(f"precision must be 'highest', 'high' or 'medium', got {precision!r}")
    _settings["precision"] = precision
    debug.set_default("matmul_precision", PRECISIONS[precision])


def get_float32_matmul_precision() -> str:
    """What set_float32_matmul_precision() was last called with."""
    return _settings["precision"]


def set_default_tensor_type(type: Any) -> None:
    """Set the default dtype by a type or name such as FloatTensor or "torch.DoubleTensor"."""
    from .functions.convert import LEGACY_TYPES

    name = type if isinstance(type, str) else getattr(type, "__name__", repr(type))
    found = LEGACY_TYPES.get(name.removeprefix("torch."))
    if found is None:
        raise TypeError(f"expected a tensor type such as torch.FloatTensor, got {type!r}")
    set_default_dtype(found)


def set_default_device(device: Any) -> None:
    """Accept the CPU, refuse others: tensors live on the CPU."""
    require_cpu(device)


def get_default_device() -> device:
    """The CPU."""
    return CPU


def set_num_threads(n: int) -> None:
    """Run compiled programs with `n` threads."""
    from .backends.cpu import threads

    threads.set_num_threads(n)


def get_num_threads() -> int:
    """Threads that compiled programs run with."""
    from .backends.cpu import threads

    return threads.get_num_threads()


class _CudaMatmul:
    """torch.backends.cuda.matmul."""

    @property
    def allow_tf32(self) -> bool:
        """Whether GPU code may multiply float32 in tf32: set_float32_matmul_precision as a bool."""
        return _settings["precision"] != "highest"

    @allow_tf32.setter
    def allow_tf32(self, value: bool) -> None:
        set_float32_matmul_precision("high" if value else "highest")


def attach(backends: Any) -> None:
    """Give the package `backends` the switches that programs set under torch.backends."""
    no = lambda: False  # noqa: E731
    backends.cudnn = SimpleNamespace(
        is_available=no, version=lambda: None, enabled=False, benchmark=False, deterministic=True,
        allow_tf32=False,
    )  # fmt: skip
    backends.cuda = SimpleNamespace(is_built=no, matmul=_CudaMatmul())
    backends.mps = SimpleNamespace(is_available=no, is_built=no)
    backends.mkldnn = SimpleNamespace(is_available=no, enabled=False)
