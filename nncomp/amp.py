"""Mixed precision with torch.amp's names: switched off, as it is on a machine without a GPU.

Computations keep the dtype of their operands. `autocast(enabled=False)` and a GradScaler that
scales nothing let training scripts run unchanged.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any


class autocast:  # noqa: N801  (torch's name)
    """A context (and decorator) that changes nothing.

    On "cuda" it warns, as torch does without a GPU; on "cpu" NotImplementedError if `enabled`.
    """

    def __init__(
        self, device_type: str, dtype: Any = None, enabled: bool = True,
        cache_enabled: bool | None = None,
    ) -> None:  # fmt: skip
        if not isinstance(device_type, str):
            raise ValueError(
                f"Expected `device_type` of type `str`, got: `{type(device_type)}`"
            )
        if enabled and device_type == "cpu":
            raise NotImplementedError(
                "autocast('cpu'): mixed precision is not supported, as computations keep the dtype "
                "of their operands; give enabled=False, or convert the model with .to(dtype)"
            )
        if enabled:
            warnings.warn(
                f"User provided device_type of '{device_type}', but there is no such device. "
                "Disabling",
                stacklevel=2,
            )
        self.device, self.dtype = device_type, dtype

    def __enter__(self) -> autocast:
        return self

    def __exit__(self, *error: Any) -> None:
        return None

    def __call__(self, function: Callable) -> Callable:
        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with self:
                return function(*args, **kwargs)

        return wrapped


class GradScaler:
    """Scales nothing: what it does where there is no GPU."""

    def __init__(
        self, device: str = "cuda", init_scale: float = 65536.0, growth_factor: float = 2.0,
        backoff_factor: float = 0.5, growth_interval: int = 2000, enabled: bool = True,
    ) -> None:  # fmt: skip
        if enabled:
            warnings.warn(
                "GradScaler is enabled, but there is no GPU.  Disabling.", stacklevel=2
            )

    def scale(self, outputs: Any) -> Any:
        """The losses, unchanged."""
        return outputs

    def unscale_(self, optimizer: Any) -> None:
        """Nothing: gradients are not scaled."""

    def step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """optimizer.step()."""
        return optimizer.step(*args, **kwargs)

    def update(self, new_scale: Any = None) -> None:
        """Nothing: there is no scale."""

    def get_scale(self) -> float:
        """1.0."""
        return 1.0

    def is_enabled(self) -> bool:
        """False."""
        return False

    def state_dict(self) -> dict[str, Any]:
        """An empty dict."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Nothing: there is no state."""


def is_autocast_available(device_type: str) -> bool:
    """False."""
    return False


__all__ = ["GradScaler", "autocast", "is_autocast_available"]
