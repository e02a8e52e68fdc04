"""Backends turn graphs into something that runs; `get(name)` finds one. All have one interface.

    runner = get("cpu").compile(graph, constant=("fc.weight",))
    results = runner(arrays)

`constant` names the inputs that rarely change (parameters at inference): work that depends on them
alone is done once per version of them, by `runner.prepare`.
"""

from __future__ import annotations

from importlib import import_module

NAMES = ("cpu", "numpy")


class UnknownBackend(ValueError):
    """The name is not one of `NAMES`."""


def get(name: str):
    """The backend module called `name`; UnknownBackend lists the names there are."""
    if name not in NAMES:
        raise UnknownBackend(f"unknown backend {name!r}: expected one of {', '.join(NAMES)}")
    return import_module(f".{name}", __name__)
