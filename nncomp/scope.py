"""Which module is running now: a stack of module paths used while tracing.

``Module.__call__`` pushes itself only while ``scope.active`` is true, so an eager call pays one
attribute test. ``tracing(root)`` turns it on and names every module below ``root``; then
``current_path()`` gives the qualified name ("encoder.0.fc1") that graph nodes carry.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

active = False
_lock = threading.Lock()
_tracings = 0


class _Local(threading.local):
    """The stack of running modules and the names of one thread."""

    def __init__(self) -> None:
        self.stack: list[str] = []
        self.names: dict[int, str] = {}
        self.meet: Callable | None = None


_local = _Local()


def enter(module: Any) -> None:
    """Push ``module``; one that is not below the root goes by the path of its caller."""
    name = _local.names.get(id(module))
    if name is None:
        name = current_path()
        if _local.meet is not None:  # this thread is the one that traces
            for path, inner in module.named_modules(prefix=name):
                _local.names[id(inner)] = path
            _local.meet(module, name)
    _local.stack.append(name)


def exit() -> None:
    """Pop the module that was pushed last."""
    _local.stack.pop()


def current_path() -> str:
    """Return the qualified name of the running module, "" for the root or outside of any."""
    return _local.stack[-1] if _local.stack else ""


def _count(change: int) -> None:
    global active, _tracings
    with _lock:
        _tracings += change
        active = _tracings > 0


@contextmanager
def tracing(root: Any, meet: Callable | None = None) -> Iterator[None]:
    """Name the modules of ``root`` and record module calls inside the ``with`` block.

    ``meet(module, path)`` is called before a module that is not below ``root`` runs first.
    """
    named = root.named_modules() if hasattr(root, "named_modules") else ()
    saved = _local.stack, _local.names, _local.meet
    _local.stack, _local.names = [], {id(module): name for name, module in named}
    _local.meet = meet
    _count(+1)
    try:
        yield
    finally:
        _count(-1)
        _local.stack, _local.names, _local.meet = saved


__all__ = ["current_path", "enter", "exit", "tracing"]
