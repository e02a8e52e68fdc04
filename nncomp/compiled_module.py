"""A compiled Module is still a Module: an object of its class on the very same attributes.

It shares parameters, buffers, hooks and flags with the original, so training, saving and converting
either one is the same; only its forward runs compiled.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from .compiled_fast import MODULE_CALL
from .compiler import CompiledFunction

_INSPECTORS = ("graph", "fused_graph", "explain", "profile", "ptx")
_classes: dict[type, type] = {}
_lock = threading.Lock()


def compiled_module(
    module: Any, backend: str, threads: int | None, options: Mapping[str, Any] | None = None
) -> Any:
    """The compiled twin of a Module."""
    if isinstance(getattr(type(module), "_original_class", None), type):
        module = original(module)
    cls = _compiled_class(type(module))
    made = object.__new__(cls)
    object.__setattr__(made, "__dict__", module.__dict__)
    cls._compiler.__set__(made, CompiledFunction(module.forward, backend, threads, options))
    return made


def original(module: Any) -> Any:
    """A plain Module on the attributes of a compiled one."""
    plain = object.__new__(type(module)._original_class)
    object.__setattr__(plain, "__dict__", module.__dict__)
    return plain


def _compiled_class(base: type) -> type:
    """The subclass whose instances run compiled; it looks like `base` from outside."""
    with _lock:
        found = _classes.get(base)
        if found is None:
            body = {
                "__slots__": ("_compiler",),
                "__doc__": base.__doc__,
                "__module__": base.__module__,
                "__qualname__": base.__qualname__,
                "_original_class": base,
                "_compiled_forward": property(lambda self: self._compiler),
                "__copy__": _copy,
                "__deepcopy__": _deepcopy,
                "__reduce_ex__": _reduce,
            }
            if base.__call__ is MODULE_CALL:
                body["__call__"] = _call_of(base)
            for name in _INSPECTORS:
                if not hasattr(base, name):
                    body[name] = _Inspector(name)
            found = _classes[base] = type(base)(base.__name__, (base,), body)
        return found


def _call_of(base: type) -> Any:
    """`__call__` with the native entries first."""

    def __call__(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not kwargs:
            for entry in self._compiler.direct:
                result = entry(*args)
                if result is not None:
                    return result
        return base.__call__(self, *args, **kwargs)

    return __call__


class _Inspector:
    """`compiled.graph`, `.fused_graph`, `.explain` ...; the Module's own come first."""

    def __init__(self, name: str):
        self.name = name

    def __get__(self, module: Any, owner: type) -> Any:
        if module is None:
            return self
        for members in (module._modules, module._parameters, module._buffers):
            if self.name in members:
                return members[self.name]
        return getattr(module._compiler, self.name)


def _copy(self: Any) -> Any:
    from copy import copy

    return compiled_module(copy(original(self)), *_settings(self))


def _deepcopy(self: Any, memo: dict) -> Any:
    plain = deepcopy(original(self), memo)
    return compiled_module(plain, *_settings(self))


def _reduce(self: Any, protocol: int) -> Any:
    return compiled_module, (original(self), *_settings(self))


def _settings(self: Any) -> tuple:
    """What `compile` was told about how to compile."""
    made = self._compiler
    return made.backend, made.threads, made.options
