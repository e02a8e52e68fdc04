"""All guards of a program together, checked in a few C loops while nothing changed."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from operator import attrgetter, is_
from typing import Any

from .ir.debug import debug
from .nn._hooks import GLOBAL
from .trace_guards import Guard, ModuleGuard, TensorGuard

_type, _requires_grad = attrgetter("_type"), attrgetter("requires_grad")


class GlobalHooksGuard(Guard):
    """The hooks that run for every module."""

    def __init__(self) -> None:
        self.hooks = self._hooks()

    def _hooks(self) -> list[Any]:
        hooks = (GLOBAL.forward_pre, GLOBAL.forward, GLOBAL.backward_pre, GLOBAL.backward)
        return [hook for kind in hooks for hook in kind.values()]

    def check(self) -> str | None:
        """None if there are the same hooks."""
        if not (self.hooks or GLOBAL.around_call()):
            return None
        return None if self._hooks() == self.hooks else "the global module hooks changed"


class PrecisionGuard(Guard):
    """How GPU code multiplies float32, where no option of the program says it."""

    def __init__(self) -> None:
        self.precision = debug.matmul_precision

    def check(self) -> str | None:
        """None if it is what it was."""
        now = debug.matmul_precision
        if now == self.precision:
            return None
        return f"the precision of float32 products changed from {self.precision} to {now}"


class ProgramGuards(Guard):
    """A list of guards that is fast to check.

    Modules are compared by the identities of all their fields in one list. Only if that differs is
    each guard asked for itself, and if none objects the new identities are taken.
    """

    def __init__(self, guards: Iterable[Guard]):
        guards = [*guards, GlobalHooksGuard()]
        self.modules = [g for g in guards if isinstance(g, ModuleGuard)]
        self.tensors = [g for g in guards if isinstance(g, TensorGuard)]
        self.others = [g for g in guards if not isinstance(g, (ModuleGuard, TensorGuard))]
        self._types = [g.type for g in self.tensors]
        self._requires = [g.requires_grad for g in self.tensors]
        self._watched = [g.tensor for g in self.tensors]
        self._owners = [g.module for g in self.modules]
        self._classes = [g.cls for g in self.modules]
        self._forwards = list({g.cls: g.forward for g in self.modules}.items())
        self._take()

    def _take(self) -> None:
        """Remember the identities of the modules' fields, and of what their containers hold."""
        fields: list[Any] = [module.__dict__ for module in self._owners]
        containers = [value for g in self.modules for _, value, _, _ in g.contents]
        self._empty = [c for c in containers if not c]
        full = fields + [c for c in containers if c]
        self._views = [c.values() if isinstance(c, dict) else c for c in full]
        self._entries = list(chain.from_iterable(self._views))
        self._sizes = list(map(len, self._views))

    def check(self) -> str | None:
        """None while all guards hold; else the reason of the first that does not."""
        if self._modules_same() and self._tensors_same():
            for guard in self.others:
                reason = guard.check()
                if reason is not None:
                    return reason
            return None
        for guard in chain(self.modules, self.tensors, self.others):
            reason = guard.check()
            if reason is not None:
                return reason
        self._types = list(map(_type, self._watched))
        self._take()
        return None

    def _modules_same(self) -> bool:
        return not self._owners or (
            not any(self._empty)
            and list(map(type, self._owners)) == self._classes
            and list(map(len, self._views)) == self._sizes
            and all(map(is_, chain.from_iterable(self._views), self._entries))
            and all(cls.forward is forward for cls, forward in self._forwards)
        )

    def _tensors_same(self) -> bool:
        return not self._watched or (
            all(map(is_, map(_type, self._watched), self._types))  # a move brings a new one
            and list(map(_requires_grad, self._watched)) == self._requires
        )
