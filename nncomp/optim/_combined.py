"""Schedulers made of schedulers: ChainedScheduler and SequentialLR."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from ._cycles import ReduceLROnPlateau
from ._scheduler import LRScheduler, copied, set_rate
from .optimizer import Optimizer


def _check(owner: str, schedulers: Sequence[Any], optimizer: Any) -> None:
    """Raise an error for schedulers that cannot be combined."""
    for number, scheduler in enumerate(schedulers):
        kind = type(scheduler).__name__
        if not hasattr(scheduler, "optimizer"):
            raise TypeError(
                f"{owner} at index {number} should have `optimizer` as its attribute."
            )
        if isinstance(scheduler, ReduceLROnPlateau):
            raise ValueError(
                f"{owner} does not support `ReduceLROnPlateau` scheduler as it requires additional "
                "kwargs to be specified when calling `step`, but got one at index "
                f"{number} in the given schedulers sequence."
            )
        if scheduler.optimizer is not optimizer:
            raise ValueError(
                f"{owner} expects all schedulers to belong to the same optimizer, but got "
                f"scheduler {kind} at index {number} with another one than "
                f"{type(optimizer).__name__}."
            )


class _Combined(LRScheduler):
    """A scheduler with a list of others, whose state it saves too."""

    _schedulers: list[Any]

    def state_dict(self) -> dict[str, Any]:
        """Return all attributes but the optimizer, and the state dicts of the schedulers."""
        state = {k: v for k, v in self.__dict__.items() if k not in ("optimizer", "_schedulers")}
        state["_schedulers"] = [scheduler.state_dict() for scheduler in self._schedulers]
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take what state_dict() returned."""
        state = dict(state_dict)
        parts = state.pop("_schedulers")
        self.__dict__.update(state)
        for scheduler, part in zip(self._schedulers, parts, strict=True):
            scheduler.load_state_dict(part)


class ChainedScheduler(_Combined):
    """Several schedulers of one optimizer that all step at each ``step()``."""

    def __init__(
        self, schedulers: Sequence[LRScheduler], optimizer: Optimizer | None = None
    ) -> None:
        if len(schedulers) < 1:
            raise ValueError(
                "ChainedScheduler expects at least one scheduler to be chained, but got no "
                "scheduler."
            )
        optimizer = optimizer or schedulers[0].optimizer
        _check("ChainedScheduler", schedulers, optimizer)
        self._schedulers, self.optimizer = list(schedulers), optimizer
        self._last_lr = [copied(rate) for rate in self._rates()]

    def step(self) -> None:  # type: ignore[override]
        """Step all schedulers in order."""
        for scheduler in self._schedulers:
            scheduler.step()
        self._last_lr = [copied(rate) for rate in self._rates()]


class SequentialLR(_Combined):
    """Schedulers that take turns: the next one begins at each epoch of ``milestones``."""

    def __init__(
        self, optimizer: Optimizer, schedulers: list[LRScheduler], milestones: list[int],
        last_epoch: int = -1,
    ) -> None:  # fmt: skip
        if len(schedulers) < 1:
            raise ValueError(
                "SequentialLR expects at least one scheduler to be chained, but got no scheduler."
            )
        _check("SequentialLR", schedulers, optimizer)
        if len(milestones) != len(schedulers) - 1:
            raise ValueError(
                "Sequential Schedulers expects number of schedulers provided to be one more than "
                f"the number of milestone points, but got number of schedulers {len(schedulers)} "
                f"and the number of milestones to be equal to {len(milestones)}"
            )
        for scheduler in schedulers[1:]:
            if isinstance(scheduler, _Combined):
                raise NotImplementedError(
                    f"SequentialLR: a {type(scheduler).__name__} can only be the first of the "
                    "schedulers, as it cannot begin again at epoch 0; give its parts instead"
                )
        self._schedulers, self._milestones = schedulers, milestones
        self.last_epoch, self.optimizer = last_epoch + 1, optimizer
        for group in optimizer.param_groups:
            set_rate(group, group["initial_lr"])
        _undo(self)
        _first_step(schedulers[0])
        self._last_lr = schedulers[0].get_last_lr()

    def step(self) -> None:  # type: ignore[override]
        """Step the scheduler whose turn it is; its first epoch is its epoch 0."""
        self.last_epoch += 1
        turn = bisect_right(self._milestones, self.last_epoch)
        scheduler = self._schedulers[turn]
        if turn > 0 and self._milestones[turn - 1] == self.last_epoch:
            scheduler.step(0)
        else:
            scheduler.step()
        self._last_lr = scheduler.get_last_lr()


def _undo(scheduler: Any) -> None:
    """Take back the step that the constructor of each inner scheduler made."""
    for inner in getattr(scheduler, "_schedulers", ()):
        _undo(inner)
    if not isinstance(scheduler, _Combined):
        scheduler.last_epoch -= 1


def _first_step(scheduler: Any) -> None:
    """Do again the first step of a scheduler."""
    inner = getattr(scheduler, "_schedulers", None)
    if inner is not None:
        if isinstance(scheduler, SequentialLR):
            scheduler.last_epoch += 1  # as torch: an inner SequentialLR is one epoch ahead
        for each in inner if isinstance(scheduler, ChainedScheduler) else inner[:1]:
            _first_step(each)
        return
    scheduler._is_initial = True
    scheduler.step()
    scheduler._is_initial = False


__all__ = ["ChainedScheduler", "SequentialLR"]
