"""nncomp.compile: a callable with the interface of the module or function, run by compiled code.

Each distinct signature (shapes, dtypes, static arguments, grad mode, guards on Python state) is
traced and compiled once; `explain()` says why there is more than one.
"""

from __future__ import annotations

import functools
import inspect
import sys
import types
from collections.abc import Callable, Mapping
from typing import Any

from . import backends
from .autograd.modes import state
from .backends.options import check
from .compiled_call import specialize
from .compiled_fast import MAX_ENTRIES, Shortcut, is_unhooked
from .program_cache import ProgramCache
from .signature import signature
from .trace_values import named_arguments

MODES = (None, "default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")


def compile(
    model: Any = None,
    *,
    backend: str = "cpu",
    threads: int | None = None,
    fullgraph: bool = True,
    dynamic: bool | None = None,
    mode: str | None = None,
    options: Mapping[str, Any] | None = None,
    disable: bool = False,
) -> Any:
    """Compile a Module or a function of tensors; usable as a decorator with or without arguments.

    `backend` is "cpu", "numpy" (the interpreter) or "ptx" (NVIDIA GPUs, see docs/gpu.md);
    `threads` limits this callable's threads. `options={"winograd": False}` does 3x3 convolutions by
    the direct sum, which rounds less (NNCOMP_WINOGRAD=0: for all models). Large products with
    constant weights are computed by Strassen's method where the rows of a sample are of like size,
    behind a normalization: within 2e-5 of the outputs' scale, for twice the memory of the weight.
    `options={"strassen": False}` turns it off, True takes every large product, whose rows may then
    disturb each other (an inf or nan in one shows in one more). Gradients flow through
    the result as in eager mode, by a compiled backward. Weights that the program holds in another
    order are not kept twice: unless someone else sees it, their own memory is given up at the first
    call, and comes back bit for bit when their values are asked for.
    For code written for torch, "inductor" means "cpu", `disable=True` gives back the model, and
    `fullgraph`, `dynamic` and `mode` (one of torch's) change nothing: the whole function becomes
    one graph, or an error says which line cannot, and each shape has a program of its own.
    Raises UnknownBackend (a ValueError) for other backends and ValueError for other options;
    TraceError at the first call for code that depends on tensor values.
    """
    if mode not in MODES:
        raise ValueError(f"unknown mode {mode!r}: expected one of {', '.join(filter(None, MODES))}")
    backend = "cpu" if backend == "inductor" else backend
    check_options(backend, threads)
    options = check(options)
    if model is None:
        return functools.partial(
            compile, backend=backend, threads=threads, options=options, disable=disable
        )
    if disable:
        return model
    from .compiled_module import compiled_module
    from .nn.module import Module

    if isinstance(model, Module):
        return compiled_module(model, backend, threads, options)
    if isinstance(model, CompiledFunction):
        model = model.fn
    _check_function(model)
    return CompiledFunction(model, backend, threads, options)


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

    def __init__(
        self,
        fn: Callable,
        backend: str = "cpu",
        threads: int | None = None,
        options: Mapping[str, Any] | None = None,
    ):
        super().__init__()
        self.fn, self.backend, self.threads, self.options = fn, backend, threads, options
        functools.update_wrapper(self, fn, updated=())
        self.title = getattr(fn, "__name__", type(fn).__name__)
        self.entries: tuple[Callable, ...] = ()  # native ways to repeat a call, else None
        self.direct: tuple[Callable, ...] = ()  # those that stand for a call of the whole module

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """Methods can be decorated: the instance becomes the first argument."""
        return self if instance is None else types.MethodType(self, instance)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not kwargs:
            for entry in self.entries:
                result = entry(*args)
                if result is not None:
                    return result
        if state.tracer is not None:  # inside another trace: part of that graph
            return self.fn(*args, **kwargs)
        leaves, key = signature(args, kwargs)
        program = self.find(key, leaves)
        if program is None:  # the second call makes the entry: there may be only one
            return self._compile(key, args, kwargs, leaves)(leaves)
        result = program(leaves)
        shortcut = program.shortcut
        if shortcut is not None and not kwargs:
            self._shorten(shortcut, key, args)
        return result

    def _shorten(self, shortcut: Shortcut, key: Any, args: tuple) -> None:
        """Make a native entry for the program, or a new one where the old one has ended."""
        old = shortcut.call
        holds = shortcut.holds()
        if holds and old in self.entries:
            return
        owner = getattr(self.fn, "__self__", None)
        modules = [owner] if hasattr(owner, "named_modules") else []
        if not holds:
            shortcut.call = shortcut.make(key, args, modules) if shortcut.due() else None
        made = () if shortcut.call is None else (shortcut.call,)
        direct = made if modules and is_unhooked(owner) else ()
        self.entries = (*made, *(e for e in self.entries if e is not old))[:MAX_ENTRIES]
        self.direct = (*direct, *(e for e in self.direct if e is not old))[:MAX_ENTRIES]

    def _compile(self, key: Any, args: tuple, kwargs: dict, leaves: list) -> Any:
        def make() -> Any:
            settings = self.backend, self.threads, self.options
            return specialize(self.fn, args, kwargs, leaves, *settings)

        return self.find_or_make(key, leaves, make, named_arguments(self.fn, args, kwargs))

    def profile(
        self, *args: Any, repeat: int | None = None, threads: int | None = None, **kwargs: Any
    ) -> Any:
        """Time each kernel of the program that a call with these arguments runs: a Report.

        `repeat` runs, as many as fit a second by default, on `threads` threads (those of a call by
        default). Nothing that the program writes changes. Raises ValueError for counts below 1 and
        for a backend without kernels.
        """
        from .compiled_profile import profile_call

        return profile_call(self, args, kwargs, repeat, threads)

    def __repr__(self) -> str:
        return f"<compiled {self.fn!r}>"

    def __copy__(self) -> CompiledFunction:
        return CompiledFunction(self.fn, self.backend, self.threads, self.options)

    def __deepcopy__(self, memo: dict) -> CompiledFunction:
        from copy import deepcopy

        fn = deepcopy(self.fn, memo)
        return CompiledFunction(fn, self.backend, self.threads, self.options)

    def __reduce__(self) -> Any:
        """By name if it replaced the function under that name, as a decorator does."""
        name = getattr(self, "__qualname__", "")
        found: Any = sys.modules.get(getattr(self, "__module__", ""))
        for part in name.split("."):
            found = getattr(found, part, None)
        made_of = (self.fn, self.backend, self.threads, self.options)
        return name if found is self else (CompiledFunction, made_of)
