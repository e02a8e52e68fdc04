"""nncomp.compile: a callable with the interface of the module or function, run by compiled code.

Each distinct signature (shapes, dtypes, static arguments, grad mode, guards on Python state) is traced
and compiled once; `explain()` says why there is more than one. A compiled Module is still a Module: it
shares parameters, buffers, hooks and flags with the original.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from . import backends
from .autograd.modes import state
from .compiled_call import Specialization, specialize
from .signature import describe_difference, signature

MAX_PROGRAMS = 64


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
    backends.get(backend)
    if threads is not None and (not isinstance(threads, int) or threads < 1):
        raise ValueError(f"threads must be a positive int, got {threads!r}")
    if model is None:
        return lambda f: compile(f, backend=backend, threads=threads)
    from .nn.module import Module

    if isinstance(model, Module):
        return _compiled_module(model, backend, threads)
    if not callable(model):
        raise TypeError(f"compile() takes a Module or a function, got {type(model).__name__}")
    return CompiledFunction(model, backend, threads)


class CompiledFunction:
    """A function that is traced and compiled at its first call with each signature."""

    def __init__(self, fn: Callable, backend: str = "cpu", threads: int | None = None):
        self.fn, self.backend, self.threads = fn, backend, threads
        self.programs: dict[Any, list[Specialization]] = {}
        self.reasons: list[str] = []
        self._lock = threading.RLock()
        self.__name__ = getattr(fn, "__name__", type(fn).__name__)
        self.__doc__ = fn.__doc__

    def __get__(self, instance: Any, owner: type) -> Any:
        """Methods can be decorated: the instance becomes the first argument."""
        return self if instance is None else lambda *a, **k: self(instance, *a, **k)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if state.tracer is not None:  # inside another trace: part of that graph
            return self.fn(*args, **kwargs)
        leaves, key = signature(args, kwargs)
        for program in self.programs.get(key, ()):
            if program.stale() is None:
                return program(leaves)
        return self._specialize(key, args, kwargs, leaves)(leaves)

    def _specialize(self, key: Any, args: tuple, kwargs: dict, leaves: list) -> Specialization:
        with self._lock:
            for program in self.programs.get(key, ()):  # another thread may have been first
                if program.stale() is None:
                    return program
            self._note(key)
            made = specialize(self.fn, args, kwargs, leaves, self.backend, self.threads)
            self.programs.setdefault(key, []).append(made)
            return made

    def _note(self, key: Any) -> None:
        """Record why one more program is needed."""
        count = sum(map(len, self.programs.values()))
        if not count:
            self.reasons.append("first call")
            return
        if count >= MAX_PROGRAMS:
            raise RuntimeError(
                f"{self.__name__} was compiled {count} times; the last reason was: "
                f"{self.reasons[-1]}. Pad inputs to few shapes, or pass changing numbers as tensors."
            )
        same = self.programs.get(key)
        if same:
            self.reasons.append(str(same[-1].stale()))
        else:
            known = list(self.programs)[-1]
            self.reasons.append(describe_difference(known, key))

    # -- looking inside --------------------------------------------------------------------------

    def explain(self) -> str:
        """Why each program was compiled, and what it consists of."""
        lines = [f"{self.__name__}: {sum(map(len, self.programs.values()))} program(s)"]
        lines += [f"  {i}: {reason}" for i, reason in enumerate(self.reasons)]
        for programs in self.programs.values():
            lines += [line for p in programs for line in p.summary()]
        return "\n".join(lines)

    @property
    def last(self) -> Specialization:
        """The program compiled last; RuntimeError before the first call."""
        programs = [p for ps in self.programs.values() for p in ps]
        if not programs:
            raise RuntimeError(f"{self.__name__} was not called yet, so nothing is compiled")
        return programs[-1]

    @property
    def graph(self) -> Any:
        """The traced Graph of the program compiled last."""
        return self.last.graph

    @property
    def fused_graph(self) -> Any:
        """The Graph of kernels of the program compiled last."""
        return self.last.fused_graph

    def __deepcopy__(self, memo: dict) -> CompiledFunction:
        return CompiledFunction(self.fn, self.backend, self.threads)

    def __reduce__(self) -> Any:
        return CompiledFunction, (self.fn, self.backend, self.threads)


def _compiled_module(module: Any, backend: str, threads: int | None) -> Any:
    """An object of the module's own class (but for its forward) on the same attributes."""
    base = type(module)
    made = object.__new__(_compiled_class(base))
    object.__setattr__(made, "__dict__", module.__dict__)
    compiled = CompiledFunction(module.forward, backend, threads)
    _compiled_class(base)._compiler.__set__(made, compiled)
    return made


_classes: dict[type, type] = {}


def _compiled_class(base: type) -> type:
    """The subclass whose instances run compiled; it looks like `base` from outside."""
    found = _classes.get(base)
    if found is None:
        body = {
            "__slots__": ("_compiler",),
            "__doc__": base.__doc__,
            "__module__": base.__module__,
            "__qualname__": base.__qualname__,
            "_compiled_forward": property(lambda self: self._compiler),
            "explain": lambda self: self._compiler.explain(),
            "graph": property(lambda self: self._compiler.graph),
            "fused_graph": property(lambda self: self._compiler.fused_graph),
            "__deepcopy__": _copy_compiled,
            "__reduce_ex__": _reduce_compiled,
        }
        found = _classes[base] = type(base.__name__, (base,), body)
        found._original_class = base
    return found


def _original(self: Any) -> Any:
    """A plain instance on the same attributes."""
    plain = object.__new__(type(self)._original_class)
    object.__setattr__(plain, "__dict__", self.__dict__)
    return plain


def _copy_compiled(self: Any, memo: dict) -> Any:
    from copy import deepcopy

    return _compiled_module(deepcopy(_original(self), memo), self._compiler.backend, self._compiler.threads)


def _reduce_compiled(self: Any, protocol: int) -> Any:
    return _compiled_module, (_original(self), self._compiler.backend, self._compiler.threads)
