"""Tensors that forward leaves behind: `features[name] = y` in a hook, `self.state = h, c`.

A Slot is the place, an entry of a dict or a variable of a closure. What is put there while a graph
is recorded becomes a further result of the graph, and each call puts its own there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from .trace_same import MISSING, PLAIN, same, show
from .trace_values import map_leaves

Place = tuple[int, Any]  # id of a dict and a key, or id of a closure's cell and ""


class Entry(NamedTuple):
    """Something that changed: in a dict or a cell, or (without an owner) a list or set."""

    owner: Any
    key: Any
    old: Any
    new: Any
    words: str
    name: str  # of the attribute or variable in the user's code

    @property
    def place(self) -> Place:
        """What tells one place from another."""
        return place_of(self.owner, self.key)

    def __str__(self) -> str:
        return f"{self.words} changed from {show(self.old)} to {show(self.new)}"


class Slot:
    """One place, what was there when the graph was recorded, and what forward left there."""

    def __init__(self, entry: Entry, exact: bool):
        """`exact`: only the very same object may be there when the program is used again."""
        self.owner, self.key, self.words = entry.owner, entry.key, entry.words
        self.before, self.value, self.exact = entry.old, entry.new, exact

    def get(self) -> Any:
        """What is there now."""
        return read(self.owner, self.key)

    def put(self, value: Any) -> None:
        """Leave a value there."""
        write(self.owner, self.key, value)

    def fits(self, now: Any) -> bool:
        """Whether a program recorded with `before` there is right with `now` there."""
        return now is self.before if self.exact else _alike(self.before, now)


def place_of(owner: Any, key: Any) -> Place:
    """What tells one place from another."""
    return id(owner), key if isinstance(owner, dict) else ""


def read(owner: Any, key: Any) -> Any:
    """An entry of a dict or the content of a cell; MISSING if there is none."""
    if isinstance(owner, dict):
        return owner.get(key, MISSING)
    try:
        return owner.cell_contents
    except ValueError:  # not assigned yet
        return MISSING


def write(owner: Any, key: Any, value: Any) -> None:
    """Set an entry of a dict or the content of a cell; MISSING takes the entry out."""
    if isinstance(owner, dict) and value is MISSING:
        owner.pop(key, None)
    elif isinstance(owner, dict):
        owner[key] = value
    else:
        owner.cell_contents = value


def changed_entries(before: dict, now: dict) -> Iterator[tuple[Any, Any, Any]]:
    """(key, old value, new value) for the entries of a dict that are not what they were."""
    for key in dict.fromkeys((*before, *now)):
        old, new = before.get(key, MISSING), now.get(key, MISSING)
        if not same(old, new):
            yield key, old, new


def can_be_left(value: Any) -> bool:
    """True for tensors, alone or in tuples, lists and dicts together with plain values."""
    tensors: list[Any] = []
    others: list[Any] = []

    def meet(leaf: Any, path: str) -> Any:
        (tensors if hasattr(leaf, "_type") else others).append(leaf)
        return leaf

    map_leaves(value, meet)
    return bool(tensors) and all(isinstance(x, PLAIN) for x in others)


def slots_for(
    entries: Iterable[Entry], values: Iterable[tuple[Place, Any]], read_as: Callable[[Any], Any]
) -> dict[Place, Slot]:
    """Slots for the entries that hold tensors now.

    `values` is all state that was there before; `read_as` gives the tensor that stands for another
    one among the graph's inputs, None for one that the graph does not read. A tensor that is read
    and has several places, or shares memory with another one that is read, cannot be found again
    by one of the places, so its slot is exact.
    """
    found = {e.place: e for e in entries if e.owner is not None and can_be_left(e.new)}
    if not found:
        return {}
    places: dict[int, set[Place]] = {}
    for place, value in values:
        for _, x in tensors_in(value):
            places.setdefault(id(x), set()).add(place)

    def exact(entry: Entry) -> bool:
        for _, x in tensors_in(entry.old):
            known = read_as(x)
            if known is not None and (known is not x or places.get(id(x), set()) - {entry.place}):
                return True
        return False

    return {place: Slot(entry, exact(entry)) for place, entry in found.items()}


def tensors_in(value: Any) -> list[tuple[tuple, Any]]:
    """(path, tensor) for the tensors in tuples, lists and dicts; a path is a tuple of keys."""
    if hasattr(value, "_type"):
        return [((), value)]
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, (tuple, list)):
        items = enumerate(value)
    elif isinstance(value, dict):
        items = value.items()
    return [((key, *path), x) for key, v in items for path, x in tensors_in(v)]


def finder(slot: Slot, path: tuple) -> Callable[[Any], Any]:
    """A function that takes the tensor at `path` out of what the slot holds now."""

    def find(leaves: Any) -> Any:
        value = slot.get()
        try:
            for key in path:
                value = value[key]
        except (LookupError, TypeError):
            return None
        return value if hasattr(value, "_type") else None

    return find


def _alike(before: Any, now: Any) -> bool:
    """The same plain values, and tensors of the same type, in the same structure."""
    if hasattr(before, "_type"):
        return hasattr(now, "_type") and (
            now._type == before._type
            and now.requires_grad is before.requires_grad
            and now.device == before.device
        )
    if type(before) is not type(now):
        return False
    if isinstance(before, (tuple, list)):
        return len(before) == len(now) and all(map(_alike, before, now))
    if isinstance(before, dict):
        return before.keys() == now.keys() and all(_alike(v, now[k]) for k, v in before.items())
    return same(before, now)
