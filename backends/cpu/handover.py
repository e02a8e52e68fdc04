"""Quick changes between Python threads while LLVM works beside the passes.

A thread that comes back from LLVM waits until another one gives up Python's lock, 5 ms in the usual
case, and one module takes a dozen such calls. While any thread is in `quick_handover`, the one that
runs is asked for the lock 50 times as often.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator

SECONDS = 1e-4

_lock = threading.Lock()
_inside = 0
_before = 0.0  # the interval to go back to


@contextlib.contextmanager
def quick_handover() -> Iterator[None]:
    """Threads change quickly until the last block ends; an interval that someone else sets
    meanwhile stays."""
    _enter()
    try:
        yield
    finally:
        _leave()


def _enter() -> None:
    global _inside, _before
    with _lock:
        _inside += 1
        if _inside == 1:
            _before = sys.getswitchinterval()
            sys.setswitchinterval(min(SECONDS, _before))


def _leave() -> None:
    global _inside
    with _lock:
        _inside -= 1
        if _inside == 0 and sys.getswitchinterval() <= SECONDS:
            sys.setswitchinterval(_before)
