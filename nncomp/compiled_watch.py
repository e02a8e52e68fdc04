"""The guards of a program as memory to look at: what native code compares in a nanosecond each.

CPython counts the changes of every dict and class, so one word says that none happened; the rest
are identities of values. This is stricter than the guards: a difference only means that they must
be asked again. What cannot be watched this way raises Unwatchable, and the guards are asked always.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

from . import scope
from .backends.cpu import python_layout, threads
from .backends.cpu.entry import ABSENT, Watch, make_watch
from .backends.cpu.python_layout import WORD, half, word
from .dispatch import Storage
from .functions import base
from .names_guard import NamesGuard
from .nn._hooks import GLOBAL
from .program_guards import GlobalHooksGuard, ProgramGuards
from .trace_guards import Guard

FEW_USES, LONGEST_WAIT = 16, 256  # calls
_GLOBAL_HOOKS = ("forward_pre", "forward", "backward_pre", "backward")


class Unwatchable(Exception):
    """Something that tells nobody when it changes."""


class Watcher:
    """Writes down how things are now."""

    def __init__(self) -> None:
        at = python_layout.layout()
        if at is None:
            raise Unwatchable("CPython's or numpy's memory layout is not as expected")
        self.at, self.watch = at, Watch()

    def word(self, owner: Any, offset: int) -> None:
        """One word of an object."""
        self.watch.keep.append(owner)
        address = id(owner) + offset
        self.watch.words.append((address, word(address)))

    def value(self, owner: Any, offset: int, value: Any) -> None:
        """A reference in an object, which must be to `value` now."""
        self.word(owner, offset)
        self.watch.keep.append(value)
        if self.watch.words[-1][1] != id(value):
            raise Unwatchable(f"a {type(owner).__name__} keeps its values elsewhere")

    def name(self, place: dict, key: str, value: Any) -> None:
        """An entry of a dict that also has entries nobody cares for."""
        self.watch.names.append((place, key, value))

    def container(self, x: Any) -> None:
        """Everything in a dict, list or set."""
        if type(x) is dict or (type(x) is OrderedDict and len(x) < 2):
            self.word(x, self.at.dict_version)  # an OrderedDict does not count reordering
        elif type(x) is list:
            self.word(x, self.at.list_size)
            self.word(x, self.at.list_items)
            first = word(id(x) + self.at.list_items)
            self.watch.words += [(first + WORD * i, id(v)) for i, v in enumerate(x)]
            self.watch.keep.append(list(x))
        elif type(x) is set and not x:
            self.word(x, self.at.set_used)
        else:
            raise Unwatchable(f"a {type(x).__name__} with {len(x)} entries")

    def cls(self, cls: type) -> None:
        """A class and all that it inherits."""
        getattr(cls, "forward", None)  # a class without a version gets one at a look-up
        address = id(cls) + self.at.type_version
        if not half(address):
            raise Unwatchable(f"the class {cls.__name__} has no version")
        self.watch.halves.append((address, half(address)))
        self.watch.keep.append(cls)

    def module(self, module: Any) -> None:
        """A module's class, attributes, and what its containers hold."""
        self.value(module, self.at.type, type(module))
        fields = module.__dict__
        self.container(fields)
        for value in fields.values():
            if isinstance(value, (dict, list, set)):
                self.container(value)

    def tensor(self, x: Any) -> None:
        """A captured tensor: its fields, and whether its memory was written."""
        if x._base is not None:
            self.container(x._base.__dict__)
        self.container(x.__dict__)
        if x._counter is not None:
            self.container(x._counter)
        storage = x._storage
        if storage is not None:
            if storage.exposed or type(storage) is not Storage:
                raise Unwatchable("memory that a numpy array of the user shares")
            self.slot(storage, "exposed")
            self.slot(storage, "writes")

    def tensor_type(self, x: Any) -> None:
        """Type and requires_grad of a captured tensor, which `.grad` has no part in."""
        for owner in (x, x._base):
            fields = {} if owner is None else owner.__dict__
            self.watch.keep.append(fields)
            for name in ("_type", "_requires_grad", "_base") if fields else ():
                self.name(fields, name, fields.get(name, ABSENT))

    def slot(self, owner: Any, name: str) -> None:
        """An entry of `__slots__`."""
        offset = python_layout.slot_offset(type(owner), name)
        if offset is None:
            raise Unwatchable(f"'{name}' of a {type(owner).__name__}")
        self.value(owner, offset, getattr(owner, name))

    def names(self, guard: NamesGuard) -> None:
        """Globals, closures and attributes that functions read."""
        for place, name, _, _ in guard.names:
            if type(place) is dict:
                self.name(place, name, place.get(name, ABSENT))
            else:
                self.value(place, self.at.cell_value, place.cell_contents)
        for container, *_ in guard.contents:
            self.container(container)

    def settings(self) -> None:
        """What every program depends on: dtype, threads, traces of other threads."""
        self.name(base._state, "dtype", base._state["dtype"])
        self.name(vars(threads), "_threads", threads.get_num_threads())
        self.name(vars(scope), "active", False)

    def guards(self, guards: ProgramGuards) -> None:
        """All guards of a program but those of tensors."""
        for kind in _GLOBAL_HOOKS:
            self.container(getattr(GLOBAL, kind))
        classes = {type(g.module): None for g in guards.modules}
        for guard in guards.modules:
            self.module(guard.module)
        for cls in classes:
            self.cls(cls)
        for guard in guards.others:
            if isinstance(guard, NamesGuard):
                self.names(guard)
            elif not isinstance(guard, GlobalHooksGuard):
                raise Unwatchable(f"a {type(guard).__name__}")


def watch_of(guards: ProgramGuards, tensors: Iterable[Any], modules: Iterable[Any]) -> Watch:
    """The state that `guards` and the values of `tensors` and `modules` depend on, as it is now.

    Unwatchable if some of it cannot be watched. Ask the guards afterwards: what they saw before may
    have changed since.
    """
    watcher = Watcher()
    watcher.settings()
    watcher.guards(guards)
    for x in {id(x): x for x in (*tensors, *(g.tensor for g in guards.tensors))}.values():
        watcher.tensor(x)
    seen = {id(g.module) for g in guards.modules}
    for module in modules:
        watcher.cls(type(module))
        if id(module) not in seen:
            watcher.module(module)
    return watcher.watch


class WatchedGuards(Guard):
    """The guards of a program, which are only asked if one look at memory finds a difference."""

    def __init__(self, guards: ProgramGuards):
        self.inner = guards
        self._same: Callable[[], bool] | None = None
        self._wait, self._left, self._uses = 0, 0, 0

    def check(self) -> str | None:
        """None while all guards hold; else the reason of the first that does not."""
        if self._same is not None and self._same():
            self._uses += 1
            return None
        watch = self._watch() if self._is_due() else None  # before the guards: see watch_of
        reason = self.inner.check()
        if reason is None and watch is not None:
            self._same = make_watch(watch)
        return reason

    def _is_due(self) -> bool:
        """Not at each of many changes in a row: writing everything down takes a while."""
        self._same = None
        if self._left:
            self._left -= 1
            return False
        self._wait = 0 if self._uses >= FEW_USES else min(2 * self._wait + 1, LONGEST_WAIT)
        self._left, self._uses = self._wait, 0
        return True

    def _watch(self) -> Watch | None:
        try:
            watcher = Watcher()
            watcher.guards(self.inner)
            for guard in self.inner.tensors:
                watcher.tensor_type(guard.tensor)
        except Unwatchable:
            return None
        return watcher.watch


__all__ = ["FEW_USES", "LONGEST_WAIT", "Unwatchable", "WatchedGuards", "watch_of"]
