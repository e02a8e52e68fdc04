"""Handles that take a registered hook away again (torch.utils.hooks).

A hook lives in an ordered dict keyed by the handle's number. The handle keeps only a weak
reference to that dict, so that a handle never keeps a module alive.
"""

from __future__ import annotations

import itertools
import weakref
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any


class RemovableHandle:
    """A handle that removes one hook from its dict; also a context manager."""

    _numbers = itertools.count()

    def __init__(self, hooks_dict: Any, *, extra_dict: Any = None) -> None:
        self.id: int = next(RemovableHandle._numbers)
        self.hooks_dict_ref = weakref.ref(hooks_dict)
        extras = [] if extra_dict is None else extra_dict
        if isinstance(extras, Mapping):
            extras = [extras]
        self.extra_dict_ref = tuple(weakref.ref(extra) for extra in extras)

    def remove(self) -> None:
        """Remove the hook; calling it again does nothing."""
        for reference in (self.hooks_dict_ref, *self.extra_dict_ref):
            hooks = reference()
            if hooks is not None:
                hooks.pop(self.id, None)

    def __getstate__(self) -> tuple:
        hooks = self.hooks_dict_ref()
        extras = tuple(reference() for reference in self.extra_dict_ref)
        return hooks, self.id, extras

    def __setstate__(self, state: tuple) -> None:
        # A dict that died leaves a fresh empty one, so that remove() still works.
        hooks, self.id, extras = state
        self.hooks_dict_ref = weakref.ref(OrderedDict() if hooks is None else hooks)
        self.extra_dict_ref = tuple(
            weakref.ref(OrderedDict() if extra is None else extra) for extra in extras
        )
        used = next(RemovableHandle._numbers)
        RemovableHandle._numbers = itertools.count(max(used, self.id + 1))

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *exc: object) -> None:
        self.remove()


__all__ = ["RemovableHandle"]
