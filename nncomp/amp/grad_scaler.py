"""GradScaler: losses are scaled up so that small gradients survive in float16 (torch.amp).

Gradients are divided by the scale before the optimizer sees them. A step with an infinite or nan
gradient is left out and the scale made smaller; after many good steps it is made larger
(Micikevicius et al., 2018, section 3.2).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import nncomp

from ..ir.types import float16
from ..tensor import Tensor

_READY, _UNSCALED, _STEPPED = range(3)


class GradScaler:
    """Scale a loss, unscale gradients, and leave out the steps in which one is inf or nan.

    `scaler.scale(loss).backward(); scaler.step(optimizer); scaler.update()`, with
    `scaler.unscale_(optimizer)` before step where gradients are clipped. `device` must be "cpu":
    for "cuda" it warns and does nothing, as torch does without a GPU. The scale starts at
    `init_scale`, is multiplied by `backoff_factor` after a step that was left out and by
    `growth_factor` after `growth_interval` steps in a row that were not.
    """

    def __init__(
        self, device: str = "cuda", init_scale: float = 65536.0, growth_factor: float = 2.0,
        backoff_factor: float = 0.5, growth_interval: int = 2000, enabled: bool = True,
    ) -> None:  # fmt: skip
        self._device = device
        if enabled and device != "cpu":
            warnings.warn(
                "GradScaler is enabled, but there is no GPU.  Disabling. (GradScaler('cpu') scales "
                "on the CPU.)",
                stacklevel=2,
            )
            enabled = False
        self._enabled = bool(enabled)
        if not self._enabled:
            return
        if not growth_factor > 1.0:
            raise AssertionError("The growth factor must be > 1.0.")
        if not backoff_factor < 1.0:
            raise AssertionError("The backoff factor must be < 1.0.")
        self._growth_factor, self._backoff_factor = growth_factor, backoff_factor
        self._growth_interval = growth_interval
        self._scale = nncomp.tensor(float(init_scale), dtype=nncomp.float32)
        self._growth_tracker = nncomp.tensor(0, dtype=nncomp.int32)
        self._optimizers: dict[int, tuple[Any, int, Tensor]] = {}  # optimizer, stage, found

    # -- one step ---------------------------------------------------------------------------------

    def scale(self, outputs: Any) -> Any:
        """A loss, or losses in nested lists and tuples, times the scale."""
        if not self._enabled:
            return outputs
        if isinstance(outputs, Tensor):
            return outputs * self._scale
        if isinstance(outputs, Iterable):
            scaled = map(self.scale, outputs)
            return type(outputs)(scaled) if isinstance(outputs, (list, tuple)) else scaled
        raise ValueError("outputs must be a Tensor or an iterable of Tensors")

    def unscale_(self, optimizer: Any) -> None:
        """Divide the gradients of the optimizer's parameters by the scale, in place.

        step() does it if this was not called. RuntimeError after step(), or twice before update();
        ValueError for gradients in float16, where the division would lose what scaling saved.
        """
        if not self._enabled:
            return
        stage = self._stage(optimizer)
        if stage == _UNSCALED:
            raise RuntimeError(
                "unscale_() has already been called on this optimizer since the last update()."
            )
        if stage == _STEPPED:
            raise RuntimeError("unscale_() is being called after step().")
        gradients = gradients_of(optimizer)
        if not gradients:
            raise AssertionError("No inf checks were recorded for this optimizer.")
        found = unscale(gradients, self._scale)
        self._optimizers[id(optimizer)] = optimizer, _UNSCALED, found

    def step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """optimizer.step(*args, **kwargs), unless a gradient is inf or nan: then None.

        RuntimeError for a closure, and if update() was not called since the last step.
        """
        if not self._enabled:
            return optimizer.step(*args, **kwargs)
        if "closure" in kwargs:
            raise RuntimeError("Closure use is not currently supported if GradScaler is enabled.")
        if self._stage(optimizer) == _STEPPED:
            raise RuntimeError("step() has already been called since the last update().")
        if self._stage(optimizer) == _READY:
            self.unscale_(optimizer)
        found = self._optimizers[id(optimizer)][2]
        result = None if found.item() else optimizer.step(*args, **kwargs)
        self._optimizers[id(optimizer)] = optimizer, _STEPPED, found
        return result

    def update(self, new_scale: float | Tensor | None = None) -> None:
        """Make the scale smaller or larger after the steps of all optimizers, or `new_scale`.

        AssertionError if no gradient was looked at since the last update.
        """
        if not self._enabled:
            return
        if new_scale is not None:
            value = new_scale.item() if isinstance(new_scale, Tensor) else float(new_scale)
            self._scale.fill_(value)
        else:
            found = [f for _, _, f in self._optimizers.values()]
            if not found:
                raise AssertionError("No inf checks were recorded prior to update.")
            self.move(nncomp.stack(found).amax())
        self._optimizers.clear()

    def move(self, found: Tensor) -> None:
        """The new scale and growth count, in place; `found` is 1 if a gradient was inf or nan."""
        with nncomp.no_grad():
            bad = found > 0
            count = nncomp.where(bad, 0, self._growth_tracker + 1)
            grows = count == self._growth_interval
            grown = self._scale * self._growth_factor
            grown = nncomp.where(nncomp.isfinite(grown), grown, self._scale)
            kept = nncomp.where(grows, grown, self._scale)
            self._scale.copy_(nncomp.where(bad, self._scale * self._backoff_factor, kept))
            self._growth_tracker.copy_(nncomp.where(grows, 0, count))

    def _stage(self, optimizer: Any) -> int:
        known = self._optimizers.get(id(optimizer))
        return _READY if known is None else known[1]

    # -- settings and state -----------------------------------------------------------------------

    def get_scale(self) -> float:
        """The scale as a number; 1.0 if disabled."""
        return self._scale.item() if self._enabled else 1.0

    def get_growth_factor(self) -> float:
        """The factor of a larger scale."""
        return self._growth_factor

    def set_growth_factor(self, new_factor: float) -> None:
        """Set the factor of a larger scale."""
        self._growth_factor = new_factor

    def get_backoff_factor(self) -> float:
        """The factor of a smaller scale."""
        return self._backoff_factor

    def set_backoff_factor(self, new_factor: float) -> None:
        """Set the factor of a smaller scale."""
        self._backoff_factor = new_factor

    def get_growth_interval(self) -> int:
        """The number of good steps before the scale grows."""
        return self._growth_interval

    def set_growth_interval(self, new_interval: int) -> None:
        """Set the number of good steps before the scale grows."""
        self._growth_interval = new_interval

    def is_enabled(self) -> bool:
        """Whether this scaler does anything."""
        return self._enabled

    def state_dict(self) -> dict[str, Any]:
        """Scale, factors and counts as numbers; an empty dict if disabled. Call it after update().
        """
        if not self._enabled:
            return {}
        return {
            "scale": self.get_scale(),
            "growth_factor": self._growth_factor,
            "backoff_factor": self._backoff_factor,
            "growth_interval": self._growth_interval,
            "_growth_tracker": self._growth_tracker.item(),
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Take over what state_dict() gave, also torch's. RuntimeError for an empty dict."""
        if not self._enabled:
            return
        if not state_dict:
            raise RuntimeError(
                "The source state dict is empty, possibly because it was saved "
                "from a disabled instance of GradScaler."
            )
        self._scale.fill_(state_dict["scale"])
        self._growth_factor = state_dict["growth_factor"]
        self._backoff_factor = state_dict["backoff_factor"]
        self._growth_interval = state_dict["growth_interval"]
        self._growth_tracker.fill_(state_dict["_growth_tracker"])

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        if state.get("_optimizers"):
            raise RuntimeError(
                "A GradScaler instance may only be pickled at the beginning of an iteration, or at "
                "the end after scaler.update()."
            )
        return state


def gradients_of(optimizer: Any) -> list[Tensor]:
    """The gradients of all parameters of an optimizer that have one."""
    groups = optimizer.param_groups
    return [p.grad for group in groups for p in group["params"] if p.grad is not None]


def unscale(gradients: Iterable[Tensor], scale: Tensor) -> Tensor:
    """Divide gradients by `scale` in place; 1.0 (0-d) if one of them is inf or nan, else 0.0."""
    flags = []
    with nncomp.no_grad():
        inverse = scale.double().reciprocal().float()
        for g in gradients:
            if g.dtype is float16:
                raise ValueError("Attempting to unscale FP16 gradients.")
            flags.append(nncomp.isfinite(g).all())
            g.mul_(inverse.to(g.dtype) if g.dtype is nncomp.float64 else inverse)
        return nncomp.logical_not(nncomp.stack(flags).all()).float()


__all__ = ["GradScaler", "gradients_of", "unscale"]
