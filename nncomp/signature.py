"""What a compiled program depends on in its arguments: structure, tensor types, static values."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from .autograd.modes import state
from .dispatch import leaked
from .functions.base import get_default_dtype
from .ir.types import TensorType
from .tensor import Tensor

Key = tuple
_GLOBAL = 3  # items of a key before the arguments: grad mode, default dtype, autocast


def signature(args: tuple, kwargs: dict) -> tuple[list[Tensor], Key]:
    """(tensors in order, hashable key) of a call.

    Tensors are found in tuples, lists, dicts and dataclasses, as the tracer finds them. The key
    holds their type, memory layout and whether a gradient is wanted, the value of numbers, strings
    and other values, and the identity of all other objects.
    """
    leaves: list[Tensor] = []
    grad = state.grad_enabled
    key: list[Any] = [grad, get_default_dtype(), state.autocast]
    for value in args:
        key.append(_key(value, leaves, grad))
    for name in kwargs:
        key.append((name, _key(kwargs[name], leaves, grad)))
    if len(leaves) > 1 and len(set(map(id, leaves))) < len(leaves):
        first = {id(x): i for i, x in reversed(list(enumerate(leaves)))}
        key.append(Repeated(tuple(first[id(x)] for x in leaves)))
    return leaves, tuple(key)


def _key(value: Any, leaves: list, grad: bool) -> Any:
    if isinstance(value, Tensor):
        leaves.append(value)
        array = value._data
        if array.__class__ is not np.ndarray:
            if not hasattr(array, "cuda_device"):
                raise leaked(None, (value,))
            return value._type, grad and value.requires_grad, str(array.cuda_device)
        strides = None if array.flags.c_contiguous else array.strides
        return value._type, grad and value.requires_grad, strides
    if value is None or value.__class__ in (bool, int, str):
        return value.__class__, value
    if isinstance(value, float):
        return value.__class__, _float_key(value)
    if isinstance(value, tuple) or type(value) is list:
        return value.__class__, *[_key(v, leaves, grad) for v in value]
    if isinstance(value, dict):
        return value.__class__, *[(k, _key(v, leaves, grad)) for k, v in value.items()]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [(f.name, getattr(value, f.name)) for f in dataclasses.fields(value)]
        return value.__class__, *[(name, _key(v, leaves, grad)) for name, v in fields]
    return _other(value)


def _float_key(value: float) -> float | str:
    """The number; text for nan, which is not equal to itself, and for the two zeros, which are."""
    return value if value == value and value else str(value)


def _other(value: Any) -> Any:
    """Values (numpy numbers, dtypes, enums, slices) are compared, other objects identified."""
    cls = value.__class__
    if cls is slice:
        return cls, value.start, value.stop, value.step
    if cls.__eq__ is object.__eq__ or cls.__hash__ is None:
        return cls, Identity(value)
    try:
        hash(value)
    except TypeError:
        return cls, Identity(value)
    return cls, value if value == value else str(value)


class Identity:
    """Equal only to itself; keeps the object alive, so that its id is not used again."""

    __slots__ = ("value",)

    def __init__(self, value: Any):
        self.value = value

    def __hash__(self) -> int:
        return id(self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Identity) and other.value is self.value

    def __repr__(self) -> str:
        return f"the {type(self.value).__name__} at {id(self.value):#x}"


class Repeated(tuple):
    """Which tensors among the arguments are the same object: for each the first one like it."""


# -- words ----------------------------------------------------------------------------------------


def describe_difference(old: Key, new: Key, names: Sequence[str] = ()) -> str:
    """In words, what differs between two keys; `names` are those of the arguments."""
    if old[0] != new[0]:
        return f"grad mode is {'on' if new[0] else 'off'} now"
    if old[1] != new[1]:
        return f"the default dtype changed from {old[1]} to {new[1]}"
    if old[2] != new[2]:
        return f"autocast changed from {old[2] or 'off'} to {new[2] or 'off'}"
    a, b = _arguments(old), _arguments(new)
    if len(a) != len(b):
        return f"the number of arguments changed from {len(a)} to {len(b)}"
    for i, (x, y) in enumerate(zip(a, b, strict=True)):
        if x != y:
            name = f"argument '{names[i]}'" if i < len(names) else f"argument {i}"
            return _difference(x, y, name)
    return "which arguments are the same tensor changed"


def _arguments(key: Key) -> Key:
    return key[_GLOBAL : -1 if isinstance(key[-1], Repeated) else None]


def _difference(old: Any, new: Any, where: str) -> str:
    """The first difference below one argument."""
    if _is_tensor(old) and _is_tensor(new):
        if old[0] != new[0]:
            return f"{where} changed from {old[0]} to {new[0]}"
        if old[1] != new[1]:
            return f"{where} {'requires' if new[1] else 'does not require'} grad now"
        if isinstance(old[2], str) or isinstance(new[2], str):
            a, b = (v if isinstance(v, str) else "cpu" for v in (old[2], new[2]))
            return f"{where} moved from {a} to {b}"
        return f"the strides of {where} changed from {_layout(old[2])} to {_layout(new[2])}"
    if isinstance(old[0], str) and isinstance(new[0], str):  # keyword arguments
        if old[0] != new[0]:
            return f"{where} changed from {old[0]} to {new[0]}"
        return _difference(old[1], new[1], where)
    inner = old[0] is new[0] and len(old) == len(new) and _is_container(old[0])
    for i, (x, y) in enumerate(zip(old[1:], new[1:], strict=False) if inner else ()):
        if x != y:
            if not _is_named(x) or not _is_named(y):
                return _difference(x, y, f"{where}[{i}]")
            if x[0] == y[0]:
                return _difference(x[1], y[1], f"{where}[{x[0]!r}]")
    return f"{where} changed from {_show(old)} to {_show(new)}"


def _layout(strides: Any) -> str:
    return "contiguous" if strides is None else str(strides)


def _is_tensor(key: Any) -> bool:
    return isinstance(key[0], TensorType)


def _is_named(key: Any) -> bool:
    """True for (name, key of the value) in a dict or dataclass."""
    return not _is_tensor(key) and not isinstance(key[0], type) and isinstance(key[1], tuple)


def _is_container(cls: Any) -> bool:
    return isinstance(cls, type) and (
        issubclass(cls, (tuple, list, dict)) or dataclasses.is_dataclass(cls)
    )


def _show(key: Any) -> str:
    if _is_tensor(key):
        return str(key[0])
    if _is_container(key[0]):
        return f"a {key[0].__name__} of {len(key) - 1}"
    if isinstance(key[0], type):
        if key[0] is slice:
            return repr(slice(*key[1:]))
        return str(key[1]) if isinstance(key[1], (Identity, float)) else repr(key[1])
    return str(key)
