"""What a user may choose about how a graph is compiled, by name and with a default for the process.

    nncomp.compile(model, options={"winograd": False})     one model
    NNCOMP_WINOGRAD=0 python serve.py                       all of them
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nncomp.ir.debug import add_switch, debug

OPTIONS = ("winograd",)

add_switch(
    "winograd",
    bool,
    True,
    "3x3 convolutions by Winograd's method where that is faster; "
    "0: by the direct sum, which rounds less",
)


def check(options: Mapping[str, Any] | None) -> dict[str, Any]:
    """The options as a dict; ValueError for a name that is none, TypeError for a wrong value."""
    checked = dict(options or {})
    for name, value in checked.items():
        if name not in OPTIONS:
            known = ", ".join(OPTIONS)
            raise ValueError(f"compile() got the unknown option {name!r}; there are: {known}")
        if not isinstance(value, bool):
            raise TypeError(f"option {name!r} of compile() is True or False, got {value!r}")
    return checked


class Configured:
    """A backend whose `compile` follows options instead of the defaults."""

    def __init__(self, backend: Any, options: Mapping[str, Any]):
        self._backend, self._options = backend, check(options)

    def compile(self, *args: Any, **kwargs: Any) -> Any:
        """What the backend compiles, under the options."""
        with debug(**self._options):
            return self._backend.compile(*args, **kwargs)
