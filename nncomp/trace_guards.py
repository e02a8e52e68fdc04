"""What a recorded graph takes for granted, and what forward may not change while it is recorded.

A Guard watches one module: its class, plain attributes, hooks, parameters, buffers and children.
Its check compares identities first, which takes a microsecond or two, and values only if those
differ.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .trace_same import MISSING, copied, same, same_contents
from .trace_slots import Entry, Place, Slot, changed_entries

_IGNORED = ("_compiled_forward",)
_CONTAINERS = (dict, list, set)
_REGISTERED = {"_buffers": "buffer", "_parameters": "parameter", "_modules": "submodule"}


class Guard:
    """One condition under which a graph may be used again."""

    def check(self) -> str | None:
        """None while it holds, else a sentence that says what changed."""
        raise NotImplementedError


class StateGuard(Guard):
    """Python state that is as it was when the graph was recorded, but for what calls put there."""

    slots: dict[Place, Slot] = {}

    def entries(self) -> Iterator[Entry]:
        """All that differs now."""
        raise NotImplementedError

    def restore(self) -> None:
        """Put everything back."""
        raise NotImplementedError

    def check(self) -> str | None:
        """None if nothing changed that a program may depend on; else what did, and how."""
        for entry in self.entries():
            slot = self.slots.get(entry.place)
            if slot is None or not slot.fits(entry.new):
                return str(entry)
        return None

    def unexplained(self) -> Entry | None:
        """What a recording changed beside the slots."""
        return next((e for e in self.entries() if e.place not in self.slots), None)

    def undo(self) -> None:
        """Restore what a recording changed."""
        if next(self.entries(), None) is not None:
            self.restore()


class ModuleGuard(StateGuard):
    """A module that is as it was when the graph was recorded."""

    def __init__(self, name: str, module: Any):
        self.name, self.module = name, module
        self.cls = type(module)
        self.forward = self.cls.forward
        fields = module.__dict__
        self.fields = dict(fields)
        self.ids = [id(v) for v in fields.values()]
        self.contents = [
            (key, value, copied(value), _ids(value))
            for key, value in fields.items()
            if isinstance(value, _CONTAINERS)
        ]

    def check(self) -> str | None:
        """None if nothing changed; else which attribute of which module did, and how."""
        module = self.module
        if type(module) is not self.cls or self.cls.forward is not self.forward:
            return f"the class of {self.where()} or its forward was replaced"
        if [id(v) for v in module.__dict__.values()] == self.ids:
            for _, value, _, ids in self.contents:
                if ids != ([id(v) for v in _values(value)] if value else []):
                    return super().check()
            return None
        return super().check()

    def where(self) -> str:
        """The module in words."""
        path = f"module '{self.name}'" if self.name else "the module"
        return f"{path} ({self.cls.__name__})"

    def entries(self) -> Iterator[Entry]:
        """Attributes that were replaced, and what changed in dicts, lists and sets."""
        fields = self.module.__dict__
        if self._is_untouched(fields):
            return
        for key in dict.fromkeys((*self.fields, *fields)):
            old, new = self.fields.get(key, MISSING), fields.get(key, MISSING)
            if key not in _IGNORED and not same(old, new):
                yield Entry(fields, key, old, new, f"attribute '{key}' of {self.where()}", key)
        for key, value, before, _ in self.contents:
            if fields.get(key) is value and not same_contents(before, value):
                yield from self._inside(key, value, before)

    def _is_untouched(self, fields: dict) -> bool:
        """Whether the very same objects are in the same places: no need to look closer."""
        if [id(v) for v in fields.values()] != self.ids or fields.keys() != self.fields.keys():
            return False
        for _, value, before, ids in self.contents:
            if value or before:
                if ids != [id(v) for v in _values(value)]:
                    return False
                if isinstance(value, dict) and value.keys() != before.keys():
                    return False
        return True

    def _inside(self, key: str, value: Any, before: Any) -> Iterator[Entry]:
        if not isinstance(value, dict):
            words = f"attribute '{key}' of {self.where()}"
            yield Entry(None, key, before, value, words, key)
            return
        kind = _REGISTERED.get(key)
        for k, old, new in changed_entries(before, value):
            words = f"{kind} '{k}'" if kind else f"entry {k!r} of '{key}'"
            name = str(k) if kind else key
            yield Entry(value, k, old, new, f"{words} of {self.where()}", name)

    def values(self) -> Iterator[tuple[Place, Any]]:
        """(place, value) for all that was there when the graph was recorded."""
        containers = {key: (value, before) for key, value, before, _ in self.contents}
        for key, value in self.fields.items():
            inside = containers.get(key)
            if inside is not None and isinstance(value, dict):
                yield from (((id(value), k), v) for k, v in inside[1].items())
            else:
                yield (id(self.module.__dict__), key), value if inside is None else inside[1]

    def restore(self) -> None:
        """Put all attributes back, and the contents of dicts, lists and sets."""
        fields = self.module.__dict__
        fields.clear()
        fields.update(self.fields)
        for _, value, before, _ in self.contents:
            if not same_contents(before, value):
                value.clear()
                value.extend(before) if isinstance(value, list) else value.update(before)


class TensorGuard(Guard):
    """A captured tensor that still has the type for which the graph was recorded."""

    def __init__(self, name: str, tensor: Any):
        self.name, self.tensor = name, tensor
        self.type, self.requires_grad = tensor._type, tensor.requires_grad
        self.there = _is_there(tensor)

    def check(self) -> str | None:
        """None if type and requires_grad are the same."""
        x = self.tensor
        if x._type is self.type or x._type == self.type:
            if _is_there(x) is not self.there:
                return f"'{self.name}' moved to {x.device}"
            if x.requires_grad is self.requires_grad:
                return None
            return f"requires_grad of '{self.name}' changed to {x.requires_grad}"
        return f"'{self.name}' changed from {self.type} to {x._type}"


def _is_there(x: Any) -> bool:
    """Whether a tensor is in GPU memory; a move also gives it a new type object."""
    return hasattr(x.__dict__.get("_data"), "cuda_device")


def _values(container: Any) -> Any:
    return container.values() if isinstance(container, dict) else container


def _ids(container: Any) -> list[int]:
    return [id(v) for v in _values(container)]
