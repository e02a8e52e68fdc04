"""Backends turn graphs into something that runs; `get(name)` finds one. All have one interface.

    runner = get("cpu").compile(graph, constant=("fc.weight",))
    results = runner(arrays)

`constant` names the inputs that rarely change (parameters at inference): work that depends on them
alone is done once per version of them, by `runner.prepare`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from . import options as compile_options

IMPORTED_AT = time.time()  # see cpu/sources.py
NAMES = ("cpu", "numpy", "ptx")


class UnknownBackend(ValueError):
    """The name is not one of `NAMES`."""


def get(name: str, options: Mapping[str, Any] | None = None) -> Any:
    """The backend called `name`, following `options`; UnknownBackend lists the names there are."""
    if name not in NAMES:
        raise UnknownBackend(f"unknown backend {name!r}: expected one of {', '.join(NAMES)}")
    backend = import_module(f".{name}", __name__)
    return compile_options.Configured(backend, options) if options else backend


def expect_compile(name: str) -> None:
    """Tell a backend that a graph is on its way: what can be made ready meanwhile is begun."""
    begin = getattr(get(name), "expect_compile", None)
    if begin is not None:
        begin()
