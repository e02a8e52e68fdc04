"""Optimizer, the base class: parameter groups, state and its dict format (torch.optim).

Updates are in-place tensor operations without branches on values, so that ``step()`` can be
traced into a graph. ``init_state()`` creates the state up front: a traced step then only updates
tensors that already exist.
"""

from __future__ import annotations

import functools
import warnings
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable
from copy import deepcopy
from itertools import chain
from typing import Any

import nncomp

from ..nn._tree import typename
from ..tensor import Tensor
from ..utils.hooks import RemovableHandle

Group = dict[str, Any]


def check_not_negative(name: str, value: Any) -> None:
    """Raise ValueError if the number ``value`` is negative; a tensor is not looked at."""
    if not isinstance(value, Tensor) and not value >= 0.0:
        raise ValueError(f"Invalid {name}: {value}")


def check_speed_options(differentiable: bool) -> None:
    """Refuse the option of torch that would change what step() records."""
    if differentiable:
        raise NotImplementedError(
            "differentiable=True was given, but step() records no gradient; leave it False."
        )


def _with_hooks(step: Callable) -> Callable:
    """Wrap the ``step`` of a subclass so that it runs the step hooks and is counted."""

    @functools.wraps(step)
    def hooked(self: Optimizer, *args: Any, **kwargs: Any) -> Any:
        self._opt_called = True
        for hook in self._optimizer_step_pre_hooks.values():
            new = hook(self, args, kwargs)
            if new is not None:
                if not (isinstance(new, tuple) and len(new) == 2):
                    raise RuntimeError(
                        f"{step} must return None or a tuple of (new_args, new_kwargs), "
                        f"but got {new}."
                    )
                args, kwargs = new
        result = step(self, *args, **kwargs)
        for hook in self._optimizer_step_post_hooks.values():
            hook(self, args, kwargs)
        return result

    return hooked


class Optimizer:
    """Base class; a subclass defines ``_update_group`` and, if it has state, ``init_param``.

    ``params`` is an iterable of tensors, of (name, tensor) pairs or of dicts with "params" and
    options of their own.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "step" in cls.__dict__:
            cls.step = _with_hooks(cls.__dict__["step"])

    def __init__(self, params: Iterable[Any], defaults: dict[str, Any]) -> None:
        self.defaults = defaults
        self.state: defaultdict[Tensor, dict[str, Any]] = defaultdict(dict)
        self.param_groups: list[Group] = []
        self._opt_called = False
        self._optimizer_step_pre_hooks: OrderedDict[int, Callable] = OrderedDict()
        self._optimizer_step_post_hooks: OrderedDict[int, Callable] = OrderedDict()
        if isinstance(params, Tensor):
            raise TypeError(
                "params argument given to the optimizer should be an iterable of Tensors or "
                f"dicts, but got {typename(params)}"
            )
        groups = list(params)
        if not groups:
            raise ValueError("optimizer got an empty parameter list")
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(group)

    def add_param_group(self, param_group: Group) -> None:
        """Add a group: a dict with "params" and options, which default to the optimizer's."""
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group)}")
        group = dict(param_group)
        params = group["params"]
        if isinstance(params, set):
            raise TypeError(
                "optimizer parameters need to be organized in ordered collections, but the "
                "ordering of tensors in sets will change between runs. Please use a list instead."
            )
        params = [params] if isinstance(params, Tensor) else list(params)
        _take_names(group, params)
        for param in group["params"]:
            _check_param(param)
        for name, default in self.defaults.items():
            group.setdefault(name, default)
        self._check_duplicates(group["params"])
        self.param_groups.append(group)

    def _check_duplicates(self, params: list[Tensor]) -> None:
        if len({id(p) for p in params}) != len(params):
            warnings.warn(
                "optimizer contains a parameter group with duplicate parameters; in future, "
                "this will cause an error",
                stacklevel=4,
            )
        used = {id(p) for group in self.param_groups for p in group["params"]}
        if used & {id(p) for p in params}:
            raise ValueError("some parameters appear in more than one parameter group")

    # ---- the step ----

    def init_param(self, group: Group, param: Tensor) -> None:
        """Create the state of one parameter, if it has none; the base class keeps no state."""

    def init_state(self) -> None:
        """Create the state of all parameters that require a gradient, before the first step."""
        for group in self.param_groups:
            for param in group["params"]:
                if param.requires_grad:
                    self.init_param(group, param)

    def _update_param(self, group: Group, param: Tensor, grad: Tensor) -> None:
        raise NotImplementedError

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update all parameters that have a gradient; return what ``closure`` returns."""
        raise NotImplementedError

    def _step(self, closure: Callable[[], Any] | None) -> Any:
        """Do what step() does in optimizers that treat one parameter at a time."""
        loss = None
        if closure is not None:
            with nncomp.enable_grad():
                loss = closure()
        with nncomp.no_grad():
            for group in self.param_groups:
                for param in group["params"]:
                    if param.grad is not None:
                        grad = -param.grad if group.get("maximize", False) else param.grad
                        self._update_param(group, param, grad)
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients of all parameters, or fill them with zeros."""
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is None:
                    continue
                if set_to_none:
                    param.grad = None
                else:
                    param.grad = nncomp.zeros_like(param.grad)

    def register_step_pre_hook(self, hook: Callable) -> RemovableHandle:
        """Call ``hook(optimizer, args, kwargs)`` before each step."""
        handle = RemovableHandle(self._optimizer_step_pre_hooks)
        self._optimizer_step_pre_hooks[handle.id] = hook
        return handle

    def register_step_post_hook(self, hook: Callable) -> RemovableHandle:
        """Call ``hook(optimizer, args, kwargs)`` after each step."""
        handle = RemovableHandle(self._optimizer_step_post_hooks)
        self._optimizer_step_post_hooks[handle.id] = hook
        return handle

    # ---- saving and loading ----

    def state_dict(self) -> dict[str, Any]:
        """Return {"state", "param_groups"}, in which parameters are numbered in order."""
        numbers: dict[int, int] = {}
        packed = []
        for group in self.param_groups:
            for param in group["params"]:
                numbers.setdefault(id(param), len(numbers))
            options = {name: value for name, value in group.items() if name != "params"}
            packed.append({**options, "params": [numbers[id(p)] for p in group["params"]]})
        state = {
            numbers[id(key)] if isinstance(key, Tensor) else key: value
            for key, value in self.state.items()
        }
        return {"state": state, "param_groups": packed}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the state and options of a dict that state_dict() made for equal groups."""
        saved = [dict(group) for group in state_dict["param_groups"]]
        if len(saved) != len(self.param_groups):
            raise ValueError("loaded state dict has a different number of parameter groups")
        for ours, theirs in zip(self.param_groups, saved, strict=True):
            if len(ours["params"]) != len(theirs["params"]):
                raise ValueError(
                    "loaded state dict contains a parameter group that doesn't match the size "
                    "of optimizer's group"
                )
        numbers = chain.from_iterable(group["params"] for group in saved)
        params = chain.from_iterable(group["params"] for group in self.param_groups)
        by_number = dict(zip(numbers, params, strict=True))
        state: defaultdict[Any, dict] = defaultdict(dict)
        for number, value in state_dict["state"].items():
            param = by_number.get(number)
            state[number if param is None else param] = _cast_state(param, value)
        groups = []
        for ours, theirs in zip(self.param_groups, saved, strict=True):
            if "param_names" in ours:
                theirs["param_names"] = ours["param_names"]
            groups.append({**deepcopy(theirs), "params": ours["params"]})
        self.__setstate__({"state": state, "param_groups": groups})

    def __getstate__(self) -> dict[str, Any]:
        return {
            "defaults": self.defaults,
            "state": self.state,
            "param_groups": self.param_groups,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        for name in ("_optimizer_step_pre_hooks", "_optimizer_step_post_hooks"):
            self.__dict__.setdefault(name, OrderedDict())
        self.__dict__.setdefault("_opt_called", False)
        self.__dict__.setdefault("defaults", {})
        for group in self.param_groups:  # options that an older version did not have
            for name, default in self.defaults.items():
                group.setdefault(name, default)

    def __repr__(self) -> str:
        text = f"{type(self).__name__} ("
        for number, group in enumerate(self.param_groups):
            text += f"\nParameter Group {number}\n"
            for name in sorted(group):
                value = group[name]
                if isinstance(value, Tensor) and value.dim() == 0:
                    value = value.item()
                if name != "params":
                    text += f"    {name}: {value}\n"
        return text + ")"


def _take_names(group: Group, params: list) -> None:
    """Put the tensors of ``params`` into ``group``, and their names if they come with them."""
    pairs = [isinstance(param, tuple) for param in params]
    if any(pairs) and not all(pairs):
        raise ValueError(
            "all optimizer params should be with/without names. Some param names are missing"
        )
    if pairs and all(pairs):
        group["param_names"] = [name for name, _ in params]
        params = [param for _, param in params]
    group["params"] = params


def _check_param(param: Any) -> None:
    if not isinstance(param, Tensor):
        raise TypeError(
            f"optimizer can only optimize Tensors, but one of the params is {typename(param)}"
        )
    if not param.is_leaf:
        raise ValueError("can't optimize a non-leaf Tensor")


def _cast_state(param: Tensor | None, value: Any, key: str = "") -> Any:
    """Copy loaded state; floating point tensors but "step" get the dtype of ``param``."""
    if isinstance(value, Tensor):
        copied = value.detach().clone()
        if param is None or key == "step":
            return copied
        cast = param.is_floating_point() and copied.is_floating_point()
        return copied.to(param.dtype) if cast else copied
    if isinstance(value, dict):
        return {name: _cast_state(param, entry, name) for name, entry in value.items()}
    return deepcopy(value)


__all__ = ["Optimizer"]
