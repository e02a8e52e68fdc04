"""What a recorded graph takes for granted, and what forward may not change while it is recorded.

A Guard watches one module: its class, plain attributes, hooks, parameters, buffers and children.
Its check compares identities first, which takes a microsecond or two, and values only if those
differ.
"""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Any

_PLAIN = (bool, int, float, complex, str, bytes, type(None))
_IGNORED = ("_compiled_forward",)
_CONTAINERS = (dict, list, set)


class Guard:
    """One condition under which a graph may be used again."""

    def check(self) -> str | None:
        """None while it holds, else a sentence that says what changed."""
        raise NotImplementedError


class ModuleGuard(Guard):
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
        if type(module) is self.cls and self.cls.forward is self.forward:
            if [id(v) for v in module.__dict__.values()] == self.ids:
                for _, value, _, ids in self.contents:
                    if ids != ([id(v) for v in _values(value)] if value else []):
                        return self._difference()
                return None
        return self._difference()

    def _difference(self) -> str | None:
        if type(self.module) is not self.cls or self.cls.forward is not self.forward:
            return f"the class of {self.where()} or its forward was replaced"
        for key, old, new in self.changes():
            return f"attribute '{key}' of {self.where()} changed from {show(old)} to {show(new)}"
        return None

    def where(self) -> str:
        """The module in words."""
        path = f"module '{self.name}'" if self.name else "the module"
        return f"{path} ({self.cls.__name__})"

    def changes(self) -> Iterator[tuple[str, Any, Any]]:
        """(attribute, old value, new value) for all that differs."""
        fields = self.module.__dict__
        for key in dict.fromkeys((*self.fields, *fields)):
            old, new = self.fields.get(key, _MISSING), fields.get(key, _MISSING)
            if key not in _IGNORED and not same(old, new):
                yield key, old, new
        for key, value, copied, _ in self.contents:
            if fields.get(key) is value and not same_contents(copied, value):
                yield key, copied, value

    def restore(self) -> None:
        """Put all attributes back, and the contents of dicts, lists and sets."""
        fields = self.module.__dict__
        fields.clear()
        fields.update(self.fields)
        for _, value, copied, _ in self.contents:
            if not same_contents(copied, value):
                value.clear()
                value.extend(copied) if isinstance(value, list) else value.update(copied)


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


class _Missing:
    def __repr__(self) -> str:
        return "nothing"


_MISSING = _Missing()


def _values(container: Any) -> Any:
    return container.values() if isinstance(container, dict) else container


def _ids(container: Any) -> list[int]:
    return [id(v) for v in _values(container)]


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
    return isinstance(old, _PLAIN) and (old == new or (old != old and new != new))


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
    text = repr(value) if isinstance(value, (*_PLAIN, _Missing)) else f"a {type(value).__name__}"
    if isinstance(value, (dict, list)):
        text += f" with {len(value)} entries"
    return text if len(text) < 80 else text[:77] + "..."
