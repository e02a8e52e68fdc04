"""Whether Python values are what they were: plain ones by value, all others by identity."""

from __future__ import annotations

import types
from typing import Any

PLAIN = (bool, int, float, complex, str, bytes, type(None))


class Missing:
    """What stands for an entry that is not there."""

    def __repr__(self) -> str:
        return "nothing"


MISSING = Missing()


def copied(container: Any) -> Any:
    """A shallow copy of a dict, list or set."""
    return dict(container) if isinstance(container, dict) else type(container)(container)


def same(old: Any, new: Any) -> bool:
    """True for the same object, or equal plain values of one type."""
    if old is new:
        return True
    if type(old) is not type(new):
        return False
    if isinstance(old, tuple):
        return len(old) == len(new) and all(map(same, old, new))
    if isinstance(old, types.MethodType):
        return old == new
    return isinstance(old, PLAIN) and (old == new or (old != old and new != new))


def same_contents(old: Any, new: Any) -> bool:
    """True for containers of one kind whose entries are the same."""
    if len(old) != len(new):
        return False
    if isinstance(old, dict):
        return all(k in new and same(v, new[k]) for k, v in old.items())
    if isinstance(old, set):
        return old == new
    return all(map(same, old, new))


def show(value: Any) -> str:
    """A value in a few words."""
    text = repr(value) if isinstance(value, (*PLAIN, Missing)) else f"a {type(value).__name__}"
    if hasattr(value, "_type"):
        text += f" {value._type}"
    if isinstance(value, (dict, list)):
        text += f" with {len(value)} entries"
    return text if len(text) < 80 else text[:77] + "..."
