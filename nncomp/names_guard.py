"""What a traced function uses beside its arguments: globals, closures, attributes of its object.

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
from .trace_guards import StateGuard
from .trace_same import MISSING, copied, same, same_contents
from .trace_slots import Entry, Place, changed_entries, place_of, read, write

_CONTAINERS = (dict, list, set)
_SKIPPED = (types.ModuleType, type, types.BuiltinFunctionType)
MAX_ENTRIES = 64  # of a list, dict or set whose content is compared


class NamesGuard(StateGuard):
    """Names that still mean what they meant when the graph was recorded."""

    def __init__(self, functions: Iterable[Callable], objects: Iterable[Any] = ()):
        """Watch what `functions` read, also of `objects`, which are among their arguments."""
        self.names: list[tuple[Any, Any, Any, str]] = []  # (dict or cell, name, value, in words)
        self.contents: list[tuple[Any, Any, str, str]] = []  # (container, copy, in words, name)
        self.codes: list[types.CodeType] = []  # of the functions that are followed
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

    def entries(self) -> Iterator[Entry]:
        """Names that mean something else now, and what changed in dicts, lists and sets."""
        for owner, name, value, words in self.names:
            now = read(owner, name)
            if now is not value and not same(value, now):
                yield Entry(owner, name, value, now, words, name)
        for container, before, words, name in self.contents:
            if same_contents(before, container):
                continue
            if not isinstance(container, dict):
                yield Entry(None, "", before, container, words, name)
                continue
            for key, old, new in changed_entries(before, container):
                yield Entry(container, key, old, new, f"entry {key!r} of {words}", name)

    def values(self) -> Iterator[tuple[Place, Any]]:
        """(place, value) for all that was there when the graph was recorded."""
        known = {id(container) for container, *_ in self.contents}
        for owner, name, value, _ in self.names:
            if id(value) not in known:
                yield place_of(owner, name), value
        for container, before, *_ in self.contents:
            if isinstance(container, dict):
                yield from ((place_of(container, k), v) for k, v in before.items())
            else:
                yield (id(container), ""), before

    def restore(self) -> None:
        """Put everything back that a trace changed."""
        for owner, name, value, _ in self.names:
            if read(owner, name) is not value:
                write(owner, name, value)
        for container, before, *_ in self.contents:
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
        self.codes.append(code)
        for name, cell in zip(code.co_freevars, cells, strict=True):
            self._watch(cell, name, f"'{name}'")
        names, attributes = _names_in(code)
        for name, stored in names.items():
            if stored or name in function.__globals__:
                self._watch(function.__globals__, name, f"'{name}'")
        if owner is not None:
            self._attributes(owner, attributes)

    def _watch(self, owner: Any, name: str, words: str) -> None:
        value = read(owner, name)
        if isinstance(value, _SKIPPED) or (value is MISSING and not isinstance(owner, dict)):
            return
        self.names.append((owner, name, value, words))
        if isinstance(value, _CONTAINERS) and len(value) <= MAX_ENTRIES:
            self.contents.append((value, copied(value), words, name))
        elif isinstance(value, (types.FunctionType, types.MethodType)):
            self._follow(value, None)

    def _attributes(self, owner: Any, names: dict[str, bool]) -> None:
        """What a method uses of its object; a Module has a guard of its own for its fields."""
        own = getattr(owner, "__dict__", {})
        is_module = hasattr(owner, "named_modules")
        for name, stored in names.items():
            method = getattr(type(owner), name, None)
            if isinstance(method, types.FunctionType):
                self._follow(method, owner)
            elif (stored or name in own) and not is_module and isinstance(own, dict):
                self._watch(own, name, f"attribute '{name}' of the {type(owner).__name__}")


def _names_in(code: types.CodeType) -> tuple[dict[str, bool], dict[str, bool]]:
    """Global names and attribute names that a function and those inside of it use; if stored."""
    names: dict[str, bool] = {}
    attributes: dict[str, bool] = {}
    for inner in _codes(code):
        for step in dis.get_instructions(inner):
            if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
                names.setdefault(step.argval, False)
            elif step.opname in ("LOAD_ATTR", "LOAD_METHOD"):
                attributes.setdefault(step.argval, False)
            elif step.opname == "STORE_GLOBAL":
                names[step.argval] = True
            elif step.opname == "STORE_ATTR":
                attributes[step.argval] = True
    return names, attributes


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes(constant)
