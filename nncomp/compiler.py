"""nncomp.compile: a callable with the interface of the module or function, run by compiled code.

Each distinct signature (shapes, dtypes, static arguments, grad mode, guards on Python state) is
traced and compiled once; `explain()` says why there is more than one.
"""

from __future__ import annotations

import functools
import inspect
import sys
import types
from collections.abc import Callable
from typing import Any

from . import backends
from .autograd.modes import state
from .compiled_call import specialize
from .program_cache import ProgramCache
from .signature import signature
from .trace_values import named_arguments


def compile(
    model: Any = None, *, backend: str = "cpu", threads: int | None = None, fullgraph: bool = True
) -> Any:
    """Compile a Module or a function of tensors; usable as a decorator with or without arguments.

    `backend` is "cpu" or "numpy" (the interpreter); `threads` limits this callable's threads. The
    whole function becomes one graph or an error says which line cannot (`fullgraph` is always
    True). Gradients flow through the result as in eager mode, by a compiled backward.
    Raises UnknownBackend (a ValueError) for other backends; TraceError at the first call for code
    that depends on tensor values.
    """
    if not fullgraph:
        raise ValueError("fullgraph=False: graph breaks are not supported; compile smaller parts")
    check_options(backend, threads)
    if model is None:
        return functools.partial(compile, backend=backend, threads=threads)
    from .compiled_module import compiled_module
    from .nn.module import Module

    if isinstance(model, Module):
        return compiled_module(model, backend, threads)
    if isinstance(model, CompiledFunction):
        model = model.fn
    _check_function(model)
    return CompiledFunction(model, backend, threads)


def _check_function(fn: Any) -> None:
    """TypeError for what cannot be run once from beginning to end."""
    got = None
    if isinstance(fn, type):
        got = f"the class {fn.__name__}; make an instance first"
    elif not callable(fn):
        got = type(fn).__name__
    elif inspect.isgeneratorfunction(fn) or inspect.iscoroutinefunction(fn):
        got = "a generator or coroutine function; compile the function that it calls"
    if got is not None:
        raise TypeError(f"compile() takes a Module or a function, got {got}")


def check_options(backend: str, threads: int | None) -> None:
    """UnknownBackend or ValueError for options that no program can be compiled with."""
    backends.get(backend)
    if threads is None:
        return
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
        raise ValueError(f"threads must be a positive integer or None, got {threads!r}")


class CompiledFunction(ProgramCache):
    """A function that is traced and compiled at its first call with each signature."""

    def __init__(self, fn: Callable, backend: str = "cpu", threads: int | None = None):
        super().__init__()
        self.fn, self.backend, self.threads = fn, backend, threads
        functools.update_wrapper(self, fn, updated=())
        self.title = getattr(fn, "__name__", type(fn).__name__)

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """Methods can be decorated: the instance becomes the first argument."""
        return self if instance is None else types.MethodType(self, instance)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if state.tracer is not None:  # inside another trace: part of that graph
            return self.fn(*args, **kwargs)
        leaves, key = signature(args, kwargs)
        program = self.find(key, leaves)
        if program is None:
            program = self._compile(key, args, kwargs, leaves)
        return program(leaves)

    def _compile(self, key: Any, args: tuple, kwargs: dict, leaves: list) -> Any:
        def make() -> Any:
            return specialize(self.fn, args, kwargs, leaves, self.backend, self.threads)

        return self.find_or_make(key, leaves, make, named_arguments(self.fn, args, kwargs))

    def __repr__(self) -> str:
        return f"<compiled {self.fn!r}>"

    def __copy__(self) -> CompiledFunction:
        return CompiledFunction(self.fn, self.backend, self.threads)

    def __deepcopy__(self, memo: dict) -> CompiledFunction:
        from copy import deepcopy

        return CompiledFunction(deepcopy(self.fn, memo), self.backend, self.threads)

    def __reduce__(self) -> Any:
        """By name if it replaced the function under that name, as a decorator does."""
        name = getattr(self, "__qualname__", "")
        found: Any = sys.modules.get(getattr(self, "__module__", ""))
        for part in name.split("."):
            found = getattr(found, part, None)
        return name if found is self else (CompiledFunction, (self.fn, self.backend, self.threads))
