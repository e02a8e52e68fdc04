"""Fewer runs of Python's garbage collector while a program is made.

A compilation makes some hundred thousand small objects, nearly all of which go by their reference
counts. By default the collector looks at them after every 700 that stay; while any thread is in
`rare_collections`, after 200,000. What is left then counts as old at once: the first collection
afterwards would look at all of it, 20 to 50 ms, to find next to nothing.
"""

from __future__ import annotations

import contextlib
import gc
import threading
from collections.abc import Iterator

OBJECTS = 200_000

_lock = threading.Lock()
_inside = 0
_before = 0  # the threshold to go back to


@contextlib.contextmanager
def rare_collections() -> Iterator[None]:
    """Collect rarely until the last block ends. A collector that is off stays off, and a threshold
    that someone else sets meanwhile stays."""
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
            _before, *others = gc.get_threshold()
            if 0 < _before < OBJECTS:  # 0: nothing is ever collected
                gc.set_threshold(OBJECTS, *others)


def _leave() -> None:
    global _inside
    with _lock:
        _inside -= 1
        now, *others = gc.get_threshold()
        if _inside == 0 and now == OBJECTS:
            _grow_old()
            gc.set_threshold(_before, *others)


def _grow_old() -> None:
    """Move all objects to the oldest generation, without a look at them."""
    freeze = getattr(gc, "freeze", None)
    if freeze is not None and gc.get_freeze_count() == 0:  # what someone has frozen stays so
        freeze()
        gc.unfreeze()
