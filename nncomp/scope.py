"""Which module is running now: a stack of module paths used while tracing.

``Module.__call__`` pushes itself only while ``scope.active`` is true, so an eager call pays one
attribute test. ``tracing(root)`` turns it on and names every module below ``root``; then
``current_path()`` gives the qualified name ("encoder.0.fc1") that graph nodes carry.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
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


_local = _Local()


def enter(module: Any) -> None:
    """Push ``module``; one made inside forward() goes by the path of its caller."""
    _local.stack.append(_local.names.get(id(module), current_path()))


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
def tracing(root: Any) -> Iterator[None]:
    """Name the modules of ``root`` and record module calls inside the ``with`` block."""
    named = root.named_modules() if hasattr(root, "named_modules") else ()
    saved = _local.stack, _local.names
    _local.stack, _local.names = [], {id(module): name for name, module in named}
    _count(+1)
    try:
        yield
    finally:
        _count(-1)
        _local.stack, _local.names = saved


__all__ = ["current_path", "enter", "exit", "tracing"]
