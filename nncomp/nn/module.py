"""Module, the base class of all layers and models (torch.nn.Module).

A Module holds parameters, buffers and child modules, registered by attribute assignment. Its
parts are mixed in: walking (_tree), moving and casting (_convert), saving and loading (_state),
hooks (_hooks). ``__call__`` is the one path through which every module runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import nncomp

from .. import scope
from ..functions.argument_errors import layer_error
from ..tensor import Tensor
from ._call import HookedCall
from ._convert import ModuleConversion
from ._hooks import (
    GLOBAL,
    ModuleHooks,
    register_module_backward_hook,
    register_module_buffer_registration_hook,
    register_module_forward_hook,
    register_module_forward_pre_hook,
    register_module_full_backward_hook,
    register_module_full_backward_pre_hook,
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)
from ._state import ModuleState, _IncompatibleKeys
from ._tree import ModuleTree, typename
from .parameter import Buffer, Parameter

_MEMBERS = ("_parameters", "_buffers", "_modules")


def _addindent(text: str, spaces: int) -> str:
    """Indent all lines of ``text`` but the first."""
    return text.replace("\n", "\n" + " " * spaces)


class Module(ModuleTree, ModuleConversion, ModuleState, ModuleHooks):
    """Base class of all neural network modules; a subclass defines ``forward``.

    Assigning a Parameter, Buffer or Module to an attribute registers it. Call the module itself,
    not ``forward``, so that hooks run.
    """

    dump_patches: bool = False
    _version: int = 1
    training: bool
    call_super_init: bool = False
    _compiled_forward: Callable | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if not self.call_super_init and kwargs:
            raise TypeError(
                f"{type(self).__name__}.__init__() got an unexpected keyword argument "
                f"'{next(iter(kwargs))}'"
            )
        if not self.call_super_init and args:
            raise TypeError(
                f"{type(self).__name__}.__init__() takes 1 positional argument but "
                f"{len(args) + 1} were given"
            )
        put = super().__setattr__
        put("training", True)
        put("_parameters", {})
        put("_buffers", {})
        put("_non_persistent_buffers_set", set())
        self._init_hooks()
        put("_modules", {})
        if self.call_super_init:
            super().__init__(*args, **kwargs)

    def forward(self, *input: Any) -> Any:
        """Compute the output; every subclass defines this."""
        raise NotImplementedError(
            f'Module [{type(self).__name__}] is missing the required "forward" function'
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run forward() with its hooks; while a graph is traced, also record the module's path."""
        compiled = self._compiled_forward
        forward = self.forward if compiled is None else compiled
        if not scope.active:
            return self._call(forward, args, kwargs)
        scope.enter(self)
        try:
            return self._call(forward, args, kwargs)
        finally:
            scope.exit()

    def _call(self, forward: Callable, args: tuple, kwargs: dict) -> Any:
        if (
            self._forward_hooks
            or self._forward_pre_hooks
            or self._backward_hooks
            or self._backward_pre_hooks
            or GLOBAL.around_call()
        ):
            return HookedCall(self, forward, args, kwargs).run()
        try:
            return forward(*args, **kwargs)
        except (AttributeError, TypeError) as error:
            wrong = layer_error(self, args)
            if wrong is None:
                raise
            raise wrong from error

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile forward() in place with ``nncomp.compile``; options are the same.

        Later calls of this module run the compiled program, between the module's own hooks. The
        names of parameters and the state_dict do not change.
        """
        compiled = nncomp.compile(self.forward, *args, **kwargs)
        object.__setattr__(self, "_compiled_forward", compiled)

    # ---- registration ----

    def _check_new_name(self, kind: str, name: Any) -> None:
        if kind != "module" and "_parameters" not in self.__dict__:
            raise AttributeError(f"cannot assign {kind} before Module.__init__() call")
        if not isinstance(name, str):
            raise TypeError(f"{kind} name should be a string. Got {typename(name)}")
        if "." in name:
            got = f", got: {name}" if kind == "module" else ""
            raise KeyError(f'{kind} name can\'t contain "."{got}')
        if name == "":
            raise KeyError(f'{kind} name can\'t be empty string ""')
        if hasattr(self, name) and name not in self.__dict__[f"_{kind}s"]:
            raise KeyError(f"attribute '{name}' already exists")

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a buffer: state that is no parameter; a persistent one is part of state_dict."""
        self._check_new_name("buffer", name)
        if not (isinstance(tensor, Tensor) or tensor is None):
            raise TypeError(
                f"cannot assign '{typename(tensor)}' object to buffer '{name}' "
                "(torch Tensor or None required)"
            )
        for hook in GLOBAL.buffer_registration.values():
            tensor = _first_given(hook(self, name, tensor), tensor)
        self._buffers[name] = tensor
        if persistent:
            self._non_persistent_buffers_set.discard(name)
        else:
            self._non_persistent_buffers_set.add(name)

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter, or None for one that this module does without."""
        self._check_new_name("parameter", name)
        if not (isinstance(param, Parameter) or param is None):
            raise TypeError(
                f"cannot assign '{typename(param)}' object to parameter '{name}' "
                "(torch.nn.Parameter or None required)"
            )
        if param is not None and param.grad_fn is not None:
            raise ValueError(
                f"Cannot assign non-leaf Tensor to parameter '{name}'. Model parameters must be "
                "created explicitly. To express '{name}' as a function of another Tensor, "
                "compute the value in the forward() method."
            )
        for hook in GLOBAL.parameter_registration.values():
            param = _first_given(hook(self, name, param), param)
        self._parameters[name] = param

    def add_module(self, name: str, module: Module | None) -> None:
        """Add a child module that is reached as an attribute called ``name``."""
        if not (isinstance(module, Module) or module is None):
            raise TypeError(f"{typename(module)} is not a Module subclass")
        self._check_new_name("module", name)
        for hook in GLOBAL.module_registration.values():
            module = _first_given(hook(self, name, module), module)
        self._modules[name] = module

    def register_module(self, name: str, module: Module | None) -> None:
        """Add a child module; the same as add_module."""
        self.add_module(name, module)

    # ---- attributes ----

    def __getattr__(self, name: str) -> Any:
        for members in _MEMBERS:
            found = self.__dict__.get(members)
            if found is not None and name in found:
                return found[name]
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def __setattr__(self, name: str, value: Any) -> None:
        state = self.__dict__
        if isinstance(value, Parameter):
            self._set_registered("_parameters", "parameters", name, value)
        elif name in state.get("_parameters", ()):
            self._set_plain(name, value)
        elif isinstance(value, Module):
            self._set_registered("_modules", "module", name, value)
        elif isinstance(value, Buffer) and name not in state.get("_modules", ()):
            self._set_registered("_buffers", "buffer", name, value)
        else:
            self._set_plain(name, value)

    def _set_registered(self, members: str, kind: str, name: str, value: Any) -> None:
        if members not in self.__dict__:
            raise AttributeError(f"cannot assign {kind} before Module.__init__() call")
        persistent = getattr(value, "persistent", name not in self._non_persistent_buffers_set)
        self.__dict__.pop(name, None)
        for other in _MEMBERS:
            if other != members:
                self.__dict__[other].pop(name, None)
        self._non_persistent_buffers_set.discard(name)
        if members == "_parameters":
            self.register_parameter(name, value)
        elif members == "_buffers":
            self.register_buffer(name, value, persistent)
        else:
            for hook in GLOBAL.module_registration.values():
                value = _first_given(hook(self, name, value), value)
            self._modules[name] = value

    def _set_plain(self, name: str, value: Any) -> None:
        """Assign a value that is neither parameter, module nor Buffer: None unsets a member."""
        state = self.__dict__
        if name in state.get("_parameters", ()):
            if value is not None:
                raise TypeError(
                    f"cannot assign '{typename(value)}' as parameter '{name}' "
                    "(torch.nn.Parameter or None expected)"
                )
            self.register_parameter(name, value)
        elif name in state.get("_modules", ()):
            if value is not None:
                raise TypeError(
                    f"cannot assign '{typename(value)}' as child module '{name}' "
                    "(torch.nn.Module or None expected)"
                )
            self._modules[name] = None
        elif name in state.get("_buffers", ()):
            if not (value is None or isinstance(value, Tensor)):
                raise TypeError(
                    f"cannot assign '{typename(value)}' as buffer '{name}' "
                    "(torch.nn.Buffer, torch.Tensor or None expected)"
                )
            self.register_buffer(name, value, name not in self._non_persistent_buffers_set)
        else:
            super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        for members in _MEMBERS:
            if name in self.__dict__.get(members, ()):
                del self.__dict__[members][name]
                self._non_persistent_buffers_set.discard(name)
                return
        super().__delattr__(name)

    def __dir__(self) -> list[str]:
        names = {*dir(type(self)), *self.__dict__}
        for members in _MEMBERS:
            names |= self.__dict__[members].keys()
        return sorted(name for name in names if not name[:1].isdigit())

    # ---- text and pickling ----

    def _get_name(self) -> str:
        return type(self).__name__

    def extra_repr(self) -> str:
        """Return what repr() shows between the parentheses; layers list their options."""
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr()
        lines = extra.split("\n") if extra else []
        children = [
            f"({name}): " + _addindent(repr(module), 2) for name, module in self._modules.items()
        ]
        if len(lines) == 1 and not children:
            return f"{self._get_name()}({extra})"
        if not lines and not children:
            return f"{self._get_name()}()"
        return f"{self._get_name()}(\n  " + "\n  ".join(lines + children) + "\n)"

    def __getstate__(self) -> dict:
        state = self.__dict__.copy()
        state.pop("_compiled_forward", None)  # machine code belongs to this process
        return state

    def __setstate__(self, state: dict) -> None:
        self._init_hooks()  # a pickle of an older version may lack some kinds of hooks
        object.__setattr__(self, "_non_persistent_buffers_set", set())
        self.__dict__.update(state)


def _first_given(new: Any, old: Any) -> Any:
    return old if new is None else new


__all__ = [
    "Module",
    "_IncompatibleKeys",
    "register_module_backward_hook",
    "register_module_buffer_registration_hook",
    "register_module_forward_hook",
    "register_module_forward_pre_hook",
    "register_module_full_backward_hook",
    "register_module_full_backward_pre_hook",
    "register_module_module_registration_hook",
    "register_module_parameter_registration_hook",
]
