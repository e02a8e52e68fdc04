"""Every debugging switch, typed, in one table.

    NNCOMP_PRINT_AFTER=simplify python train.py        from the environment
    with debug(print_after="simplify"): ...            for a block
    debug.print_after                                  the value now

A block overrides the environment, the environment overrides the default. Parts of the project add
rows with `add_switch`; `debug.table()` is the documentation.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

PREFIX = "NNCOMP_"
TRUE, FALSE = {"1", "true", "yes", "on"}, {"", "0", "false", "no", "off"}


class Switch(NamedTuple):
    """One row: `name` is the attribute of `debug`, NNCOMP_<NAME> the environment variable."""

    name: str
    type: type
    default: Any
    doc: str

    @property
    def env(self) -> str:
        return PREFIX + self.name.upper()

    def parse(self, text: str) -> Any:
        """The value that the text of the environment variable means; ValueError otherwise."""
        if self.type is bool and text.strip().lower() in TRUE | FALSE:
            return text.strip().lower() in TRUE
        if self.type is str:
            return text
        if self.type is int and text.strip().lstrip("-").isdigit():
            return int(text)
        kind = {bool: "1 or 0", int: "an integer"}[self.type]
        raise ValueError(f"{self.env} must be {kind}, got {text!r}")

    def check(self, value: Any) -> Any:
        if value is None and self.default is None:  # a choice left to the compiler
            return value
        if isinstance(value, self.type) and (self.type is bool or not isinstance(value, bool)):
            return value
        got = f"{value!r} ({type(value).__name__})"
        raise TypeError(f"debug switch {self.name} takes {self.type.__name__}, got {got}")


class Debug:
    """The switches as attributes; calling it overrides some of them for a `with` block."""

    def __init__(self):
        self._switches: dict[str, Switch] = {}
        self._overrides: ContextVar[dict] = ContextVar("nncomp_debug", default={})  # noqa: B039

    def add_switch(self, name: str, type: type, default: Any, doc: str) -> None:
        """Adds a row; a second row of the same name must be the same."""
        row = Switch(name, type, default, doc)
        row.check(default)
        if self._switches.setdefault(name, row) != row:
            raise ValueError(f"debug switch {name} is defined twice")

    def set_default(self, name: str, value: Any) -> None:
        """What a switch is where neither the environment nor a `with` block says anything."""
        switch = self._find(name)
        self._switches[name] = switch._replace(default=switch.check(value))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        switch = self._find(name)
        overrides = self._overrides.get()
        if name in overrides:
            return overrides[name]
        text = os.environ.get(switch.env)
        return switch.default if text is None else switch.parse(text)

    def _find(self, name: str) -> Switch:
        if name not in self._switches:
            raise AttributeError(f"no debug switch {name}; there are {', '.join(self._switches)}")
        return self._switches[name]

    @contextmanager
    def __call__(self, **values: Any) -> Iterator[None]:
        checked = {name: self._find(name).check(value) for name, value in values.items()}
        token = self._overrides.set({**self._overrides.get(), **checked})
        try:
            yield
        finally:
            self._overrides.reset(token)

    def values(self) -> dict[str, Any]:
        """All switches by name, as they are now."""
        return {name: getattr(self, name) for name in self._switches}

    def table(self) -> str:
        """All switches as a markdown table."""
        rows = [("switch", "type", "default", "effect"), ("---",) * 4]
        for s in self._switches.values():
            rows.append((f"`{s.env}`", s.type.__name__, f"`{s.default!r}`", s.doc))
        return "\n".join(f"| {' | '.join(row)} |" for row in rows)


debug = Debug()
add_switch = debug.add_switch

add_switch(
    "debug",
    int,
    0,
    "1: passes and times, 2: kernels, 3: graph after each pass, 4: loops, 5: machine code",
)
add_switch(
    "print_after",
    str,
    "",
    "print the graph after these passes (comma-separated, or `all`), "
    "as a difference to the one before",
)
add_switch("dump", str, "", "write every stage to this folder: `00_trace.ir`, `01_<pass>.ir`, ...")
add_switch("stop_after", str, "", "end the pipeline after this pass")
add_switch(
    "check",
    bool,
    False,
    "run the graph before and after every pass and name the first pass that changes the numbers",
)
add_switch("verify", bool, True, "verify the graph after every pass")
add_switch("rewrites", int, -1, "let simplify make only the first n rewrites (-1: all)")
add_switch("nans", bool, False, "name the first node that makes a nan")
