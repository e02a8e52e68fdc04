"""The older names of nncomp.amp for "cuda": without a GPU they warn and change nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import amp
from ..ir import DType
from ..ir.types import float16


class autocast(amp.autocast):  # noqa: N801  (torch's name)
    """amp.autocast("cuda", ...): it has no effect."""

    def __init__(
        self, enabled: bool = True, dtype: DType = float16, cache_enabled: bool = True
    ) -> None:
        super().__init__("cuda", dtype, enabled, cache_enabled)


class GradScaler(amp.GradScaler):
    """amp.GradScaler("cuda", ...): it scales nothing."""

    def __init__(
        self, init_scale: float = 65536.0, growth_factor: float = 2.0, backoff_factor: float = 0.5,
        growth_interval: int = 2000, enabled: bool = True,
    ) -> None:  # fmt: skip
        factors = growth_factor, backoff_factor
        super().__init__("cuda", init_scale, *factors, growth_interval, enabled)


def custom_fwd(fwd: Callable | None = None, *, cast_inputs: DType | None = None) -> Any:
    """amp.custom_fwd for "cuda"."""
    return amp.custom_fwd(fwd, device_type="cuda", cast_inputs=cast_inputs)


def custom_bwd(bwd: Callable | None = None) -> Any:
    """amp.custom_bwd for "cuda"."""
    return amp.custom_bwd(bwd, device_type="cuda")


__all__ = ["GradScaler", "autocast", "custom_bwd", "custom_fwd"]
