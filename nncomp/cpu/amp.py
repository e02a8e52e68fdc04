"""The older names of nncomp.amp for "cpu"."""

from __future__ import annotations

from .. import amp
from ..ir import DType
from ..ir.types import bfloat16


class autocast(amp.autocast):  # noqa: N801  (torch's name)
    """amp.autocast("cpu", ...)."""

    def __init__(
        self, enabled: bool = True, dtype: DType = bfloat16, cache_enabled: bool = True
    ) -> None:
        super().__init__("cpu", dtype, enabled, cache_enabled)


class GradScaler(amp.GradScaler):
    """amp.GradScaler("cpu", ...)."""

    def __init__(
        self, init_scale: float = 65536.0, growth_factor: float = 2.0, backoff_factor: float = 0.5,
        growth_interval: int = 2000, enabled: bool = True,
    ) -> None:  # fmt: skip
        factors = growth_factor, backoff_factor
        super().__init__("cpu", init_scale, *factors, growth_interval, enabled)


__all__ = ["GradScaler", "autocast"]
