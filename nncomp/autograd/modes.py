"""Grad modes, and the per-thread state that dispatch reads: is a tape or a graph being recorded?

`no_grad`, `enable_grad`, `inference_mode` and `set_grad_enabled` are context managers and
decorators, as in torch.
"""

from __future__ import annotations

import functools
import inspect
import threading
from typing import Any

from ..ir.types import bfloat16


class _State(threading.local):
    """What this thread is doing; `tracer` is the Tracer of the graph being recorded, or None.

    `autocast` is the dtype to which matrix products round their operands, or None, and
    `autocast_dtype` the one that the next `autocast` takes by default.
    """

    grad_enabled = True
    inference = False
    tracer: Any = None
    autocast: Any = None
    autocast_dtype: Any = bfloat16
    autocast_cache: dict | None = None


state = _State()


def is_grad_enabled() -> bool:
    """True if operations on tensors that require a gradient are recorded."""
    return state.grad_enabled


def is_inference_mode_enabled() -> bool:
    """True inside `inference_mode`."""
    return state.inference


class _Mode:
    """A context manager that sets the mode and restores it; decorates functions and generators."""

    def __init__(self, grad: bool, inference: bool | None = None):
        self.grad, self.inference = grad, inference
        self.saved: list[tuple[bool, bool]] = []

    def clone(self) -> _Mode:
        """A fresh context manager of the same meaning."""
        return type(self)()

    def __enter__(self) -> None:
        self.saved.append((state.grad_enabled, state.inference))
        state.grad_enabled = self.grad
        if self.inference is not None:
            state.inference = self.inference

    def __exit__(self, *error: Any) -> None:
        state.grad_enabled, state.inference = self.saved.pop()

    def __call__(self, function: Any) -> Any:
        if inspect.isclass(function):
            function.__init__ = self(function.__init__)
            return function
        if inspect.isgeneratorfunction(function):
            return self._wrap_generator(function)

        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with self.clone():
                return function(*args, **kwargs)

        return wrapped

    def _wrap_generator(self, function: Any) -> Any:
        """The mode holds while the generator's own code runs, not between its items."""

        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            generator = function(*args, **kwargs)
            reply = None
            try:
                while True:
                    with self.clone():
                        item = generator.send(reply)
                    reply = yield item
            except StopIteration as end:
                return end.value
            finally:
                generator.close()

        return wrapped


class no_grad(_Mode):  # noqa: N801
    """Record nothing: results do not require a gradient."""

    def __new__(cls, function: Any = None) -> Any:
        made = super().__new__(cls)
        if function is None:
            return made
        made.__init__()
        return made(function)

    def __init__(self, function: Any = None):
        super().__init__(False)


class enable_grad(_Mode):  # noqa: N801
    """Record again inside a `no_grad` block."""

    def __new__(cls, function: Any = None) -> Any:
        made = super().__new__(cls)
        if function is None:
            return made
        made.__init__()
        return made(function)

    def __init__(self, function: Any = None):
        super().__init__(True)


class set_grad_enabled(_Mode):  # noqa: N801
    """Set recording on or off: at once when called, undone at the end of a `with` block."""

    def __init__(self, mode: bool):
        super().__init__(bool(mode))
        self.before = state.grad_enabled, state.inference
        state.grad_enabled = self.grad

    def clone(self) -> _Mode:
        return set_grad_enabled(self.grad)

    def __enter__(self) -> None:
        self.saved.append(self.before)
        state.grad_enabled = self.grad

    def __call__(self, function: Any) -> Any:
        state.grad_enabled, state.inference = self.before
        return super().__call__(function)


class inference_mode(_Mode):  # noqa: N801
    """`no_grad` for code that never needs a gradient; `inference_mode(False)` ends it."""

    def __new__(cls, mode: Any = True) -> Any:
        made = super().__new__(cls)
        if not callable(mode):
            return made
        made.__init__()
        return made(mode)

    def __init__(self, mode: Any = True):
        self.mode = bool(mode)
        super().__init__(not self.mode, self.mode)

    def clone(self) -> _Mode:
        return inference_mode(self.mode)
