"""What a user may choose about how a graph is compiled, by name and with a default for the process.

    nncomp.compile(model, options={"winograd": False})     one model
    NNCOMP_WINOGRAD=0 python serve.py                       all of them
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nncomp.ir.debug import add_switch, debug

# By name: the values an option may have
OPTIONS: dict[str, tuple] = {
    "winograd": (True, False),
    "matmul_precision": ("strict", "tf32", "tf32x3"),
}

add_switch(
    "winograd",
    bool,
    True,
    "3x3 convolutions by Winograd's method where that is faster; "
    "0: by the direct sum, which rounds less",
)
add_switch(
    "matmul_precision",
    str,
    "strict",
    "GPU code multiplies float32 in float32 (strict), rounded to tf32, or in three parts (tf32x3)",
)


def check(options: Mapping[str, Any] | None) -> dict[str, Any]:
    """The options as a dict; ValueError for a name that is none, TypeError for a wrong value."""
    checked = dict(options or {})
    for name, value in checked.items():
        if name not in OPTIONS:
            known = ", ".join(OPTIONS)
            raise ValueError(f"compile() got the unknown option {name!r}; there are: {known}")
        allowed = OPTIONS[name]
        if not isinstance(value, type(allowed[0])):
            raise TypeError(f"option {name!r} of compile() is {_listed(allowed)}, got {value!r}")
        if value not in allowed:
            raise ValueError(f"option {name!r} of compile() is {_listed(allowed)}, got {value!r}")
    return checked


def _listed(values: tuple) -> str:
    return " or ".join(map(repr if isinstance(values[0], str) else str, values))


class Configured:
    """A backend whose `compile` follows options instead of the defaults."""

    def __init__(self, backend: Any, options: Mapping[str, Any]):
        self._backend, self._options = backend, check(options)

    def compile(self, *args: Any, **kwargs: Any) -> Any:
        """What the backend compiles, under the options."""
        with debug(**self._options):
            return self._backend.compile(*args, **kwargs)

    def before_split(self, graph: Any) -> Any:
        """What the backend does to forward and backward together, if anything."""
        change = getattr(self._backend, "before_split", None)
        with debug(**self._options):
            return graph if change is None else change(graph)
