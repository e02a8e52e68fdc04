"""LazyModuleMixin: modules that learn the sizes of their parameters from their first input."""

from __future__ import annotations

import warnings
from typing import Any

from ..autograd.modes import state
from ..trace_error import trace_error
from ._uninitialized import is_lazy


class LazyModuleMixin:
    """Comes before the base class of a lazy layer, which defines ``initialize_parameters``.

    The first call sets the sizes by that method; then the module becomes ``cls_to_become``.
    """

    cls_to_become: type | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._initialize_hook = self.register_forward_pre_hook(_infer_parameters, with_kwargs=True)
        warnings.warn(
            "Lazy modules are a new feature under heavy development so changes to the API or "
            "functionality can happen at any moment.",
            stacklevel=2,
        )

    def initialize_parameters(self, *args: Any, **kwargs: Any) -> None:
        """Materialize all parameters for the arguments of forward()."""
        raise NotImplementedError(
            f"initialize_parameters is not implemented for {type(self).__name__}"
        )

    def has_uninitialized_params(self) -> bool:
        """True until all own parameters and buffers have a shape."""
        members = (*self._parameters.values(), *self._buffers.values())
        return any(is_lazy(value) for value in members)

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        for name, value in self._persistent_state().items():
            kept = keep_vars or is_lazy(value)
            destination[prefix + name] = value if kept else value.detach()

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *rest: Any) -> None:
        """Take the shapes of lazy members from ``state_dict`` first."""
        waiting = []
        for name, value in self._persistent_state().items():
            key = prefix + name
            if not is_lazy(value) or key not in state_dict:
                continue
            if is_lazy(state_dict[key]):
                waiting.append((name, value))
            else:
                value.materialize(state_dict[key].shape)
        for name, _ in waiting:  # both sides have no shape: nothing to load
            del state_dict[prefix + name]
            self._members_of(name)[name] = None
        super()._load_from_state_dict(state_dict, prefix, *rest)
        for name, value in waiting:
            self._members_of(name)[name] = value

    def _apply(self, fn: Any, recurse: bool = True) -> Any:
        """Convert; lazy buffers stay lazy and take the new dtype."""
        waiting = {name: value for name, value in self._buffers.items() if is_lazy(value)}
        self._buffers.update(dict.fromkeys(waiting))
        super()._apply(fn, recurse)
        for name, value in waiting.items():
            made = type(value)(dtype=fn(value.data).dtype, persistent=value.persistent)
            self._buffers[name] = made
        return self

    def _members_of(self, name: str) -> dict:
        return self._parameters if name in self._parameters else self._buffers


def _infer_parameters(module: Any, args: tuple, kwargs: dict) -> None:
    """The hook of the first call: set the sizes and turn into a plain module."""
    if state.tracer is not None:
        raise trace_error(
            f"{type(module).__name__} has no parameters before its first call, so it cannot be "
            "recorded in a graph; call it once with an input of the right size before."
        )
    module.initialize_parameters(*args, **kwargs)
    if module.has_uninitialized_params():
        raise RuntimeError(
            f"module {module._get_name()} has not been fully initialized"
        )
    module._initialize_hook.remove()
    del module._initialize_hook
    if module.cls_to_become is not None:
        module.__class__ = module.cls_to_become


__all__ = ["LazyModuleMixin"]
