"""Registration of module hooks: on one module (ModuleHooks) and on all of them (globals).

The hook kinds, their order and the shape of what they return follow torch.nn.Module. The calls
themselves are in ``_call.py``.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from ..utils.hooks import RemovableHandle

Hook = Callable[..., Any]

_MIXED = (
    "Cannot use both regular backward hooks and full backward hooks on a "
    "single Module. Please use only one of them."
)
_MIXED_GLOBAL = (
    "Cannot use both regular backward hooks and full backward hooks as a global Module hook. "
    "Please use only one of them."
)


class GlobalHooks:
    """The hooks that run for every module of the process."""

    def __init__(self) -> None:
        self.buffer_registration: OrderedDict[int, Hook] = OrderedDict()
        self.module_registration: OrderedDict[int, Hook] = OrderedDict()
        self.parameter_registration: OrderedDict[int, Hook] = OrderedDict()
        self.forward_pre: OrderedDict[int, Hook] = OrderedDict()
        self.forward: OrderedDict[int, Hook] = OrderedDict()
        self.forward_with_kwargs: OrderedDict[int, bool] = OrderedDict()
        self.forward_always_called: OrderedDict[int, bool] = OrderedDict()
        self.backward_pre: OrderedDict[int, Hook] = OrderedDict()
        self.backward: OrderedDict[int, Hook] = OrderedDict()
        self.backward_is_full: bool | None = None

    def around_call(self) -> bool:
        """Tell whether any global hook runs around a module call."""
        return bool(self.forward_pre or self.forward or self.backward_pre or self.backward)


GLOBAL = GlobalHooks()


def _add(hooks: OrderedDict, hook: Hook, *flags: tuple[OrderedDict, bool]) -> RemovableHandle:
    """Store ``hook``, mark its number in the dicts of ``flags`` that are true, return a handle."""
    handle = RemovableHandle(hooks, extra_dict=[marks for marks, _ in flags])
    hooks[handle.id] = hook
    for marks, wanted in flags:
        if wanted:
            marks[handle.id] = True
    return handle


def register_module_buffer_registration_hook(hook: Hook) -> RemovableHandle:
    """Call ``hook(module, name, buffer)`` at each register_buffer; it may return another."""
    return _add(GLOBAL.buffer_registration, hook)


def register_module_module_registration_hook(hook: Hook) -> RemovableHandle:
    """Call ``hook(module, name, submodule)`` at each register_module; it may return another."""
    return _add(GLOBAL.module_registration, hook)


def register_module_parameter_registration_hook(hook: Hook) -> RemovableHandle:
    """Call ``hook(module, name, param)`` at each register_parameter; it may return another."""
    return _add(GLOBAL.parameter_registration, hook)


def register_module_forward_pre_hook(hook: Hook) -> RemovableHandle:
    """Call ``hook(module, args)`` before forward() of every module."""
    return _add(GLOBAL.forward_pre, hook)


def register_module_forward_hook(
    hook: Hook, *, with_kwargs: bool = False, always_call: bool = False
) -> RemovableHandle:
    """Call ``hook(module, args, output)`` after forward() of every module."""
    return _add(
        GLOBAL.forward,
        hook,
        (GLOBAL.forward_with_kwargs, with_kwargs),
        (GLOBAL.forward_always_called, always_call),
    )


def register_module_backward_hook(hook: Hook) -> RemovableHandle:
    """Call ``hook(module, grad_input, grad_output)`` at the last node of every module."""
    if GLOBAL.backward_is_full is True:
        raise RuntimeError(_MIXED_GLOBAL)
    GLOBAL.backward_is_full = False
    return _add(GLOBAL.backward, hook)


def register_module_full_backward_pre_hook(hook: Hook) -> RemovableHandle:
    """Call ``hook(module, grad_output)`` before the backward of every module."""
    return _add(GLOBAL.backward_pre, hook)


def register_module_full_backward_hook(hook: Hook) -> RemovableHandle:
    """Call ``hook(module, grad_input, grad_output)`` when both gradients of a module are known."""
    if GLOBAL.backward_is_full is False:
        raise RuntimeError(_MIXED_GLOBAL)
    GLOBAL.backward_is_full = True
    return _add(GLOBAL.backward, hook)


class ModuleHooks:
    """The part of Module that registers hooks."""

    def _init_hooks(self) -> None:
        put = super().__setattr__
        for name in (
            "_backward_pre_hooks",
            "_backward_hooks",
            "_forward_hooks",
            "_forward_hooks_with_kwargs",
            "_forward_hooks_always_called",
            "_forward_pre_hooks",
            "_forward_pre_hooks_with_kwargs",
            "_state_dict_hooks",
            "_state_dict_pre_hooks",
            "_load_state_dict_pre_hooks",
            "_load_state_dict_post_hooks",
        ):
            put(name, OrderedDict())
        put("_is_full_backward_hook", None)

    def register_forward_pre_hook(
        self, hook: Hook, *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Call ``hook(module, args[, kwargs])`` before forward(); it may return new arguments."""
        flags = (self._forward_pre_hooks_with_kwargs, with_kwargs)
        return _place(self._forward_pre_hooks, prepend, _add(self._forward_pre_hooks, hook, flags))

    def register_forward_hook(
        self,
        hook: Hook,
        *,
        prepend: bool = False,
        with_kwargs: bool = False,
        always_call: bool = False,
    ) -> RemovableHandle:
        """Call ``hook(module, args[, kwargs], output)`` after forward(); it may return an output.

        With ``always_call`` the hook also runs when forward() raises.
        """
        handle = _add(
            self._forward_hooks,
            hook,
            (self._forward_hooks_with_kwargs, with_kwargs),
            (self._forward_hooks_always_called, always_call),
        )
        return _place(self._forward_hooks, prepend, handle)

    def register_full_backward_pre_hook(
        self, hook: Hook, prepend: bool = False
    ) -> RemovableHandle:
        """Call ``hook(module, grad_output)`` before the backward; it may return a replacement."""
        handle = _add(self._backward_pre_hooks, hook)
        return _place(self._backward_pre_hooks, prepend, handle)

    def register_full_backward_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Call ``hook(module, grad_input, grad_output)``; it may return another grad_input."""
        if self._is_full_backward_hook is False:
            raise RuntimeError(_MIXED)
        self._is_full_backward_hook = True
        return _place(self._backward_hooks, prepend, _add(self._backward_hooks, hook))

    def register_backward_hook(self, hook: Hook) -> RemovableHandle:
        """Call ``hook`` at the last autograd node of forward(); prefer the full backward hook."""
        if self._is_full_backward_hook is True:
            raise RuntimeError(_MIXED)
        self._is_full_backward_hook = False
        return _add(self._backward_hooks, hook)

    def register_state_dict_pre_hook(self, hook: Hook) -> RemovableHandle:
        """Call ``hook(module, prefix, keep_vars)`` before state_dict() collects."""
        return _add(self._state_dict_pre_hooks, hook)

    def register_state_dict_post_hook(self, hook: Hook) -> RemovableHandle:
        """Call ``hook(module, state_dict, prefix, local_metadata)`` after state_dict() collected.

        It changes ``state_dict`` in place and must return None.
        """

        def checked(*args: Any) -> None:
            if hook(*args) is not None:
                raise RuntimeError("state_dict post-hook must return None")

        return _add(self._state_dict_hooks, checked)

    def _register_state_dict_hook(self, hook: Hook) -> RemovableHandle:
        return _add(self._state_dict_hooks, hook)

    def register_load_state_dict_pre_hook(self, hook: Hook) -> RemovableHandle:
        """Call ``hook(module, state_dict, prefix, local_metadata, strict, missing_keys,
        unexpected_keys, error_msgs)`` before this module takes its entries."""
        return self._register_load_state_dict_pre_hook(hook, with_module=True)

    def _register_load_state_dict_pre_hook(
        self, hook: Hook, with_module: bool = False
    ) -> RemovableHandle:
        if with_module:
            return _add(self._load_state_dict_pre_hooks, hook)
        return _add(self._load_state_dict_pre_hooks, _WithoutModule(hook))

    def register_load_state_dict_post_hook(self, hook: Hook) -> RemovableHandle:
        """Call ``hook(module, incompatible_keys)`` after loading; it changes the keys in place."""
        return _add(self._load_state_dict_post_hooks, hook)


class _WithoutModule:
    """Adapts a hook that does not take the module as its first argument; it can be pickled."""

    def __init__(self, hook: Hook) -> None:
        self.hook = hook

    def __call__(self, module: Any, *args: Any) -> Any:
        return self.hook(*args)


def _place(hooks: OrderedDict, prepend: bool, handle: RemovableHandle) -> RemovableHandle:
    if prepend:
        hooks.move_to_end(handle.id, last=False)
    return handle
