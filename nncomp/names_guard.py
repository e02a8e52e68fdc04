"""What a traced function reads beside its arguments: globals, closures, attributes of its object.

A graph freezes these values, so a program is used again only while they are the same. Functions
that are called by name, and methods called on the same object, are followed; this package's own
are not.
"""

from __future__ import annotations

import dis
import functools
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from .trace_error import is_own_file
from .trace_guards import Guard, copied, same, same_contents, show

_CONTAINERS = (dict, list, set)
_SKIPPED = (types.ModuleType, type, types.BuiltinFunctionType)
MAX_ENTRIES = 64  # of a list, dict or set whose content is compared


class NamesGuard(Guard):
    """Names that still mean what they meant when the graph was recorded."""

    def __init__(self, functions: Iterable[Callable], objects: Iterable[Any] = ()):
        """Watch what `functions` read, also of `objects`, which are among their arguments."""
        self.names: list[tuple[Any, Any, Any, str]] = []  # (dict or cell, name, value, in words)
        self.contents: list[tuple[Any, Any, str]] = []  # (container, copy of it, in words)
        self._seen: set[Any] = set()
        functions = list(functions)
        self.follow(functions)
        for function in functions:
            code = getattr(function, "__code__", None)
            for owner in objects if code is not None else ():
                self._attributes(owner, _names_in(code)[1])

    def follow(self, functions: Iterable[Callable]) -> None:
        """Watch more functions."""
        for function in functions:
            self._follow(function, None)

    def check(self) -> str | None:
        """None if nothing changed; else which name did, and how."""
        for place, name, value, words in self.names:
            now = _read(place, name)
            if now is not value and not same(value, now):
                return f"{words} changed from {show(value)} to {show(now)}"
        for container, before, words in self.contents:
            if not same_contents(before, container):
                return f"{words} changed from {show(before)} to {show(container)}"
        return None

    def restore(self) -> None:
        """Put everything back that a trace changed."""
        for place, name, value, _ in self.names:
            if _read(place, name) is not value:
                _write(place, name, value)
        for container, before, _ in self.contents:
            if not same_contents(before, container):
                container.clear()
                add = container.extend if isinstance(container, list) else container.update
                add(before)

    # -- collecting -------------------------------------------------------------------------------

    def _follow(self, function: Any, owner: Any) -> None:
        """Watch what one function reads, and go on to those that it calls."""
        while isinstance(function, functools.partial):
            function = function.func
        if isinstance(function, types.MethodType):
            function, owner = function.__func__, function.__self__
        elif not isinstance(function, types.FunctionType):
            function, owner = type(function).__dict__.get("__call__"), function
        code = getattr(function, "__code__", None)
        if code is None or is_own_file(code.co_filename):
            return
        cells = function.__closure__ or ()
        known = (code, id(owner), *map(id, cells))  # closures of one function differ in their cells
        if known in self._seen:
            return
        self._seen.add(known)
        for name, cell in zip(code.co_freevars, cells, strict=True):
            self._watch(cell, name, f"'{name}'")
        loaded, attributes = _names_in(code)
        for name in loaded:
            if name in function.__globals__:
                self._watch(function.__globals__, name, f"'{name}'")
        if owner is not None:
            self._attributes(owner, attributes)

    def _watch(self, place: Any, name: str, words: str) -> None:
        value = _read(place, name)
        if value is _MISSING or isinstance(value, _SKIPPED):
            return
        self.names.append((place, name, value, words))
        if isinstance(value, _CONTAINERS) and len(value) <= MAX_ENTRIES:
            self.contents.append((value, copied(value), words))
        elif isinstance(value, (types.FunctionType, types.MethodType)):
            self._follow(value, None)

    def _attributes(self, owner: Any, names: list[str]) -> None:
        """What a method reads of its object; a Module has a guard of its own for its fields."""
        own = getattr(owner, "__dict__", {})
        is_module = hasattr(owner, "named_modules")
        for name in names:
            method = getattr(type(owner), name, None)
            if isinstance(method, types.FunctionType):
                self._follow(method, owner)
            elif name in own and not is_module:
                self._watch(own, name, f"attribute '{name}' of the {type(owner).__name__}")


class _Missing:
    def __repr__(self) -> str:
        return "nothing"


_MISSING = _Missing()


def _read(place: Any, name: str) -> Any:
    if isinstance(place, dict):
        return place.get(name, _MISSING)
    try:
        return place.cell_contents
    except ValueError:  # not assigned yet
        return _MISSING


def _write(place: Any, name: str, value: Any) -> None:
    if isinstance(place, dict):
        place[name] = value
    else:
        place.cell_contents = value


def _names_in(code: types.CodeType) -> tuple[list[str], list[str]]:
    """(global names, attribute names) that a function and the functions inside of it read."""
    loaded: dict[str, None] = {}
    attributes: dict[str, None] = {}
    for inner in _codes(code):
        for step in dis.get_instructions(inner):
            if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
                loaded[step.argval] = None
            elif step.opname in ("LOAD_ATTR", "LOAD_METHOD"):
                attributes[step.argval] = None
    return list(loaded), list(attributes)


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes(constant)
