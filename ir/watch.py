"""How far a compilation is, for those who want to show it.

    watch.listen(draw)          draw("passes", 3, 9), draw("kernels", 12, 40), ..., draw("", 0, 0)

The compiler tells; it does not know who listens. An empty phase is the end.
"""

from __future__ import annotations

from collections.abc import Callable

Listener = Callable[[str, int, int], None]

_listeners: list[Listener] = []


def listen(listener: Listener) -> Callable[[], None]:
    """Have `listener(phase, done, total)` called from now on; returns what ends that.

    It is called from the threads that compile.
    """
    _listeners.append(listener)
    return lambda: _listeners.remove(listener)


def tell(phase: str, done: int, total: int) -> None:
    """Say that `done` of `total` parts of a phase are done."""
    for listener in _listeners:
        listener(phase, done, total)


def end() -> None:
    """Say that the compilation is over."""
    tell("", 0, 0)
