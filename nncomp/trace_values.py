"""Nested arguments and results: find the tensors, name them, and put others in their place.

Lists, tuples, named tuples, dicts and dataclasses are walked; everything else is a constant.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
import re
from collections.abc import Callable, Iterable
from typing import Any


def map_leaves(value: Any, visit: Callable[[Any, str], Any], path: str = "") -> Any:
    """The same structure with `visit(leaf, path)` in place of each leaf; untouched parts stay."""
    if isinstance(value, tuple):
        items = [map_leaves(v, visit, f"{path}_{i}") for i, v in enumerate(value)]
        if _same(items, value):
            return value
        return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    if type(value) is list:
        items = [map_leaves(v, visit, f"{path}_{i}") for i, v in enumerate(value)]
        return value if _same(items, value) else items
    if isinstance(value, dict):
        items = [map_leaves(v, visit, f"{path}_{k}") for k, v in value.items()]
        if _same(items, value.values()):
            return value
        made = copy.copy(value)
        for key, item in zip(value, items, strict=True):
            made[key] = item
        return made
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _map_fields(value, visit, path)
    return visit(value, path)


def fresh_containers(value: Any) -> Any:
    """The same structure in new lists, dicts and dataclasses, which the caller may change."""
    if isinstance(value, tuple):
        items = [fresh_containers(v) for v in value]
        if _same(items, value):
            return value
        return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    if type(value) is list:
        return [fresh_containers(v) for v in value]
    if isinstance(value, dict):
        made = copy.copy(value)
        for key in value:
            made[key] = fresh_containers(value[key])
        return made
    return value


def _same(new: Iterable, old: Iterable) -> bool:
    return all(a is b for a, b in zip(new, old, strict=True))


def _map_fields(value: Any, visit: Callable, path: str) -> Any:
    made = copy.copy(value)
    changed = False
    for field in dataclasses.fields(value):
        old = getattr(value, field.name)
        new = map_leaves(old, visit, f"{path}_{field.name}")
        if new is not old:
            object.__setattr__(made, field.name, new)
            changed = True
    return made if changed else value


def named_arguments(function: Callable, args: tuple, kwargs: dict) -> list[str]:
    """A name per positional and then per keyword argument, from the signature if it has one."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    names = []
    for number in range(len(args)):
        name, first = f"arg_{number}", 0
        for place, p in enumerate(parameters):
            if p.kind is p.VAR_POSITIONAL:
                first = place
                name = f"{p.name}_{number - first}"
                break
            if place == number and p.kind is not p.KEYWORD_ONLY:
                name = p.name
                break
        names.append(name)
    return [*names, *kwargs]


def unique_name(path: str, taken: set[str]) -> str:
    """`path` as an identifier that is not taken yet; it is taken from then on."""
    name = re.sub(r"\W", "_", path).strip("_") or "arg"
    name = f"arg_{name}" if name[0].isdigit() else name
    number, found = 0, name
    while found in taken:
        number += 1
        found = f"{name}_{number}"
    taken.add(found)
    return found
