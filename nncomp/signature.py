"""What a compiled program depends on in its arguments: structure, tensor types, static values."""

from __future__ import annotations

from typing import Any

from .autograd.modes import state
from .tensor import Tensor

STATIC = (bool, int, float, str, bytes, type(None), complex)


def signature(args: tuple, kwargs: dict) -> tuple[list[Tensor], tuple]:
    """(tensors in order, hashable key) of a call; tensors in tuples, lists and dicts are found.

    The key holds shape, dtype and whether a gradient is wanted for tensors, the value of numbers
    and strings, and the identity of all other objects.
    """
    leaves: list[Tensor] = []
    grad = state.grad_enabled
    key = [_key(a, leaves, grad) for a in args]
    key += [(name, _key(kwargs[name], leaves, grad)) for name in kwargs]
    for i, x in enumerate(leaves):  # the same tensor twice is another program
        if any(x is y for y in leaves[:i]):
            key.append(("same", i, next(j for j, y in enumerate(leaves) if y is x)))
    return leaves, (grad, *key)


def _key(value: Any, leaves: list, grad: bool) -> Any:
    if isinstance(value, Tensor):
        leaves.append(value)
        return value.type_, grad and value.requires_grad
    if isinstance(value, STATIC):
        return type(value).__name__, value if value == value else "nan"
    if isinstance(value, (tuple, list)):
        return type(value).__name__, *(_key(v, leaves, grad) for v in value)
    if isinstance(value, dict):
        return "dict", *((k, _key(v, leaves, grad)) for k, v in value.items())
    return "object", type(value).__name__, Identity(value)


class Identity:
    """Equal only to itself; keeps the object alive, so that its id is not used again."""

    def __init__(self, value: Any):
        self.value = value

    def __hash__(self) -> int:
        return id(self.value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Identity) and other.value is self.value

    def __repr__(self) -> str:
        return f"<{type(self.value).__name__} at {id(self.value):#x}>"


def describe_difference(old: tuple, new: tuple) -> str:
    """In words, what differs between two keys."""
    if old[0] != new[0]:
        return f"grad mode is {'on' if new[0] else 'off'} now"
    if len(old) != len(new):
        return f"the number of arguments changed from {len(old) - 1} to {len(new) - 1}"
    for i, (a, b) in enumerate(zip(old[1:], new[1:], strict=True)):
        if a != b:
            return f"argument {i} changed from {_show(a)} to {_show(b)}"
    return "the arguments changed"


def _show(key: Any) -> str:
    if isinstance(key, tuple) and len(key) == 2 and hasattr(key[0], "shape"):
        return f"{key[0]}{' requiring grad' if key[1] else ''}"
    if isinstance(key, tuple) and len(key) == 2 and isinstance(key[0], str):
        return f"{key[1]!r}" if isinstance(key[1], STATIC) else f"{key[0]}={_show(key[1])}"
    return str(key)
